"""The same, for minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
@pytest.mark.parametrize("what", ["declarations", "store_files", "worker_files", "weights"])
def test_two_thousand_cases_of_each(what):
    env = {**os.environ, "TUNEKIT_FUZZ": "2000"}
    file = Path(__file__).with_name(f"test_{what}.py")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-x", file]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    print(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout[-6000:]
