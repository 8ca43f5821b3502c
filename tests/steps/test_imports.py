"""Data rooms start in a fraction of a second: no torch, no Transformers, no datasets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
import tunekit.steps.dataset.run, tunekit.steps.tokens.run, tunekit.steps.tokenizer.run
import tunekit.data.formats, tunekit.data.tokenset
print(sorted({"torch", "transformers", "datasets", "numpy", "pandas"} & set(sys.modules)))
"""


def test_no_heavy_import():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert not {"torch", "transformers", "datasets", "pandas"} & set(eval(done.stdout))
