"""Text to tokens word by word. A tokenizer cuts text into words before it looks anything up, and what a word becomes
depends on that word alone: each is asked of the tokenizer once and remembered. Cutting is most of what a tokenizer
does, and Python's own regular expressions do it in a tenth of the time where text is ASCII.

That is done for tokenizers whose rule is one of those below, and for nothing else. Words alone are cut as they are
within a text: no rule looks back, and where an alternative looks ahead, the end of a text is what it wishes to see.
Around other characters, whose classes Python may know in another version of Unicode, the text is left in one piece, up
to the next space that stands between two ASCII letters: there every rule cuts, whatever stands before and behind.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any

from tokenizers import Encoding, Tokenizer, models
from tokenizers.pre_tokenizers import ByteLevel

from tunekit.data.blocks import Block, InRow, Places, Spliced

_MOST = 1 << 17  # words that are remembered, some 250 bytes each
_LONGEST = 64  # characters of a word that is worth it

_LIKE_GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LIKE_O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%(end)s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%(end)s|%(digits)s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPLITS = (
    _LIKE_GPT4 % r"\p{N}",  # Qwen2 to 3
    _LIKE_GPT4 % r"\p{N}{1,3}",  # cl100k, Llama 3
    _LIKE_O200K % {"end": "", "digits": r"\p{N}"},  # Mistral's Tekken
    _LIKE_O200K % {"end": _SHORT + "?", "digits": r"\p{N}{1,3}"},  # o200k
)
# Digits are cut out first: what looks ahead sees an end in front of them.
_DIGITS_FIRST = _GPT2.replace(r" ?\p{N}+", r"\p{N}").replace(r"(?!\S)", r"(?![^\s\p{N}])")
_SPACE = r" \t\n\r\x0b\x0c"
_OF_ASCII = (
    (_SHORT, r"(?:'(?:[sStTmMdD]|[rRvV][eE]|[lL][lL]))"),
    (_UPPER, "[A-Z]"),
    (_LOWER, "[a-z]"),
    (r"[^\s", f"[^{_SPACE}"),
    (r"\s", f"[{_SPACE}]"),
    (r"\S", f"[^{_SPACE}]"),
)

_FOREIGN = re.compile(r"[^\x00-\x7f]")
_EDGE = re.compile(r"[a-zA-Z](?= [a-zA-Z])")
# What is tried before a tokenizer is taken at its word: each character beside each kind, and edges of the rules.
_TRIAL = (
    "".join(f"{c}a{c} {c}1{c}{c}\n{c}!{c}A{c}" for c in map(chr, range(128)))
    + "it's IT'S we'Ve 'Tis 12345 a1b2  \n \r\n\n\t x camelCaseHTTPServer'll !\n/ "
)
_FOREIGN_TRIAL = "na\u00efve caf\u00e9 au lait \u00a0 \u2028 d\u00e9j\u00e0 vu e\u0301 \u4f60\u597d '\u017f x\u00e9 a b"


def ascii_of(split: str) -> str:
    """A rule of SPLITS for text that is ASCII, as Python's `re` writes it."""
    for theirs, ours in _OF_ASCII:
        split = split.replace(theirs, ours)
    inside = split.replace(r"\p{L}\p{N}", "a-zA-Z0-9")
    return inside.replace(f"{_SPACE}\\p{{N}}", f"{_SPACE}0-9").replace(r"\p{L}", "[a-zA-Z]").replace(r"\p{N}", "[0-9]")


