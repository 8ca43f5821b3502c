"""A GGUF file to a Transformers model folder, by Transformers' own loader; its header is checked by us first."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import msgspec
import torch

from tunekit.engine.determinism import make_deterministic
from tunekit.engine.loading import DTYPES, check_complete, load_tokenizer
from tunekit.engine.saving import save_model
from tunekit.errors import ActionError
from tunekit.protocol import Events, Request
from tunekit.steps.dequantize.header import Header, bad, read_header
from tunekit.steps.dequantize.spec import SUFFIX, Dequantize

_OTHER = "use the model's own safetensors as the source"
# Anything that a file which is no model of its architecture can make Transformers raise.
_REFUSALS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, OSError, RuntimeError,
    ArithmeticError,
)  # fmt: skip


def run(request: Request, events: Events) -> dict[str, str]:
    """Input: `source`, a folder with one GGUF file. Output: main, a model folder.

    Raises ActionError: `gguf-not-installed`, `one-gguf`, `bad-gguf`, `gguf-unsupported`, `gguf-tensors-unused`,
    `gguf-no-tokenizer`, `bad-weights`.
    """
    spec = msgspec.convert(request.spec, Dequantize)
    make_deterministic(0)
    out = Path(request.out) / "main"
    out.mkdir()
    file = _file(Path(request.one("source").path))
    header = read_header(file, _blocks())
    config = _config(file)
    _check_size(file, header, config)
    model = _load(file, config)
    scratch = Path(mkdtemp(prefix="gguf-", dir=request.staging))
    try:
        if spec.tokenizer:
            _save_tokenizer(file, scratch)
            _fit(model, scratch)
        save_model(model.to(DTYPES[spec.dtype]), scratch if spec.tokenizer else None, out, request.staging)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    events.effective(
        architecture=header.architecture,
        tensors=len(header.tensors),
        parameters=header.elements,
        stored=_types(header),
        dtype=spec.dtype,
    )
    return {"main": "main"}


def _file(source: Path) -> Path:
    found = sorted(p.name for p in source.iterdir() if p.name.lower().endswith(SUFFIX))
    if len(found) != 1:
        some = ", ".join(found[:4]) or "none"
        message = f"the source holds {len(found)} GGUF files ({some}), and a model is made of one"
        hint = "name one file; the parts of a split file must be joined first: `llama-gguf-split --merge`"
        raise ActionError(message, slug="one-gguf", hint=hint)
    return source / found[0]


def _blocks() -> dict[int, tuple[int, int]]:
    """Tensor type → (elements, bytes) of a block, of the types that `gguf` unpacks."""
    try:
        import gguf
    except ImportError as e:
        message = f"reading GGUF files needs the package `gguf`: {e}"
        raise ActionError(message, slug="gguf-not-installed", hint="pip install gguf") from e
    return {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}


def _types(header: Header) -> dict[str, int]:
    """Tensor type by name → how many tensors have it."""
    from gguf import GGMLQuantizationType

    names = [GGMLQuantizationType(t.type).name for t in header.tensors]
    return {name: names.count(name) for name in sorted(set(names))}


def _config(file: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    except _REFUSALS as e:
        raise _unsupported(file, e) from e


def _check_size(file: Path, header: Header, config: Any) -> None:
    """The model that the settings describe has as many values as the file, or something would be random or lost.

    Built without memory for weights, so that settings that lie cost nothing.
    """
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except _REFUSALS as e:
        raise _unsupported(file, e) from e
    wanted = sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())
    if wanted == header.elements:
        return
    odd = [t.name for t in header.tensors if not t.name.startswith(("blk.", "token_embd.", "output"))]
    said = f": {', '.join(odd[:3])}" if odd else ""
    raise ActionError(
        f"{file.name} holds {header.elements:,} values, and Transformers' {type(model).__name__} of these settings "
        f"has {wanted:,}; what has no place in it would be lost{said}",
        slug="gguf-tensors-unused",
        hint=_OTHER,
    )


def _load(file: Path, config: Any) -> Any:
    """In float32, whatever will be stored: the only rounding is that of the end."""
    from transformers import AutoModelForCausalLM

    try:
        from transformers import GgufConfig
    except ImportError as e:
        raise _unsupported(file, e) from e
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            config=config,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),  # without it, the model could not be saved
            local_files_only=True,
            output_loading_info=True,
        )
    except _REFUSALS as e:
        raise bad(file.name, f"{type(e).__name__}: {e}") from e
    model, info = loaded
    check_complete(info)
    return model


def _save_tokenizer(file: Path, scratch: Path) -> None:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
        tokenizer.save_pretrained(scratch)
    except Exception as e:  # `tokenizers` raises no other kind
        message = f"the tokenizer in {file.name} cannot be read: {type(e).__name__}: {e}"
        hint = 'name another one for the model: `tokenizer = "tokenizer:…"`'
        raise ActionError(message, slug="gguf-no-tokenizer", hint=hint) from e


def _fit(model: Any, tokenizer: Path) -> None:
    """The file says its special tokens in the tokenizer's part alone; the config has its class's defaults until now."""
    found = load_tokenizer(str(tokenizer))
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(found, name)
        setattr(model.config, name, value)
        setattr(model.generation_config, name, value)


def _unsupported(file: Path, e: Exception) -> ActionError:
    message = f"{file.name} describes a model that this version of Transformers does not read: {type(e).__name__}: {e}"
    return ActionError(message, slug="gguf-unsupported", hint=_OTHER)
