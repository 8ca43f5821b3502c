"""Safetensors files of an artifact: finding, checking and writing tensors one at a time."""

from __future__ import annotations

import json
import math
import os
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
# Our writer holds one tensor at a time; bytes that stay as they are and checks of values go by slices of this size.
_SLICE = 1 << 24
_HINT = "training diverged: look at the loss, lower learning_rate or max_grad_norm"


class Slot(NamedTuple):
    """Where a tensor is and what it looks like, without its data. `start`: of its bytes in the file."""

    name: str
    file: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int = -1

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
        with safe_open(path, framework="pt") as file:  # which checks that offsets and shapes fit each other
            views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json_of(file.read(length))
    except (SafetensorError, FileNotFoundError, ValueError) as e:
        raise ActionError(f"{path.name} is not a safetensors file: {e}", slug="bad-weights") from e
    for name, view in views.items():
        if view.get_dtype() not in DTYPE_OF:
            raise ActionError(f"{name} is of type {view.get_dtype()}", slug="bad-weights")
        start = 8 + length + header[name]["data_offsets"][0]
        yield Slot(name, str(path), DTYPE_OF[view.get_dtype()], tuple(view.get_shape()), start)


def read(slot: Slot) -> torch.Tensor:
    """The tensor, in memory of its own: a mapped file would count as memory as long as any of its tensors lives."""
    return _bytes_of(slot, 0, slot.nbytes).view(slot.dtype).reshape(slot.shape)


def read_rows(slot: Slot, first: int, count: int) -> torch.Tensor:
    """Rows of the first dimension."""
    row = slot.nbytes // slot.shape[0]
    return _bytes_of(slot, first * row, count * row).view(slot.dtype).reshape(count, *slot.shape[1:])


def slices(slot: Slot) -> Iterator[torch.Tensor]:
    """All of a tensor's bytes in order, some 16 MB at a time."""
    for first in range(0, slot.nbytes, _SLICE):
        yield _bytes_of(slot, first, min(_SLICE, slot.nbytes - first))


def _bytes_of(slot: Slot, first: int, count: int) -> torch.Tensor:
    held = torch.empty(count, dtype=torch.uint8)
    with open(slot.file, "rb", buffering=0) as file:
        os.lseek(file.fileno(), slot.start + first, os.SEEK_SET)
        view = memoryview(held.numpy().data)
        while view:
            got = file.readinto(view)
            if not got:
                raise ActionError(f"{Path(slot.file).name} ends within {slot.name}", slug="bad-weights")
            view = view[got:]
    return held


def validate(directory: str | Path, values: bool = True) -> int:
    """Parse every header and read every value; returns the number of tensors. Without `values`, only headers.

    Raises ActionError `bad-weights` for an empty tensor, a NaN, an infinity, or no tensor at all.
    """
    slots = slots_of(directory)
    if not slots:
        raise ActionError("there are no weights", slug="bad-weights")
    for slot in slots.values():
        if 0 in slot.shape:
            raise ActionError(f"{slot.name} is empty (shape {list(slot.shape)})", slug="bad-weights")
        if values:
            for part in slices(slot):
                _check_finite(slot.name, part.view(slot.dtype))
    return len(slots)


def _check_finite(name: str, values: torch.Tensor) -> None:
    """Of one dimension. A sum is a number unless one of the values is none, or it is too large itself."""
    if not values.is_floating_point() or math.isfinite(float(values.sum(dtype=torch.float32))):
        return
    if not all(bool(torch.isfinite(part).all()) for part in values.split(_SLICE)):
        raise ActionError(f"{name} has a NaN or an infinity", slug="bad-weights", hint=_HINT)


def write(directory: str | Path, slots: Iterable[Slot], tensor: Callable[[Slot], torch.Tensor | Slot]) -> None:
    """Write a model's weights, sharded at 5 GB, holding one tensor at a time.

    `slots` says name, dtype and shape of the result; `tensor` makes each, or says whose bytes it has. The bytes depend
    on these alone. ActionError `bad-weights` for a NaN or an infinity.
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


def _write_file(path: Path, slots: list[Slot], tensor: Callable[[Slot], torch.Tensor | Slot]) -> None:
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
            made = tensor(slot)
            if (tuple(made.shape), made.dtype if isinstance(made, Slot) else slot.dtype) != (slot.shape, slot.dtype):
                raise ValueError(f"{slot.name}: shape {tuple(made.shape)}, declared {slot.shape}")
            parts = slices(made) if isinstance(made, Slot) else _slices_in_memory(made.detach().to("cpu", slot.dtype))
            for part in parts:
                _check_finite(slot.name, part.view(slot.dtype))
                out.write(part.numpy().data)


def _slices_in_memory(value: torch.Tensor) -> Iterable[torch.Tensor]:
    return value.contiguous().reshape(-1).view(torch.uint8).split(_SLICE)
