"""A merge: an adapter into its base, and the receipt that the result computes what the two computed."""

from __future__ import annotations

import contextlib
import ctypes
import json
from pathlib import Path
from typing import Any

import msgspec
import torch

from tunekit.engine import quantization, weights
from tunekit.engine.determinism import make_deterministic
from tunekit.engine.loading import DTYPES, load_policy, require_safetensors
from tunekit.engine.saving import cleaned, copy_json, copy_tokenizer, save_model, write_json
from tunekit.errors import ActionError
from tunekit.protocol import Events, Request
from tunekit.steps.merge.lora import merged_config, not_streamable, plan
from tunekit.steps.merge.receipt import receipt
from tunekit.steps.merge.skeleton import adapter_config
from tunekit.steps.merge.spec import Merge
from tunekit.steps.merge.whole import whole_receipt

_M_MMAP_THRESHOLD = -3


def run(request: Request, events: Events) -> dict[str, str]:
    """Inputs: `base`, `adapter`. Output: main, a whole model with the base's tokenizer.

    Raises ActionError: `merge-differs` where weights or logits are off, and those of planning, loading and saving.
    """
    spec = msgspec.convert(request.spec, Merge)
    make_deterministic(0)
    _give_memory_back()
    base, adapter = request.one("base").path, request.one("adapter").path
    require_safetensors(base)
    out = Path(request.out) / "main"
    out.mkdir()
    reason = not_streamable(adapter_config(adapter))
    trained = quantization.stored(adapter)
    nf4 = bool(trained and trained.scheme == "nf4")
    if reason and trained:
        raise ActionError(
            f"this adapter ({reason}) was trained on a quantized base, and only a merge by PEFT can do it",
            slug="merge-unsupported",
            hint="train it again on a base that is not quantized",
        )
    simulate = nf4 if spec.simulate_nf4 is None else spec.simulate_nf4
    if simulate and not nf4:
        raise ActionError(
            "simulate_nf4 = true, but the adapter was not trained on a base in NF4",
            slug="merge-unsupported",
            hint="remove it: by default it is on exactly where the training was in 4 bits",
        )
    if reason:
        message = f"PEFT merges this adapter ({reason}) with the whole model in memory: only LoRA is merged by layers"
        events.warning("merge-in-memory", message)
        _by_peft(base, adapter, out, request.staging, spec)
    else:
        _streamed(base, adapter, out, spec, simulate)
    dtypes = sorted({str(s.dtype).removeprefix("torch.") for s in weights.slots_of(out).values()})
    told = {"simulated_nf4": trained.summary()} if simulate and trained else {}
    events.effective(merged_by="peft" if reason else "stream", reason=reason, dtype=dtypes, **told)
    if reason:
        whole_receipt(base, adapter, str(out), dtypes, events)
    else:
        receipt(plan(base, adapter, torch.float32, simulate), str(out), dtypes, events)
    return {"main": "main"}


def _give_memory_back() -> None:
    """glibc keeps what was freed in pieces below 32 MB, many weights' worth of it; from now on 1 MB is the limit."""
    with contextlib.suppress(AttributeError, OSError):  # another C library does as it does
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


@torch.no_grad()
def _streamed(base: str, adapter: str, out: Path, spec: Merge, simulate: bool) -> None:
    merge = plan(base, adapter, DTYPES.get(spec.dtype), simulate)
    weights.write(out, merge.slots(), merge.tensor)
    weights.validate(out, values=False)  # the writer has seen them
    config = cleaned(json.loads((Path(base) / "config.json").read_text(encoding="utf-8")))
    write_json(out / "config.json", merged_config(config, merge, spec.dtype))
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
