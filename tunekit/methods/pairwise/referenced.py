"""What TRL's trainers with a reference are given: rows of ours, and log-probabilities that were made before."""

from __future__ import annotations

from typing import Any

import datasets
from peft import PeftModel

from tunekit.engine.weighing import Weighed

_REFERENCE = "ref"  # TRL's name of the adapter that it makes to be the reference


class Referenced(Weighed):
    """In front of `DPOTrainer` or `KTOTrainer`: `class X(Referenced, DPOTrainer)`, made with a `sample` row.

    TRL makes tokens of texts, and log-probabilities of a reference, when it is made; neither is left to do. It looks at
    a `datasets.Dataset` and takes no other, so it sees one row; what is trained on is put in its place. For an adapter
    it makes a second one to be the reference, which is dropped. tests/methods/dpo holds it to these seams.
    """

    def __init__(self, sample: dict[str, Any], trained: Any, evaluated: Any, **kwargs: Any) -> None:
        rows = datasets.Dataset.from_list([sample])
        more: dict[str, Any] = {"train_dataset": rows, "eval_dataset": rows if evaluated else None}
        super().__init__(evaluated=evaluated, **more, **kwargs)
        us: Any = self
        us.train_dataset = trained
        us.precompute_ref_logps = True  # an adapter's trainer was not told: it would hash all weights for a cache
        if isinstance(us.model, PeftModel) and _REFERENCE in us.model.peft_config:
            us.model.delete_adapter(_REFERENCE)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset
