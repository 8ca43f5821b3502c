"""Views over pairs against a brute-force reading of the same rows."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import tiny_stack as tiny

from tunekit.data.encoder import Encoded
from tunekit.engine.pairs import Answers, answers_of, pairs_of, warn_of_answers
from tunekit.engine.rows import Tokens
from tunekit.errors import ActionError

pytestmark = pytest.mark.torch

PROMPTS = [list(range(3, 3 + 2 + i % 5)) for i in range(40)]


def row(prompt: list[int], answer: list[int]) -> Encoded:
    return Encoded(prompt + answer, [False] * len(prompt) + [True] * len(answer))


CHOSEN = [row(p, [70 + i] * (1 + i % 7)) for i, p in enumerate(PROMPTS)]
REJECTED = [row(p, [120 + i] * (1 + i % 3)) for i, p in enumerate(PROMPTS)]
REJECTED[7] = Encoded(REJECTED[7].input_ids, [False] * len(REJECTED[7].input_ids))  # nothing to learn
REJECTED[9] = CHOSEN[9]  # no preference


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    items = [("chosen", [CHOSEN[:25], CHOSEN[25:]]), ("rejected", [REJECTED[:25], REJECTED[25:]])]
    return Tokens(tiny.encoded_tokens(tmp_path_factory.mktemp("pairs") / "t", items))


def seen(tokens: Tokens, found: Answers) -> list[list[list[int]]]:
    return [[tokens.sequence(*span)[0].tolist() for span in spans.tolist()] for spans in found.spans]


def view(tokens: Tokens, length: int = 64, overlong: str = "error", limit: int | None = None, weight: float = 1.0):
    return pairs_of(tokens, 0, length, overlong, limit=limit, weight=weight, name="dataset:p")


def test_pairs_are_joined_by_row(tokens: Tokens) -> None:
    found = view(tokens)
    kept = [i for i in range(40) if i not in (7, 9)]
    assert found.rows.tolist() == kept
    assert seen(tokens, found) == [[CHOSEN[i].input_ids for i in kept], [REJECTED[i].input_ids for i in kept]]
    assert found.ledger == {
        "rows": 39,
        "not_selected": 0,
        "incomplete": 1,
        "incomplete_rows": [7],
        "equal": 1,
        "equal_rows": [9],
        "kept": 38,
        "tokens": sum(len(side[i].input_ids) for side in (CHOSEN, REJECTED) for i in kept),
        "labelled_tokens": sum(sum(side[i].labelled) for side in (CHOSEN, REJECTED) for i in kept),
    }


def test_limit_and_weight(tokens: Tokens) -> None:
    assert view(tokens, limit=3).rows.tolist() == [0, 1, 2]
    assert view(tokens, limit=4, weight=0.5).rows.tolist() == [1, 3]
    assert view(tokens, limit=2, weight=2).rows.tolist() == [0, 0, 1, 1]


def test_the_length_policy_holds_for_both(tokens: Tokens) -> None:
    whole = [i for i in range(40) if i not in (7, 9)]
    long = [i for i in whole if max(len(CHOSEN[i].input_ids), len(REJECTED[i].input_ids)) > 6]
    with pytest.raises(ActionError, match=rf"rows of dataset:p are longer .* first is row {long[0]}") as raised:
        view(tokens, 6)
    assert raised.value.slug == "row-too-long" and "keep_start" in raised.value.hint
    dropped = view(tokens, 6, "drop")
    assert dropped.rows.tolist() == [i for i in whole if i not in long]
    start, end = view(tokens, 6, "keep_start"), view(tokens, 6, "keep_end")
    # A prompt of 6 tokens leaves nothing of its answers.
    assert start.rows.tolist() == [i for i in whole if len(PROMPTS[i]) < 6]
    assert start.ledger["unlabelled_rows"] == [i for i in range(40) if len(PROMPTS[i]) == 6]
    assert end.rows.tolist() == whole
    assert seen(tokens, start)[0] == [CHOSEN[i].input_ids[:6] for i in start.rows]
    assert seen(tokens, end)[0] == [CHOSEN[i].input_ids[-6:] for i in whole]
    events = tiny.Recorder()
    warn_of_answers("dataset:p", start, events)
    assert [e["slug"] for e in events.of("warning")] == ["truncated", "incomplete", "unlabelled"]


def test_nothing_left_is_an_error(tokens: Tokens) -> None:
    with pytest.raises(ActionError, match="dataset:p has no row with something to learn") as raised:
        view(tokens, 1, "drop")
    assert raised.value.slug == "no-labels"


def test_items_must_be_what_is_read(tokens: Tokens) -> None:
    with pytest.raises(ActionError) as raised:
        pairs_of(tokens, 1, 64, "error", limit=None, weight=1.0, name="dataset:p")
    assert raised.value.slug == "bad-tokens"
    with pytest.raises(ActionError):
        answers_of(tokens, 0, 64, "error", limit=None, weight=1.0, name="dataset:p")


def test_verdicts_stay_with_their_rows(tmp_path: Path) -> None:
    said = [bool(i % 3) for i in range(40)]
    rows = [e._replace(verdicts=[v]) for e, v in zip(CHOSEN, said, strict=True)]
    tokens = Tokens(tiny.encoded_tokens(tmp_path / "t", [("verdict", [rows[:25], rows[25:]])]))
    found = answers_of(tokens, 0, 5, "keep_end", limit=None, weight=0.5, name="dataset:v")
    verdicts = [tokens.verdicts(chunk, start) for chunk, start, _ in found.spans[0].tolist()]
    assert found.rows.tolist() == list(range(1, 40, 2)) and verdicts == [[said[i]] for i in found.rows]
    assert np.array_equal(found.spans[0][:, 2] - found.spans[0][:, 1] <= 5, [True] * 20)
