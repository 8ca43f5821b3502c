"""Fuzzing: whatever bytes come in, there is a value or an error with a name, soon. `TUNEKIT_FUZZ=5000 pytest tests/fuzz
-s` tries that many cases of each test and says what came of them; `-m long` does it with 2,000."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cases import ran


@pytest.fixture(scope="module", autouse=True)
def report(request):
    ran.clear()
    yield
    print(f"\n{request.module.__name__}: {sum(ran.values())} cases: {dict(sorted(ran.items()))}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")
