"""The distributions that tunekit and its extras ask for, against what is installed; and what can be done with them."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any, NamedTuple

import tunekit
from tunekit.plan.inputs import installed

BASE = ""  # the extra of what everybody needs
_HIDDEN = re.compile(r"(dev|test.*)\Z")  # extras for those who work on tunekit itself
# Features beyond the methods: what each needs beside the base.
FEATURES: dict[str, tuple[str, ...]] = {
    "adapters in 4 and 8 bits (quantize)": ("bitsandbytes",),
    "loss kernels of Liger (loss_kernel)": ("liger-kernel",),
    "strategies of DeepSpeed (strategy)": ("deepspeed",),
    "GGUF sources": ("gguf",),
    "s3:// remotes and sources": ("s3fs",),
    "servers of vLLM": ("vllm",),
    "report_to = tensorboard": ("tensorboard",),
    "report_to = wandb": ("wandb",),
    "report_to = trackio": ("trackio",),
}
_LOADED = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors")  # by every training


class Package(NamedTuple):
    """`wanted`: as requirements write it; `installed` is empty where it is not."""

    name: str
    wanted: str
    installed: str
    extra: str
    ok: bool


class Ability(NamedTuple):
    """Something that can be done here, or what it lacks."""

    name: str
    missing: list[str]


def packages() -> list[Package]:
    """Of the base first, then of each extra. A requirement of another platform is left out."""
    from packaging.requirements import Requirement

    out = []
    for text, extra in _requirements():
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        have = installed(wanted.name)
        have = "" if have == "-" else have
        ok = bool(have) and wanted.specifier.contains(have, prereleases=True)
        out.append(Package(wanted.name, str(wanted.specifier), have, extra, ok))
    return out


def _requirements() -> Iterator[tuple[str, str]]:
    """(requirement, extra) as a clone's pyproject.toml has them now, else as installed."""
    file = Path(tunekit.__file__).resolve().parents[1] / "pyproject.toml"
    if file.is_file() and not file.parent.name.endswith("-packages"):
        project: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        yield from ((text, BASE) for text in project["dependencies"])
        for name, texts in project["optional-dependencies"].items():
            if not _HIDDEN.match(name):
                yield from ((text, name) for text in texts)
        return
    extra = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
    with contextlib.suppress(PackageNotFoundError):
        for text in requires("tunekit") or []:
            named = extra.search(text)
            if named is None or not _HIDDEN.match(named[1]):
                yield text, named[1] if named else BASE


def abilities(found: list[Package]) -> list[Ability]:
    """Every method, every optimizer that needs a package, and what else an extra is for."""
    from tunekit import kinds
    from tunekit.methods.optimizers import NEEDS

    bad = {p.name: f"{p.name}{p.wanted}" + (f" (installed: {p.installed})" if p.installed else "") for p in found
           if not p.ok}  # fmt: skip
    stack = [bad[name] for name in _LOADED if name in bad]
    out = [Ability(f"method {name.removeprefix('run.')}", stack) for name in kinds.METHODS]
    out += [Ability(what, stack + _lacks(needs, bad)) for what, needs in FEATURES.items()]
    groups: dict[str, list[str]] = {}
    for optimizer, needs in NEEDS.items():
        if needs.package:
            groups.setdefault(needs.package, []).append(optimizer)
    for package, names in groups.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        out.append(Ability(f"optimizers {', '.join(names[:3])}{more}", stack + _lacks((package,), bad)))
    return out


def _lacks(needs: tuple[str, ...], bad: dict[str, str]) -> list[str]:
    return [bad.get(name, name) for name in needs if name in bad or installed(name) == "-"]