def rule_of(tokenizer: Tokenizer) -> str | None:
    """How a tokenizer cuts ASCII, as Python's `re` writes it; None if it is none that is known here."""
    found = json.loads(tokenizer.pre_tokenizer.__getstate__()) if tokenizer.pre_tokenizer else {}
    steps = found.get("pretokenizers", [found])
    match [_plain(step) for step in steps]:
        case [{"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False}, False]:
            return ascii_of(split) if split in SPLITS else None
        case [True]:
            return ascii_of(_GPT2)
        case [{"type": "Digits", "individual_digits": True}, True]:
            return ascii_of(_DIGITS_FIRST)
    return None


def _plain(step: dict[str, Any]) -> dict[str, Any] | bool:
    """A step; of one that turns characters into bytes whether it cuts as well, as GPT-2 does."""
    if step.get("type") == "ByteLevel" and not step["add_prefix_space"]:
        return bool(step["use_regex"])
    return step


def added_of(tokenizer: Tokenizer) -> str | None:
    """What finds added tokens, which are cut out before all else; None where that is not so simple."""
    added = tokenizer.get_added_tokens_decoder().values()
    particular = any(token.lstrip or token.rstrip or token.single_word or not token.content for token in added)
    if particular or tokenizer.encode_special_tokens or len({token.normalized for token in added}) > 1:
        return None
    normalizer = json.loads(tokenizer.normalizer.__getstate__()) if tokenizer.normalizer else {"type": "Sequence"}
    same = normalizer.get("type") == "Sequence" and not normalizer.get("normalizers")
    if not same and (normalizer.get("type") != "NFC" or any(token.normalized for token in added)):
        return None
    longest_first = sorted((token.content for token in added), key=len, reverse=True)
    return "|".join(map(re.escape, longest_first))


class _Known(dict[str, list[int]]):
    """Words and their tokens; the tokenizer is asked for one that is not there."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        added = tokenizer.get_added_tokens_decoder()
        super().__init__({token.content: [id] for id, token in added.items()})
        self._tokenizer = tokenizer
        as_bytes = ByteLevel(add_prefix_space=False, use_regex=False)
        self._bytes = {c: as_bytes.pre_tokenize_str(chr(c))[0][0] for c in range(128)}
        self._space = self._bytes[32]  # of what can be printed, the only one that is not named by itself

    def __missing__(self, word: str) -> list[int]:
        if word.isascii():  # what every rule above ends with, and no normalizer changes
            named = word.replace(" ", self._space) if word.isprintable() else word.translate(self._bytes)
            found = [token.id for token in self._tokenizer.model.tokenize(named)]
        else:
            found = self._tokenizer.encode(word, add_special_tokens=False).ids
        if len(word) <= _LONGEST:
            self[word] = found
        return found


class _Lengths(dict[int, int]):
    """Tokens, and how many characters their names have."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, id: int) -> int:
        self[id] = found = len(self._tokenizer.id_to_token(id) or "")
        return found


class Words:
    """The words of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, rule: str, added: str) -> None:
        self._tokenizer = tokenizer
        self._words = re.compile(rule, re.ASCII)
        self._added = re.compile(f"({added})") if added else None
        self._known = _Known(tokenizer)
        self._lengths = _Lengths(tokenizer)

    @staticmethod
    def of(tokenizer: Tokenizer) -> Words | None:
        """None for a tokenizer that is to be given whole texts."""
        model = tokenizer.model
        if not isinstance(model, models.BPE) or model.dropout or tokenizer.truncation or tokenizer.padding:
            return None
        rule, added = rule_of(tokenizer), added_of(tokenizer)
        if rule is None or added is None:
            return None
        words = Words(tokenizer, rule, added)
        return words if words._holds() else None

    def _holds(self) -> bool:
        """Whether the tokenizer does as its settings say."""
        pre = self._tokenizer.pre_tokenizer
        cut = [_TRIAL[start:end] for _, (start, end) in pre.pre_tokenize_str(_TRIAL)] if pre else []
        trials = [_TRIAL, _FOREIGN_TRIAL]
        if self._cut(_TRIAL) != cut or self.ids(trials) != [self._alone(trial).ids for trial in trials]:
            return False
        whole = self._alone(_TRIAL)
        places = self.places(_TRIAL, whole.ids)
        return [places.token_to_chars(token) for token in range(len(whole))] == whole.offsets

    def ids(self, texts: list[str]) -> list[list[int]]:
        """The tokens of each text."""
        cut = [self.cut(text) for text in texts]
        if len(self._known) > _MOST:
            self._known = _Known(self._tokenizer)
        known = self._known
        long = [piece for text, pieces in zip(texts, cut, strict=True) if not text.isascii() for piece in pieces]
        long = list({piece for piece in long if len(piece) > _LONGEST and piece not in known})  # on all threads
        for piece, found in zip(long, self._tokenizer.encode_batch_fast(long, add_special_tokens=False), strict=True):
            known[piece] = found.ids
        made = [list(chain.from_iterable(map(known.__getitem__, words))) for words in cut]
        for piece in long:
            del known[piece]
        return made

    def places(self, text: str, ids: Sequence[int]) -> Places:
        """Where the tokens of a text are."""
        if text.isascii():
            return self._in_row(text, ids)
        known = self._known
        return Spliced([Block(word, known[word], self._in_row) for word in self.cut(text)])

    def _in_row(self, text: str, ids: Sequence[int]) -> Places:
        """Of one word, or of a text that is ASCII: its bytes are characters, and names of tokens have one for each."""
        if not text.isascii():
            return self._alone(text)
        ends = list(accumulate(map(self._lengths.__getitem__, ids)))
        return InRow(ends) if ends[-1:] == [len(text)] else self._alone(text)

    def _alone(self, word: str) -> Encoding:
        return self._tokenizer.encode(word, add_special_tokens=False)

    def cut(self, text: str) -> list[str]:
        """A text in words, and in longer pieces where it is not ASCII. Each has the tokens that it has in the text."""
        if self._added is None or not self._added.search(text):
            return self._cut(text)
        out: list[str] = []
        for number, piece in enumerate(self._added.split(text)):
            out += [piece] if number % 2 else self._cut(piece)
        return out

    def _cut(self, text: str) -> list[str]:
        if text.isascii():
            return self._words.findall(text)
        edges = [0, *(match.end() for match in _EDGE.finditer(text)), len(text)]
        out: list[str] = []
        done = 0
        while foreign := _FOREIGN.search(text, done):
            start = edges[bisect_right(edges, foreign.start()) - 1]
            end = edges[bisect_left(edges, foreign.end())]
            out += self._words.findall(text, done, start)
            out.append(text[start:end])
            done = end
        out += self._words.findall(text, done)
        return out
