"""Padding may be the end-of-text token: the collator of `run.sft` masks padding by place, never by its id."""

from __future__ import annotations

import pytest


@pytest.mark.torch
def test_the_end_is_learnt_where_padding_is_the_end():
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    end = 2
    rows = [
        {"input_ids": [5, 6, end], "labels": [-100, 6, end]},
        {"input_ids": [5, end, 7, 8, end], "labels": [5, end, 7, 8, end]},
    ]
    made = DataCollatorForLanguageModeling(pad_token_id=end)(rows)
    assert made["input_ids"].tolist() == [[5, 6, end, end, end], [5, end, 7, 8, end]]
    assert made["labels"].tolist() == [[-100, 6, end, -100, -100], [5, end, 7, 8, end]]
    assert made["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
