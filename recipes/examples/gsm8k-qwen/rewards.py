"""GSM8K: rows as prompts, and a reward for the exact answer."""

from __future__ import annotations

import re

_ASK = "{question}\nThink step by step. End with a line `#### ` and the answer as a number."
_ANSWER = re.compile(r"####\s*\$?(-?\d[\d,]*(?:\.\d+)?)")


def to_prompt(row: dict) -> dict:
    """The question with the form of the answer, and the number that the row's own solution ends with."""
    return {"prompt": _ASK.format(question=row["question"]), "answer": number(row["answer"])}


def exact_answer(completions: list, answer: list[str], **columns: object) -> list[float]:
    """1 where the last `####` is followed by the right number, else 0."""
    texts = [c[0]["content"] for c in completions]
    return [float(number(text) == right) for text, right in zip(texts, answer, strict=True)]


def number(text: str) -> str:
    """The number after the last `####`, without thousands separators and trailing zeros; "" if there is none."""
    found = _ANSWER.findall(text)
    if not found:
        return ""
    plain = found[-1].replace(",", "")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
