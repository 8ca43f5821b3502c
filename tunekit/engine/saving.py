"""Artifacts of weights: what may be in one, and the only code that writes them.

An artifact holds an allow-list: no pickle, card, log, path or time. The same weights give the same bytes, in any
folder and under any patch release of the libraries, so versions are in the record and not in the files.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from safetensors.torch import load_file, save_file

from tunekit.engine import quantization, weights
from tunekit.engine.loading import Loaded
from tunekit.engine.moved import as_plain_lora
from tunekit.engine.parallel import is_main
from tunekit.errors import ActionError
from tunekit.protocol import Request

# Where a file came from or which library wrote it: a record's business.
_DROPPED = {
    "_name_or_path",
    "name_or_path",
    "tokenizer_file",
    "transformers_version",
    "peft_version",
    "local_files_only",
    "auto_mapping",
}


def save_run(loaded: Loaded, request: Request, out: str | Path) -> None:
    """What a run trained as an artifact in `out`; see `save_policy`. Of several processes, the main one writes."""
    if not is_main():
        return
    label = request.provenance.get("base_label", "")
    save_policy(loaded, request.one("base").path, out, request.staging, label)


def save_policy(loaded: Loaded, base: str, out: str | Path, staging: str | Path, base_label: str = "") -> None:
    """The trained part of a policy as an artifact: the adapter alone if there is one, else a whole model.

    `base` is the directory whose tokenizer goes with a whole model. Raises ActionError `bad-weights`.
    """
    if loaded.has_adapter:
        start = loaded.start if loaded.moved else None
        save_adapter(loaded.model, out, staging, base_label, start)
        if loaded.quantization:
            quantization.store(out, loaded.quantization)
    else:
        save_model(loaded.model, base, out, staging)


def save_model(model: Any, tokenizer_from: str | Path | None, out: str | Path, staging: str | Path) -> None:
    """A whole model with the tokenizer files of `tokenizer_from` (None: without any)."""
    scratch = Path(mkdtemp(prefix="save-", dir=staging))
    try:
        model.save_pretrained(scratch, max_shard_size=weights.MAX_SHARD)
        target = Path(out)
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(scratch.glob("*.safetensors")):
            os.replace(path, target / path.name)
        copy_json(scratch, target, "config.json", "generation_config.json", weights.INDEX)
        if tokenizer_from is not None:
            copy_tokenizer(tokenizer_from, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    weights.validate(target)


def save_adapter(
    model: Any, out: str | Path, staging: str | Path, base_label: str, moved: dict[str, Any] | None = None
) -> None:
    """The active adapter of a PeftModel; its base is named by label, never by path. `moved`: what the adapter took of
    its base when it was made; it is then stored as one on the base as it was."""
    scratch = Path(mkdtemp(prefix="save-", dir=staging))
    try:
        # False: the "auto" of PEFT looks the base up on the Hub; embeddings that are trained are in modules_to_save.
        model.save_pretrained(scratch, safe_serialization=True, save_embedding_layers=False)
        target = Path(out)
        target.mkdir(parents=True, exist_ok=True)
        config = json.loads((scratch / "adapter_config.json").read_text())
        if moved:
            tensors, config = as_plain_lora(load_file(scratch / "adapter_model.safetensors"), config, moved)
            save_file(tensors, scratch / "adapter_model.safetensors", metadata={"format": "pt"})
        os.replace(scratch / "adapter_model.safetensors", target / "adapter_model.safetensors")
        write_json(target / "adapter_config.json", adapter_config(config, base_label))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    weights.validate(target)


def adapter_config(config: dict[str, Any], base_label: str) -> dict[str, Any]:
    """PEFT's configuration without paths and versions, its set-valued lists sorted."""
    out = cleaned(config) | {"base_model_name_or_path": base_label, "revision": None}
    for field in ("target_modules", "target_parameters", "modules_to_save", "exclude_modules"):
        if isinstance(out.get(field), list):
            out[field] = sorted(out[field])
    return out


def cleaned(config: dict[str, Any]) -> dict[str, Any]:
    """Without the keys that say where or by what a file was written, at any depth."""
    return {k: cleaned(v) if isinstance(v, dict) else v for k, v in config.items() if k not in _DROPPED}


def write_json(path: str | Path, value: Any) -> None:
    Path(path).write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def copy_json(source: Path, target: Path, *names: str) -> None:
    """Those of `names` that exist, cleaned and with sorted keys."""
    for name in names:
        if (source / name).is_file():
            write_json(target / name, cleaned(json.loads((source / name).read_text(encoding="utf-8"))))


def copy_tokenizer(source: str | Path, target: str | Path) -> None:
    """The tokenizer's allow-listed files. ActionError `bad-tokenizer` if there is no tokenizer.json."""
    origin, to = Path(source), Path(target)
    if not (origin / "tokenizer.json").is_file():
        raise ActionError("there is no tokenizer.json", slug="bad-tokenizer")
    for name in ("tokenizer.json", "chat_template.jinja"):
        if (origin / name).is_file():
            shutil.copyfile(origin / name, to / name)
    # A whole tokenizer.json may hold millions of ordered entries (merges); it is copied, the small ones are rewritten.
    copy_json(origin, to, "tokenizer_config.json", "special_tokens_map.json")
