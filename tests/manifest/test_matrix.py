"""A table with a matrix is the targets that it would be written out."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.errors import DeclarationError, Problem
from tunekit.label import parse_label
from tunekit.manifest.matrix import written
from tunekit.manifest.project import Manifest, load
from tunekit.manifest.scope import build_graph

BASE = """
[project]
name = "p"
{default}
[dataset.d]
source = "path:d.jsonl"
format = "chat"
[tokenizer.t]
data = ["dataset:d"]
vocab_size = 300
[model.m]
config = {{ model_type = "llama" }}
tokenizer = "tokenizer:t"
{rest}
"""
RUN = """
[run.x]
method = "sft"
model = "model:m"
data = ["dataset:d"]
"""
SWEEP = RUN + "matrix = { learning_rate = [1e-4, 2.5e-5], seed = [1, 2] }\n"
EVAL = '\n[eval.e]\nmodel = "run:x"\ndata = ["dataset:d"]\n'
POINTS = [f"run:x.lr-{lr}.seed-{seed}" for lr in ("1e-4", "2.5e-5") for seed in (1, 2)]


def read(root: Path, rest: str, default: str = "") -> tuple[Manifest, list[Problem]]:
    (root / "tunekit.toml").write_text(BASE.format(default=default, rest=rest))
    (root / "d.jsonl").write_text("")
    problems: list[Problem] = []
    return load(root, [], problems), problems


def graph_of(root: Path, rest: str, default: str = "") -> Any:
    manifest, problems = read(root, rest, default)
    return build_graph(manifest, problems)[0]


def test_points(tmp_path: Path) -> None:
    manifest, problems = read(tmp_path, SWEEP)
    assert not problems and [t for t in manifest.targets if t.startswith("run:")] == POINTS
    assert manifest.groups == {"run:x": POINTS}
    spec: Any = manifest.targets["run:x.lr-2.5e-5.seed-2"].spec
    assert (spec.learning_rate, spec.seed) == (2.5e-5, 2)
    assert all(str(parse_label(p)) == p for p in POINTS)


def test_a_point_has_the_key_of_the_run_written_out(tmp_path: Path) -> None:
    plain = RUN.replace("run.x", "run.y") + "learning_rate = 1e-4\nseed = 2\n"
    graph = graph_of(tmp_path, SWEEP + plain)
    assert graph.actions["run:x.lr-1e-4.seed-2"].stamp == graph.actions["run:y"].stamp
    assert len({graph.actions[p].stamp for p in POINTS}) == 4
    assert len({graph.actions[f"{p}#tokens"].stamp for p in POINTS}) == 1, "what they share has one key"


def test_the_default_takes_all_points(tmp_path: Path) -> None:
    assert graph_of(tmp_path, SWEEP, 'default = ["run:x"]').default == POINTS
    assert graph_of(tmp_path, SWEEP).default == POINTS
    assert graph_of(tmp_path, SWEEP, f'default = ["{POINTS[1]}"]').default == [POINTS[1]]


def test_nested_keys_and_tables(tmp_path: Path) -> None:
    text = RUN + '[run.x.matrix]\n"adapter.r" = [4, 8]\n"adapter.alpha" = [16.0]\npackages = [[], ["acme"]]\n'
    manifest, problems = read(tmp_path, text)
    names = ["run:x.r-4.alpha-16.packages-0", "run:x.r-4.alpha-16.packages-1"]
    assert not problems and list(manifest.groups["run:x"])[:2] == names
    spec: Any = manifest.targets["run:x.r-8.alpha-16.packages-1"].spec
    assert (spec.adapter.r, spec.adapter.alpha, spec.packages) == (8, 16.0, ["acme"])


def test_an_eval_of_every_point(tmp_path: Path) -> None:
    text = '[eval.e]\ndata = ["dataset:d"]\nmatrix = { model = ["run:x@best", "model:m"] }\n' + SWEEP
    graph = graph_of(tmp_path, text)
    names = [f"eval:e.{p.partition('.')[2]}-best" for p in POINTS] + ["eval:e.m"]
    assert graph.groups["eval:e"] == names
    (base,) = graph.actions[names[0]].inputs["base"]
    assert (base.action, base.output) == (POINTS[0], "best")


def test_one_of_many_is_not_guessed(tmp_path: Path) -> None:
    manifest, problems = read(tmp_path, SWEEP + EVAL)
    with pytest.raises(DeclarationError) as found:
        build_graph(manifest, problems)
    (problem,) = found.value.problems
    assert (problem.slug, problem.key, problem.table) == ("matrix-label", "model", "eval.e")
    assert POINTS[0] in problem.hint and 'matrix = { model = ["run:x"] }' in problem.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("matrix = {}", "a table of lists"),
        ("matrix = [1]", "a table of lists"),
        ("matrix = { seed = 3 }", "not a list with values"),
        ("matrix = { seed = [] }", "not a list with values"),
        ("seed = 1\nmatrix = { seed = [2] }", "in the table and in its matrix"),
        ("matrix = { seed = [1, 1] }", "both be called `seed-1`"),
        (f"matrix = {{ seed = {list(range(40))}, batch_size = {list(range(1, 31))} }}", "1200 points"),
    ],
)
def test_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    _, problems = read(tmp_path, RUN + text + "\n")
    assert [p.slug for p in problems] == ["bad-matrix"] and said in problems[0].message


def test_a_mistake_that_all_points_have_is_said_once(tmp_path: Path) -> None:
    _, problems = read(tmp_path, SWEEP + "lerning_rate = 3\n")
    assert [p.slug for p in problems] == ["unknown-key"]
    _, problems = read(tmp_path, RUN + "matrix = { sed = [1, 2] }\n")
    assert [p.slug for p in problems] == ["unknown-key"] and "seed" in problems[0].hint


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "1e-4"), (2e-5, "2e-5"), (0.5, "0.5"), (1.0, "1"), (3e-4, "3e-4"), (0.001, "0.001"), (1e22, "1e22"),
     (1234567.0, "1.234567e6"), (-0.5, "-0.5"), (100, "100"), (True, "true"), ("cosine", "cosine")],
)  # fmt: skip
def test_written(value: Any, text: str) -> None:
    assert written(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_exactly(value: float) -> None:
    assert float(written(value)) == value
