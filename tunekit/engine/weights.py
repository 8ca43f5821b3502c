"""Safetensors files of an artifact: finding, checking and writing tensors one at a time."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from tunekit.errors import ActionError
from tunekit.foreign import json_of

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
MAX_SHARD = 5_000_000_000
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
DTYPE_OF = {name: dtype for dtype, name in _NAMES.items()}
# Our writer holds one tensor at a time; a check of values goes through slices of about this many elements.
_SLICE = 1 << 24


class Slot(NamedTuple):
    """Where a tensor is and what it looks like, without its data."""

    name: str
    file: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def slots_of(directory: str | Path) -> dict[str, Slot]:
    """Every tensor of a model directory by name. ActionError `bad-weights` if a header does not parse."""
    found: dict[str, Slot] = {}
    for path in files_of(Path(directory)):
        for slot in _header(path):
            if slot.name in found:
                raise ActionError(f"tensor {slot.name} is in two files", slug="bad-weights")
            found[slot.name] = slot
    return found


def files_of(directory: Path) -> list[Path]:
    """The weight files that Transformers would read: some repositories keep a second copy in another layout."""
    if (directory / INDEX).is_file():
        names = _indexed(directory / INDEX)
        if any("/" in name or name.startswith(".") for name in names):
            raise ActionError(f"{INDEX} names files outside its folder", slug="bad-weights")
        return [directory / name for name in sorted(names)]
    if (directory / SINGLE).is_file():
        return [directory / SINGLE]
    return sorted(directory.glob("*.safetensors"))


def _indexed(index: Path) -> set[str]:
    """Names of the files that an index lists."""
    try:
        names = set(json_of(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ActionError(f"{INDEX} is not an index of weights: {e}", slug="bad-weights") from e
    if not all(isinstance(name, str) and name and name.isprintable() for name in names):  # no NUL, no half of a pair
        raise ActionError(f"{INDEX} does not name files", slug="bad-weights")
    return names


def _header(path: Path) -> Iterator[Slot]:
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                view = file.get_slice(name)
                if view.get_dtype() not in DTYPE_OF:
                    raise ActionError(f"{name} is of type {view.get_dtype()}", slug="bad-weights")
                yield Slot(name, str(path), DTYPE_OF[view.get_dtype()], tuple(view.get_shape()))
    except (SafetensorError, FileNotFoundError) as e:
        raise ActionError(f"{path.name} is not a safetensors file: {e}", slug="bad-weights") from e


def read(slot: Slot) -> torch.Tensor:
    with safe_open(slot.file, framework="pt") as file:
        return file.get_tensor(slot.name)


def validate(directory: str | Path) -> int:
    """Parse every header and read every value; returns the number of tensors.

    Raises ActionError `bad-weights` for an empty tensor, a NaN, an infinity, or no tensor at all.
    """
    slots = slots_of(directory)
    if not slots:
        raise ActionError("there are no weights", slug="bad-weights")
    for slot in slots.values():
        if 0 in slot.shape:
            raise ActionError(f"{slot.name} is empty (shape {list(slot.shape)})", slug="bad-weights")
        if slot.dtype.is_floating_point and not _finite(read(slot)):
            raise ActionError(
                f"{slot.name} has a NaN or an infinity",
                slug="bad-weights",
                hint="training diverged: look at the loss, lower learning_rate or max_grad_norm",
            )
    return len(slots)


def _finite(tensor: torch.Tensor) -> bool:
    flat = tensor.reshape(-1)
    return all(bool(torch.isfinite(part).all()) for part in flat.split(_SLICE))


def write(directory: str | Path, slots: Iterable[Slot], tensor: Callable[[Slot], torch.Tensor]) -> None:
    """Write a model's weights, sharded at 5 GB, holding one tensor at a time.

    `slots` says name, dtype and shape of the result; `tensor` makes each. The bytes depend on these alone.
    """
    target = Path(directory)
    shards = _shards(sorted(slots, key=lambda s: s.name))
    if len(shards) == 1:
        _write_file(target / SINGLE, shards[0], tensor)
        return
    weight_map: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        name = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        _write_file(target / name, shard, tensor)
        weight_map |= {slot.name: name for slot in shard}
    total = sum(slot.nbytes for shard in shards for slot in shard)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (target / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def _shards(slots: list[Slot]) -> list[list[Slot]]:
    shards: list[list[Slot]] = [[]]
    size = 0
    for slot in slots:
        if shards[-1] and size + slot.nbytes > MAX_SHARD:
            shards.append([])
            size = 0
        shards[-1].append(slot)
        size += slot.nbytes
    return shards


def _write_file(path: Path, slots: list[Slot], tensor: Callable[[Slot], torch.Tensor]) -> None:
    # safetensors' own writer aligns by putting wide types first; readers of mmaps rely on that alignment.
    ordered = sorted(slots, key=lambda s: (-s.dtype.itemsize, s.name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for slot in ordered:
        header[slot.name] = {
            "dtype": _NAMES[slot.dtype],
            "shape": list(slot.shape),
            "data_offsets": [offset, offset + slot.nbytes],
        }
        offset += slot.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for slot in ordered:
            value = tensor(slot).detach().to("cpu", slot.dtype).contiguous()
            if tuple(value.shape) != slot.shape:
                raise ValueError(f"{slot.name}: shape {tuple(value.shape)}, declared {slot.shape}")
            out.write(value.reshape(-1).view(torch.uint8).numpy().data)
