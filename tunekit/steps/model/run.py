"""A model artifact: an allow-listed copy of a source, or new weights from a configuration and a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch

from tunekit.engine import weights
from tunekit.engine.loading import DTYPES, load_tokenizer, require_safetensors
from tunekit.engine.saving import cleaned, copy_json, copy_tokenizer, save_model, write_json
from tunekit.errors import ActionError, nearest
from tunekit.foreign import json_of
from tunekit.protocol import Events, Request
from tunekit.steps.model.spec import Model


def run(request: Request, events: Events) -> dict[str, str]:
    """Inputs: `source` or `tokenizer` (or both: the source's weights with another tokenizer). Output: main.

    Raises ActionError: `pickle-weights`, `bad-model`, `bad-weights`, `bad-tokenizer`, `unknown-config-key`,
    `vocabulary-too-small`.
    """
    spec = msgspec.convert(request.spec, Model)
    out = Path(request.out) / "main"
    out.mkdir()
    source, tokenizer = request.maybe("source"), request.maybe("tokenizer")
    if source:
        _copy(Path(source.path), Path(tokenizer.path if tokenizer else source.path), out, spec)
    else:
        _new(request.one("tokenizer").path, out, request.staging, spec)
    slots = weights.slots_of(out).values()
    events.effective(
        parameters=sum(torch.Size(slot.shape).numel() for slot in slots),
        dtype=sorted({str(slot.dtype).removeprefix("torch.") for slot in slots}),
    )
    return {"main": "main"}


def _copy(source: Path, tokenizer: Path, out: Path, spec: Model) -> None:
    """One tensor at a time, floating ones in the declared dtype."""
    require_safetensors(str(source))
    config = cleaned(_object(source / "config.json"))
    if "auto_map" in config:
        raise ActionError(
            "the model brings its own code (auto_map), which is never run",
            slug="remote-code",
            hint="use a model type that Transformers knows",
        )
    dtype = DTYPES[spec.dtype]
    found = weights.slots_of(source)
    wanted = [s._replace(dtype=dtype) if s.dtype.is_floating_point else s for s in found.values()]
    weights.write(out, wanted, lambda slot: weights.read(found[slot.name]))
    weights.validate(out)
    config.pop("torch_dtype", None)
    write_json(out / "config.json", config | {"dtype": spec.dtype})
    copy_json(source, out, "generation_config.json")
    copy_tokenizer(tokenizer, out)


def _object(file: Path) -> dict[str, Any]:
    try:
        body = json_of(file.read_bytes())
    except ValueError as e:
        raise ActionError(f"{file.name} is not JSON: {e}", slug="bad-model") from e
    if not isinstance(body, dict):
        raise ActionError(f"{file.name} is not a JSON object", slug="bad-model")
    return body


def _new(tokenizer_dir: str, out: Path, staging: str, spec: Model) -> None:
    """Initialised by Transformers on the CPU in float32 and then cast: the same seed gives the same bytes."""
    from transformers import AutoModelForCausalLM

    config = _config(spec, load_tokenizer(tokenizer_dir))
    torch.manual_seed(spec.seed)
    try:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except (ValueError, TypeError, ZeroDivisionError, RuntimeError) as e:
        raise ActionError(f"no model can be made from this config: {e}", slug="bad-config") from e
    save_model(model.to(DTYPES[spec.dtype]), tokenizer_dir, out, staging)


def _config(spec: Model, tokenizer: Any) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    values = {k: v for k, v in spec.config.items() if k != "model_type"}
    model_type = spec.config["model_type"]
    size = len(tokenizer)
    values.setdefault("vocab_size", size)
    if values["vocab_size"] < size:
        raise ActionError(
            f"config.vocab_size {values['vocab_size']} is smaller than the tokenizer's {size}",
            slug="vocabulary-too-small",
            hint="leave vocab_size out: it is the tokenizer's",
        )
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    values = ids | values
    try:
        known = AutoConfig.for_model(model_type)
        _check_keys(values, known)
        return AutoConfig.for_model(model_type, **values)
    except (ValueError, TypeError, StrictDataclassError) as e:
        raise ActionError(f"config: {e}", slug="bad-config") from e


def _check_keys(values: dict[str, Any], known: Any) -> None:
    """Transformers stores any keyword as an attribute: a misspelt one would be a silent default."""
    names = set(known.to_dict()) | set(known.attribute_map) | {"dtype"}
    for name in values:
        if name not in names:
            raise ActionError(
                f"config.{name} is not a setting of `{known.model_type}`",
                slug="unknown-config-key",
                hint=nearest(name, sorted(names)),
            )
