"""A packed batch computes what its documents compute alone: logits, loss and gradients.

In double precision, but Transformers computes softmax and norms of most models in float32: that is the tolerance.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "engine"))
import packed_models as models
import tiny_stack as tiny
import torch
from torch.nn.functional import cross_entropy

from tunekit.engine.rows import Tokens, view_of
from tunekit.methods.sft.batches import Collator, Counts, feed_of, layout_of
from tunekit.methods.sft.dataset import Documents, sample_of
from tunekit.methods.sft.spec import Sft

pytestmark = pytest.mark.torch
# Two packed sequences of different lengths; documents of one and two tokens among them, and none at all to pad.
EXAMPLES = [models.example(9, 1, 14, 2, 7), models.example(11, 3, seed=1)]
DOCUMENTS = [document for found in EXAMPLES for document in models.documents_in(found)]
CASES = [
    (name, a) for name in models.HONOURED for a in ("eager", "sdpa") if name not in models.EAGER_ONLY or a == "eager"
]


def total_loss(logits_BTV: torch.Tensor, labels_BT: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten(), reduction="sum")


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("layout", ["rows", "flat"])
@pytest.mark.parametrize(("name", "attn"), CASES)
def test_packed_is_alone(name: str, attn: str, layout: Any) -> None:
    single = name in models.SINGLE_ONLY
    rough = 20 if single else 1
    model = models.model_of(name, attn, torch.float32 if single else torch.float64)
    batch = Collator(0, layout)(EXAMPLES)
    batch.pop("counts")
    labels_BT = batch.pop("labels")
    packed_BTV = model(**batch, use_cache=False).logits
    alone = [model(input_ids=torch.tensor(ids)[None], use_cache=False).logits[0] for ids, _ in DOCUMENTS]
    flat_TV = packed_BTV[0] if layout == "flat" else torch.cat([packed_BTV[0, :33], packed_BTV[1, :14]])
    torch.testing.assert_close(flat_TV, torch.cat(alone), atol=rough * 1e-7, rtol=rough * 1e-6)
    loss = total_loss(packed_BTV, labels_BT)
    losses = [
        total_loss(logits[None], torch.tensor(labels)[None])
        for logits, (_, labels) in zip(alone, DOCUMENTS, strict=True)
        if len(labels) > 1
    ]
    assert loss.item() == pytest.approx(sum(each.item() for each in losses), rel=rough * 1e-8)
    assert int((labels_BT[:, 1:] != -100).sum()) == sum(int((labels[1:] != -100).sum()) for _, labels in DOCUMENTS)
    ours, theirs = gradients(model, loss), gradients(model, torch.stack(losses).sum())
    assert ours.keys() == theirs.keys() and ours
    for weight in ours:
        torch.testing.assert_close(ours[weight], theirs[weight], atol=rough * 2e-6, rtol=rough * 1e-5)


def test_padding_reaches_nothing() -> None:
    """Other padding, same logits and gradients; nothing is NaN where the padding is."""
    model = models.model_of("mistral", "sdpa", torch.float64)
    logits = []
    for pad in (0, 77):
        batch = Collator(pad, "rows")(EXAMPLES)
        assert batch["input_ids"][1, 14:].eq(pad).all() and batch["labels"][1, 14:].eq(-100).all()
        found = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
        assert found.isfinite().all()
        logits.append(torch.cat([found[0], found[1, :14]]))
    assert torch.equal(*logits)


def test_counts() -> None:
    supervised = sum(int((labels[1:] != -100).sum()) for _, labels in DOCUMENTS)
    assert Collator(0, "rows")(EXAMPLES)["counts"] == Counts(47, supervised, 2 * 33 - 47)
    assert Collator(0, "flat")(EXAMPLES)["counts"] == Counts(47, supervised, 0)
    single = [models.example(9), models.example(4, seed=1)]
    alone = sum(int((found["labels"][1:] != -100).sum()) for found in single)
    assert Collator(0, "padded")(single)["counts"] == Counts(13, alone, 5)


@pytest.mark.parametrize(
    ("change", "attn", "layout"),
    [
        ({}, "sdpa", "padded"),
        ({"group_by_length": True}, "flash_attention_2", "padded"),
        ({"packing": True}, "sdpa", "rows"),
        ({"packing": True}, "eager", "rows"),
        ({"packing": True}, "flash_attention_2", "flat"),
        ({"packing": True}, "flash_attention_3", "flat"),
        ({"padding_free": True}, "sdpa", "flat"),
    ],
)
def test_layouts(change: dict[str, Any], attn: str, layout: str) -> None:
    assert layout_of(Sft(model="model:m", data=["dataset:a"], **change), attn) == layout


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    tokens = Tokens(tiny.make_tokens(tmp_path_factory.mktemp("batches") / "t", [tiny.random_rows(50)]))
    return Documents(tokens, view_of(tokens, 0, 64, "error").spans)


def test_documents(documents: Documents) -> None:
    several = documents[np.array([4, 0, 9])]
    assert several["seq_lengths"] == documents.lengths[[4, 0, 9]].tolist()
    for name in ("input_ids", "labels"):
        np.testing.assert_array_equal(several[name], np.concatenate([documents[i][name] for i in (4, 0, 9)]))
        assert several[name].dtype == np.int64


def test_a_sample_for_the_probe(documents: Documents) -> None:
    found = sample_of(documents, length=8)
    assert [len(example["seq_lengths"]) for example in found] == [3, 1]
    assert all(n <= 16 for example in found for n in example["seq_lengths"])
    one = Documents(documents.tokens, documents.spans[:1])
    assert [len(example["seq_lengths"]) for example in sample_of(one)] == [3, 1]


def test_orders(documents: Documents) -> None:
    def feed(**change: Any) -> Any:
        return feed_of(Sft(model="model:m", data=["dataset:a"], batch_size=4, **change), "sdpa", documents)

    packed = feed(packing=True, sequence_len=64)
    shuffled = list(feed().order)
    assert sorted(shuffled) == list(range(50)) and list(feed(padding_free=True).order) == shuffled
    assert len(packed.order) == len(list(packed.order)) < 50 / 2
    assert packed.described() == {
        "layout": "rows",
        "order": "packed",
        "rows": 50,
        "sequences": len(packed.order),
        "fill": round(documents.lengths.sum() / (len(packed.order) * 64), 6),
    }
    assert feed().described() == {"layout": "padded", "order": "shuffled", "rows": 50}
    grouped = feed(group_by_length=True)
    assert sorted(grouped.order) == list(range(50)) and grouped.described()["order"] == "grouped"
    first = list(grouped.order)
    grouped.order.epoch = 1
    assert list(grouped.order) != first
