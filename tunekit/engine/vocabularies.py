"""Whether two models speak of the same tokens, where token ids of one are given to the other."""

from __future__ import annotations

from tunekit.engine.loading import load_tokenizer
from tunekit.errors import ActionError


def check_vocabulary(own: str, other: str, whose: tuple[str, str], hint: str) -> None:
    """`own`, `other`: folders with a tokenizer; `whose`: in words. Tokens are compared one by one: a size alone would
    let two vocabularies pass that only look alike. Raises ActionError `other-vocabulary`."""
    ours, theirs = (load_tokenizer(folder).get_vocab() for folder in (own, other))
    if ours == theirs:
        return
    differ = sorted(t for t in ours.keys() | theirs.keys() if ours.get(t) != theirs.get(t))
    some = ", ".join(repr(token) for token in differ[:3])
    raise ActionError(
        f"{len(differ)} tokens of {whose[1]} are not {whose[0]}'s ({len(theirs)} and {len(ours)} in all): {some}",
        slug="other-vocabulary",
        hint=hint,
    )
