"""A merge: an adapter into its base, and the receipt that the result computes what the two computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from tunekit.engine import weights
from tunekit.engine.determinism import make_deterministic
from tunekit.engine.loading import DTYPES, load_policy
from tunekit.engine.saving import cleaned, copy_json, copy_tokenizer, save_model, write_json
from tunekit.protocol import Events, Request
from tunekit.steps.merge.lora import not_streamable, plan
from tunekit.steps.merge.receipt import receipt
from tunekit.steps.merge.spec import Merge


def run(request: Request, events: Events) -> dict[str, str]:
    """Inputs: `base`, `adapter`. Output: main, a whole model with the base's tokenizer.

    Raises ActionError: `merge-differs` where weights or logits are off, and those of planning, loading and saving.
    """
    spec = msgspec.convert(request.spec, Merge)
    make_deterministic(0)
    base, adapter = request.one("base").path, request.one("adapter").path
    out = Path(request.out) / "main"
    out.mkdir()
    config = json.loads((Path(adapter) / "adapter_config.json").read_text())
    reason = not_streamable(config)
    if reason:
        _by_peft(base, adapter, out, request.staging, spec)
    else:
        _streamed(base, adapter, out, spec)
    dtypes = sorted({str(s.dtype).removeprefix("torch.") for s in weights.slots_of(out).values()})
    by = "peft" if reason else "stream"
    events.effective(merged_by=by, reason=reason, dtype=dtypes)
    receipt(base, adapter, str(out), dtypes, by, events)
    return {"main": "main"}


def _streamed(base: str, adapter: str, out: Path, spec: Merge) -> None:
    merge = plan(base, adapter)
    weights.write(out, merge.slots(DTYPES.get(spec.dtype)), merge.tensor)
    weights.validate(out)
    config = cleaned(json.loads((Path(base) / "config.json").read_text(encoding="utf-8")))
    if merge.untied:
        config["tie_word_embeddings"] = False
    if spec.dtype != "base":
        config["dtype"] = spec.dtype
    write_json(out / "config.json", config)
    copy_json(Path(base), out, "generation_config.json")
    copy_tokenizer(base, out)


def _by_peft(base: str, adapter: str, out: Path, staging: str, spec: Merge) -> None:
    """PEFT's merge_and_unload with the whole model in memory, for what the streaming merge does not do."""
    dtype = stored_dtype(base) if spec.dtype == "base" else spec.dtype
    loaded = load_policy(base, adapter, dtype=dtype, trainable=False)
    model: Any = loaded.model
    save_model(model.merge_and_unload().to(DTYPES[dtype]), base, out, staging)


def stored_dtype(base: str) -> str:
    """The dtype that most of a model's floating weights are stored in."""
    sizes: dict[str, int] = {}
    for slot in weights.slots_of(base).values():
        if slot.dtype.is_floating_point:
            name = str(slot.dtype).removeprefix("torch.")
            sizes[name] = sizes.get(name, 0) + slot.nbytes
    return max(sizes, key=lambda name: sizes[name])
