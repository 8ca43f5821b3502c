"""Weights and tokenizer from artifact directories, with every requested setting verified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

from tunekit.engine.adapters import with_new_adapter
from tunekit.engine.optimizers import check_optimizer
from tunekit.errors import ActionError
from tunekit.methods.spec import Run
from tunekit.pickled import HINT, SLUG, message, pickled_weights
from tunekit.protocol import Request
from tunekit.steps.adapter.spec import Adapter

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Loaded(NamedTuple):
    """A policy in memory. `attn` is what took effect, whatever was asked for."""

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    attn: str
    dtype: str
    has_adapter: bool

    @property
    def base(self) -> PreTrainedModel:
        """The Transformers model under the adapter (or the model itself)."""
        from peft import PeftModel

        found = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        return cast("PreTrainedModel", found)


def load_run(spec: Run, request: Request) -> Loaded:
    """The policy that a run starts from: its `base`, with the `adapter` that it continues or the new one of its spec.

    Raises what `load_policy` does, and `optimizer-not-installed`, `optimizer-needs-gpu`.
    """
    check_optimizer(spec)
    adapter = request.maybe("adapter")
    return load_policy(
        request.one("base").path,
        adapter.path if adapter else None,
        spec.adapter if isinstance(spec.adapter, Adapter) else None,
        dtype=spec.dtype,
        attn=spec.attn,
        seed=spec.seed,
    )


def load_policy(
    base: str,
    adapter: str | None = None,
    new_adapter: Adapter | None = None,
    *,
    dtype: str = "float32",
    attn: str = "auto",
    seed: int = 0,
    trainable: bool = True,
) -> Loaded:
    """Full weights of `base`, with the trained `adapter` (a directory) or a fresh `new_adapter` on top.

    Raises ActionError: `pickle-weights`, `bad-model`, `attention-unavailable`, `no-target-modules`, `bad-adapter`.
    """
    if adapter and new_adapter:
        raise ValueError("a policy has either an adapter to continue or a new one")
    model: Any = _load_base(base, dtype, attn)
    effective = model.config._attn_implementation
    if new_adapter:
        model = with_new_adapter(model, new_adapter, seed)
    elif adapter:
        model = _load_adapter(model, adapter, trainable)
    if not trainable:
        model.requires_grad_(False)
        model.eval()
    return Loaded(model, load_tokenizer(base), effective, dtype, bool(adapter or new_adapter))


def load_tokenizer(directory: str) -> PreTrainedTokenizerBase:
    """The tokenizer of an artifact, padding on the right. ActionError `bad-tokenizer`."""
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError) as e:
        raise ActionError(f"the tokenizer cannot be read: {e}", slug="bad-tokenizer") from e
    tokenizer.padding_side = "right"
    return tokenizer


def _load_base(base: str, dtype: str, attn: str) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    require_safetensors(base)
    wanted: dict[str, Any] = {} if attn == "auto" else {"attn_implementation": attn}
    try:
        found: Any = AutoModelForCausalLM.from_pretrained(
            base, dtype=DTYPES[dtype], local_files_only=True, use_safetensors=True, output_loading_info=True, **wanted
        )
    except (ImportError, ValueError, OSError) as e:
        if wanted and ("attn" in str(e).lower() or "attention" in str(e).lower()):
            raise ActionError(
                f"attn = {attn!r} is not available: {e}",
                slug="attention-unavailable",
                hint='install what it needs, or use attn = "sdpa"',
            ) from e
        raise ActionError(f"the model cannot be loaded: {e}", slug="bad-model") from e
    model, info = found
    check_complete(info)
    if wanted and model.config._attn_implementation != attn:
        raise ActionError(
            f"attn = {attn!r} was asked for and {model.config._attn_implementation!r} took effect",
            slug="attention-unavailable",
        )
    return cast("PreTrainedModel", model)


def require_safetensors(directory: str) -> None:
    """ActionError `pickle-weights` or `bad-model` unless the directory has safetensors and a config."""
    names = {p.name for p in Path(directory).iterdir()}
    if any(n.endswith(".safetensors") for n in names) and "config.json" in names:
        return
    if found := pickled_weights(names):
        raise ActionError(message("a model", found), slug=SLUG, hint=HINT)
    hint = ""
    if any(n.lower().endswith(".gguf") for n in names):
        hint = "a GGUF file is read where the source names it: `…#folder/file.gguf`"
    raise ActionError("a model needs config.json and *.safetensors", slug="bad-model", hint=hint)


def check_complete(info: dict[str, Any]) -> None:
    """A missing weight would silently be a random one."""
    missing = sorted(info["missing_keys"])
    mismatched = sorted(str(m[0]) for m in info["mismatched_keys"])
    if missing or mismatched:
        bad = (missing + mismatched)[:5]
        raise ActionError(
            f"{len(missing)} weights are missing and {len(mismatched)} have another shape: {', '.join(bad)}",
            slug="bad-model",
            hint="the config does not fit the weights",
        )


def _load_adapter(model: PreTrainedModel, adapter: str, trainable: bool) -> PeftModel:
    from peft import PeftModel

    if not (Path(adapter) / "adapter_model.safetensors").is_file():
        raise ActionError("the adapter has no adapter_model.safetensors", slug="bad-adapter")
    try:
        return PeftModel.from_pretrained(model, adapter, is_trainable=trainable)
    except (ValueError, RuntimeError, KeyError) as e:
        raise ActionError(f"the adapter does not fit its base: {e}", slug="bad-adapter") from e
