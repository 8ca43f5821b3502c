"""GSM8K's problems as conversations."""

from __future__ import annotations

import re


def conversation(row: dict) -> dict:
    """`doc` is the original row; what stands in `<<…>>` is for a calculator, not for a reader."""
    doc = row["doc"]
    answer = re.sub(r"<<[^>]*>>", "", doc["answer"])
    return {"messages": [{"role": "user", "content": doc["question"]}, {"role": "assistant", "content": answer}]}
