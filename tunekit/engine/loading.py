"""Weights and tokenizer from artifact directories, with every requested setting verified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

from tunekit.engine import quantization
from tunekit.engine.adapters import with_new_adapter
from tunekit.engine.heads import Head, new_head
from tunekit.engine.optimizers import check_optimizer
from tunekit.engine.quantization import Quantization
from tunekit.engine.targets import check_trained, select_parameters
from tunekit.errors import ActionError
from tunekit.methods.spec import Run
from tunekit.pickled import HINT, SLUG, message, pickled_weights
from tunekit.protocol import Request
from tunekit.steps.adapter.spec import MOVING, Adapter

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Loaded(NamedTuple):
    """A policy in memory. `attn` is what took effect, whatever was asked for. `quantization`: of the base under the
    adapter. `start`: the adapter's weights as they were made, where somebody needs them later (float32, by name)."""

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    attn: str
    dtype: str
    has_adapter: bool
    quantization: Quantization | None = None
    start: dict[str, torch.Tensor] | None = None
    moved: bool = False  # the base gave a part of its weights to the adapter: `start` holds that part

    @property
    def base(self) -> PreTrainedModel:
        """The Transformers model under the adapter (or the model itself)."""
        from peft import PeftModel

        found = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        return cast("PreTrainedModel", found)


def load_run(spec: Run, request: Request, head: Head | None = None) -> Loaded:
    """The policy that a run starts from: its `base`, with the `adapter` that it continues or the new one of its spec;
    with a new `head`, if any, whose weights depend on the run's seed.

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
        train_parameters=spec.train_parameters,
        head=head,
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
    train_parameters: list[str] | None = None,
    head: Head | None = None,
) -> Loaded:
    """Full weights of `base`, with the trained `adapter` (a directory) or a fresh `new_adapter` on top. The base of
    an adapter that was trained on a quantized one is quantized in the same way.

    Raises ActionError: `pickle-weights`, `bad-model`, `attention-unavailable`, `bad-adapter`, those of `engine.targets`
    and of `engine.quantization`.
    """
    if adapter and new_adapter:
        raise ValueError("a policy has either an adapter to continue or a new one")
    quantized = _quantization_wanted(adapter, new_adapter, dtype)
    model, head = _load_base(base, dtype, attn, quantized, head, seed)
    effective = model.config._attn_implementation
    took = quantization.settled(model, quantized.scheme, dtype) if quantized else None
    if new_adapter:
        model = with_new_adapter(model, new_adapter, seed, base, head)
    elif adapter:
        model = _load_adapter(model, adapter, trainable)
    elif trainable:
        select_parameters(model, train_parameters)
    moved = bool(new_adapter and new_adapter.init in MOVING)
    if trainable:
        check_trained(model, bool(adapter or new_adapter), _bias_of(model), train_parameters)
    else:
        model.requires_grad_(False)
        model.eval()
    start = _trained_weights(model) if trainable and (moved or took) else None
    return Loaded(model, load_tokenizer(base), effective, dtype, bool(adapter or new_adapter), took, start, moved)


def _quantization_wanted(adapter: str | None, new: Adapter | None, dtype: str) -> Quantization | None:
    if new is not None:
        asked = new.quantize != "none"
        return Quantization(new.quantize, dtype, new.quantize == "nf4" and new.double_quant, 0, []) if asked else None
    return quantization.stored(adapter) if adapter else None


def _bias_of(model: Any) -> str:
    from peft import PeftModel

    return str(getattr(model.active_peft_config, "bias", "none")) if isinstance(model, PeftModel) else "none"


def _trained_weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().float().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def keep_precision(loaded: Loaded) -> bool:
    """TRL rounds the adapter of a quantized base to bfloat16, where small updates are lost; undone before training,
    when its weights are still those of the start. Returns whether there was anything to undo."""
    if loaded.quantization is None or loaded.start is None:
        return False
    for name, parameter in loaded.model.named_parameters():
        if parameter.requires_grad:
            parameter.data = loaded.start[name].to(parameter.device)
    return True


def load_tokenizer(directory: str) -> PreTrainedTokenizerBase:
    """The tokenizer of an artifact, padding on the right. ActionError `bad-tokenizer`."""
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError) as e:
        raise ActionError(f"the tokenizer cannot be read: {e}", slug="bad-tokenizer") from e
    tokenizer.padding_side = "right"
    return tokenizer


def _load_base(
    base: str, dtype: str, attn: str, quantized: Quantization | None, head: Head | None, seed: int
) -> tuple[Any, Head | None]:
    from transformers import AutoModelForCausalLM

    require_safetensors(base)
    wanted: dict[str, Any] = {} if attn == "auto" else {"attn_implementation": attn}
    more: dict[str, Any] = {"config": head.config(base)} if head else {}
    auto: Any = head.auto_class if head else AutoModelForCausalLM
    if quantized:
        more["quantization_config"] = quantization.bits_config(quantized.scheme, quantized.double_quant, DTYPES[dtype])
    try:
        found: Any = auto.from_pretrained(
            base,
            dtype=DTYPES[dtype],
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **wanted,
            **more,
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
    if head:
        head = new_head(model, set(info["missing_keys"]), head, seed)
        info["missing_keys"] = {name for name in info["missing_keys"] if not name.startswith(f"{head.module}.")}
    check_complete(info)
    if wanted and model.config._attn_implementation != attn:
        raise ActionError(
            f"attn = {attn!r} was asked for and {model.config._attn_implementation!r} took effect",
            slug="attention-unavailable",
        )
    return model, head


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
