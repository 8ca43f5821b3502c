"""The child of `unpickle`: one pickle in, one safetensors file out. Run as a file, without tunekit on its path.

python -I unpickle_child.py PICKLE OUT [--network-is-off]
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from typing import Any

UNSAFE, NOT_WEIGHTS, NO_ISOLATION = 11, 12, 13
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_TABLES = ("state_dict", "model_state_dict", "model", "module")


def cut_off() -> bool:
    """Leave the network for a namespace that has none; False where the system does not allow it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform != "linux":
        return False
    return libc.unshare(_NEW_NET) == 0 or libc.unshare(_NEW_USER | _NEW_NET) == 0


def tensors_of(checkpoint: Any) -> dict[str, Any]:
    """Name → tensor, from a table of tensors or from the part of a checkpoint that is one; {} if there is none."""
    import torch

    for key in ("", *_TABLES):
        table = checkpoint.get(key) if key and isinstance(checkpoint, dict) else checkpoint
        if isinstance(table, dict) and table and all(isinstance(v, torch.Tensor) for v in table.values()):
            return {str(name): value for name, value in table.items()}
    return {}


def main(words: list[str]) -> int:
    source, target = words[:2]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import torch
    from safetensors.torch import save_file

    if "--network-is-off" not in words and not cut_off():
        print(f"a process cannot give up its network here ({os.strerror(ctypes.get_errno())})", file=sys.stderr)
        return NO_ISOLATION
    try:
        checkpoint = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as e:  # whatever the bytes make an unpickler raise
        print(f"{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ''}", file=sys.stderr)
        return UNSAFE
    found = tensors_of(checkpoint)
    if not found:
        print("it is not a table of tensors by name", file=sys.stderr)
        return NOT_WEIGHTS
    # one copy each: safetensors stores no views, and tied weights are two names of one
    save_file({name: value.detach().clone().contiguous() for name, value in found.items()}, target, {"format": "pt"})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
