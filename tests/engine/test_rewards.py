"""Every way in which a reward function can fail is an error with a name; none of this needs torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tunekit.engine.rewards import Columns, Rewards
from tunekit.errors import ActionError

CODE = """
import os, sys, time
from bonus import BONUS

def length(completions, **columns):
    return [float(len(c[0]["content"])) for c in completions]

def equals(completions, answer):
    print("a print of the project")
    return [1 if c[0]["content"] == a else 0 for c, a in zip(completions, answer)]

def wants_prompts(prompts, completions):
    return [float(p == c[0]["content"]) for p, c in zip(prompts, completions)]

def everything(completions, **kwargs):
    return [float(len(kwargs))] * len(completions)

def first_of_another_name(texts, answer=None):
    return [BONUS for _ in texts]

def some_none(completions, **_):
    return [None, True, 0.1]

def wants_more(completions, answer, difficulty):
    return [0.0] * len(completions)

def raises(completions, **_):
    values = {"a": 1}
    return [values["b"] for _ in completions]

def leaves(completions, **_):
    sys.exit(3)

def dies(completions, **_):
    os._exit(7)

def killed(completions, **_):
    os.kill(os.getpid(), 9)

def hangs(completions, **_):
    time.sleep(60)

def spins(completions, **_):
    while True: pass

def too_few(completions, **_):
    return [1.0]

def a_number(completions, **_):
    return 1.0

def a_dict(completions, **_):
    return {i: 1.0 for i in range(len(completions))}

def nan(completions, **_):
    return [0.0, float("nan"), 1.0]

def infinite(completions, **_):
    return [0.0, 0.0, float("inf")]

def text(completions, **_):
    return [0.0, "1.0", 0.0]
"""


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "rewards.py").write_text(CODE)
    (tmp_path / "bonus.py").write_text("BONUS = 0.5\n")
    (tmp_path / "broken.py").write_text("import a_module_that_is_not_there\n")
    return str(tmp_path)


def score(root: str, name: str, timeout: float = 10.0) -> list[float | None]:
    fn = name if ":" in name else f"rewards.py:{name}"
    with Rewards(root, [fn], timeout) as rewards:
        return rewards.call(fn, ["a", "bb", "ccc"], ["a", "p", "q"], {"answer": ["a", "x", "ccc"], "n": [1, 2, 3]})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("length", [1.0, 2.0, 3.0]),
        ("equals", [1.0, 0.0, 1.0]),
        ("wants_prompts", [1.0, 0.0, 0.0]),
        ("everything", [3.0, 3.0, 3.0]),  # prompts, answer, n
        ("first_of_another_name", [0.5, 0.5, 0.5]),
        ("some_none", [None, 1.0, 0.1]),
    ],
)
def test_values(root: str, name: str, expected: list[float | None]) -> None:
    assert score(root, name) == expected


@pytest.mark.parametrize(
    ("name", "slug", "said"),
    [
        ("raises", "reward-raised", r"KeyError: 'b' at rewards.py:\d+ `return \[values\[\"b\"\]"),
        ("leaves", "reward-raised", "SystemExit: 3"),
        ("dies", "reward-died", "exit code 7"),
        ("killed", "reward-died", "signal SIGKILL"),
        ("too_few", "reward-length", "returned 1 values for 3 completions"),
        ("a_number", "reward-length", "returned a float, not a list of 3"),
        ("a_dict", "reward-length", "returned a dict"),
        ("nan", "reward-not-finite", "returned nan for completion 1"),
        ("infinite", "reward-not-finite", "returned inf for completion 2"),
        ("text", "reward-not-finite", "returned '1.0' for completion 1"),
        ("wants_more", "reward-columns", "takes `difficulty`"),
        ("nothing", "reward-missing", "rewards.py has no function `nothing`"),
        ("absent.py:fn", "reward-missing", "no such file"),
        ("broken.py:fn", "code-import-failed", "a_module_that_is_not_there"),
    ],
)
def test_failures(root: str, name: str, slug: str, said: str) -> None:
    with pytest.raises(ActionError, match=said) as found:
        score(root, name)
    assert found.value.slug == slug


@pytest.mark.parametrize("name", ["hangs", "spins"])
def test_time_limit_names_function_limit_and_call(root: str, name: str) -> None:
    fn = f"rewards.py:{name}"
    started = time.monotonic()
    with Rewards(root, [fn, "rewards.py:length"], 0.5) as rewards:
        rewards.call("rewards.py:length", ["a"], ["p"], {})
        with pytest.raises(ActionError) as found:
            rewards.call(fn, ["a"], ["p"], {}, where="step 3")
    assert found.value.slug == "reward-timeout"
    assert found.value.message == f"call 2 of reward `{fn}` (step 3, 1 completions) took longer than 0.5 s"
    assert time.monotonic() - started < 10


def test_a_column_that_json_cannot_hold_is_an_error(root: str) -> None:
    with Rewards(root, ["rewards.py:length"], 5.0) as rewards, pytest.raises(ActionError) as found:
        rewards.call("rewards.py:length", ["a"], ["p"], {"blob": [b"x"]})
    assert found.value.slug == "reward-columns"


def test_the_child_is_in_the_process_group_of_the_action(root: str) -> None:
    """So that a worker's end sweeps what a reward has started."""
    (Path(root) / "group.py").write_text(
        "import os\ndef fn(completions, **_):\n    return [float(os.getpgid(0))] * 3\n"
    )
    assert score(root, "group.py:fn") == [float(os.getpgid(0))] * 3


def test_big_requests_and_many_calls(root: str) -> None:
    """Bigger than a pipe's buffer in both directions of the conversation."""
    texts = ["x" * 3000] * 500
    with Rewards(root, ["rewards.py:length"], 20.0) as rewards:
        for _ in range(3):
            assert rewards.call("rewards.py:length", texts, texts, {"more": texts}) == [3000.0] * 500


def test_prints_go_to_the_log_and_not_into_the_answer(root: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert score(root, "equals") == [1.0, 0.0, 1.0]
    assert "a print of the project" in capfd.readouterr().out


def test_the_child_needs_no_torch(root: str) -> None:
    (Path(root) / "light.py").write_text(
        "import sys\ndef fn(completions, **_):\n    return [float('torch' in sys.modules)] * len(completions)\n"
    )
    assert score(root, "light.py:fn") == [0.0] * 3


def test_the_child_dies_with_its_parent(root: str) -> None:
    program = textwrap.dedent(
        f"""
        import sys, time
        from tunekit.engine.rewards import Rewards
        with Rewards({root!r}, ["rewards.py:length"], 5.0) as rewards:
            print(rewards._process.pid, flush=True)
            time.sleep(60)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}/cmdline").is_file() and _cmdline(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _cmdline(child)


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()  # empty for a zombie
    except OSError:
        return b""


def test_columns_are_the_union_with_none_for_what_a_row_has_not() -> None:
    rows = [{"prompt": "p", "answer": "1"}, {"prompt": "q", "level": 2}]
    assert Columns(rows).take([1, 0, 0]) == (["q", "p", "p"], {"answer": [None, "1", "1"], "level": [2, None, None]})
    with pytest.raises(ActionError, match="`completions`"):
        Columns([{"prompt": "p", "completions": 1}])
