"""Try every reward on a few rows, twice, before anything is trained (no torch here: it takes a second)."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tunekit.data.rowset import open_dataset
from tunekit.engine.rewards import Columns, Rewards, Values
from tunekit.errors import ActionError
from tunekit.protocol import Events, Request
from tunekit.steps.rewards.spec import RewardCheck

OWN_TEXT = ("answer", "completion", "solution", "response")  # columns that a good completion could be made of
PLAIN = "I do not know."
JUNK = "}{ ½ \t<?>\n 0"


class Trial(NamedTuple):
    """One completion that is scored. `data` and `row` count from 0."""

    data: int
    row: int
    kind: str  # own | plain | junk
    text: str
    columns: dict[str, Any]


def run(request: Request, events: Events) -> dict[str, str]:
    """`main/rewards.json`: the scores of every reward for every completion tried.

    Raises ActionError: `reward-not-deterministic`, and those of tunekit.engine.rewards.
    """
    spec = msgspec.convert(request.spec, RewardCheck)
    trials = trials_of([source.path for source in request.inputs["data"]], spec.rows)
    fns = [reward.fn for reward in spec.rewards]
    scores: list[Values] = []
    with Rewards(request.code_root, fns, spec.timeout) as rewards:
        for done, fn in enumerate(fns, 1):
            scores.append(_score_twice(rewards, fn, trials))
            events.progress(done, len(fns), "reward")
    main = Path(request.out) / "main"
    main.mkdir(parents=True, exist_ok=True)
    report = {
        "format": 1,
        "rewards": [{"fn": r.fn, "weight": r.weight} for r in spec.rewards],
        "table": [_line(trial, [s[i] for s in scores]) for i, trial in enumerate(trials)],
    }
    (main / "rewards.json").write_text(json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return {"main": "main"}


def trials_of(datasets: list[str], rows: int) -> list[Trial]:
    """For the first rows of each dataset: a plain text (the row's own answer, if it has one) and a junk text."""
    out = []
    for number, path in enumerate(datasets):
        for i, row in enumerate(islice(open_dataset(path).iter_rows(), rows)):
            own = next((row[c] for c in OWN_TEXT if isinstance(row.get(c), (str, int, float))), None)
            out.append(Trial(number, i, "plain" if own is None else "own", PLAIN if own is None else str(own), row))
            out.append(Trial(number, i, "junk", JUNK, row))
    return out


def _score_twice(rewards: Rewards, fn: str, trials: list[Trial]) -> Values:
    prompts, columns = Columns([t.columns for t in trials]).take(range(len(trials)))
    texts = [t.text for t in trials]
    first, second = (rewards.call(fn, texts, prompts, columns, "trying it") for _ in range(2))
    for trial, one, two in zip(trials, first, second, strict=True):
        if one != two:
            raise ActionError(
                f"reward `{fn}` scored row {trial.row} of dataset {trial.data} {one}, and then {two} for the same text",
                slug="reward-not-deterministic",
                hint="a run with it could be neither resumed nor repeated: seed what is random, keep no state",
            )
    return first


def _line(trial: Trial, scores: Values) -> dict[str, Any]:
    return {"data": trial.data, "row": trial.row, "completion": trial.kind, "scores": scores}
