"""Bits where they are promised, figures within the kind's tolerance elsewhere."""

from __future__ import annotations

import pytest

from tunekit.build.agreement import agreement, agrees, figures_of
from tunekit.lockfile import ResultBlock

CPU, CUDA = "cpu-bitwise", "cuda-best-effort"


def record(main: str, determinism: str = CUDA, kind: str = "run.sft", **summary):
    return {
        "kind": kind,
        "outputs": {"main": main},
        "effective": {"determinism": determinism, "summary": summary},
    }


@pytest.mark.parametrize(
    ("old", "new", "holds"),
    [
        (record("a", CPU, loss=1.0), record("a", CPU, loss=1.0), True),
        (record("a", CPU, loss=1.0), record("b", CPU, loss=1.0), False),  # a broken promise, whatever the figures say
        (record("a", CPU, loss=1.0), record("b", CUDA, loss=1.01), True),  # only one of them promised
        (record("a", loss=1.0), record("b", loss=1.019), True),
        (record("a", loss=1.0), record("b", loss=1.03), False),
        (record("a", loss=4.0), record("b", loss=4.079), True),  # relative above 1
        (record("a", loss=4.0), record("b", loss=4.081), False),
        (record("a", loss=0.001), record("b", loss=0.02), True),  # absolute below
        (record("a", loss=1.0, tokens=5), record("b", loss=1.0, tokens=6), False),  # counts are exact
        (record("a", loss=1.0), record("b", loss=1.0, eval_loss=1.0), False),
        (record("a", loss=1.0, best_step=3), record("b", loss=1.0, best_step=4), True),
        (record("a", loss=1.0), record("b", loss=float("nan")), False),
        (record("a", kind="run.grpo", reward=0.5), record("b", kind="run.grpo", reward=0.59), True),
        (record("a", kind="run.sft", reward=0.5), record("b", kind="run.sft", reward=0.59), False),
        (record("a", kind="dataset"), record("b", kind="dataset"), True),  # nothing to tell them apart by
    ],
)
def test_what_agrees(old, new, holds):
    found = agreement(old, new)
    assert found.holds is holds and found.same_bytes is (old["outputs"] == new["outputs"])
    block = ResultBlock("run:x", "k", "1", old["outputs"], figures_of(old), old["effective"]["determinism"])
    assert agrees(block, new) == found, "the lock knows enough of the promoted one"


def test_it_is_told_in_words():
    assert str(agreement(record("a"), record("a"))) == "the same bytes"
    found = agreement(record("a", loss=1.0), record("b", loss=1.5))
    assert str(found) == "other bytes, figures not within 0.02: loss 1 → 1.5 (!)"
    found = agreement(record("a", CPU, loss=1.0), record("b", CPU, loss=1.0))
    assert str(found) == "other bytes"
