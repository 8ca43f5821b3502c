"""Pickled weights to safetensors: `python -m tunekit.engine.unpickle FOLDER NEW-FOLDER`.

The pickles are opened by a child that has no network, no environment of yours (no tokens), an empty home, and reads
them with torch's `weights_only` unpickler, which builds tensors and calls nothing else. What it leaves is checked here:
safetensors headers, no NaN. Nothing of tunekit runs this by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tunekit.engine import unpickle_child, weights
from tunekit.errors import ActionError, TunekitError
from tunekit.pickled import SUFFIXES

_BESIDE = (".json", ".txt", ".model", ".jinja")  # config, tokenizer, template
_REFUSED = {
    unpickle_child.UNSAFE: ("unsafe-pickle", "it holds more than tensors and stays closed; ask for safetensors"),
    unpickle_child.NOT_WEIGHTS: ("bad-weights", "a checkpoint is a table of tensors by name, maybe under `state_dict`"),
    unpickle_child.NO_ISOLATION: (
        "no-isolation",
        "this system does not let a process give up its network: run it in a container without one, with "
        "`--network-is-off`",
    ),
}  # fmt: skip


def convert(folder: Path, out: Path, *, network_is_off: bool = False) -> int:
    """Write `out`, a model folder with safetensors, from `folder`; returns how many tensors it has.

    Raises ActionError: `no-pickles`, `exists`, `unsafe-pickle`, `bad-weights`, `no-isolation`, `convert-failed`.
    """
    pickles = sorted(p for p in folder.iterdir() if p.name.endswith(SUFFIXES) and p.is_file())
    pickles = [p for p in pickles if p.name != "training_args.bin"] or pickles
    if not pickles:
        raise ActionError(f"{folder} has no {', '.join(SUFFIXES)}", slug="no-pickles")
    if out.exists():
        raise ActionError(f"{out} is there already", slug="exists", hint="name a new folder")
    with TemporaryDirectory(prefix="unpickle-", dir=out.resolve().parent) as scratch:
        made = Path(scratch) / "model"
        made.mkdir()
        names = _names(len(pickles))
        for pickle, name in zip(pickles, names, strict=True):
            _in_child(pickle, made / name, Path(scratch), network_is_off)
        if len(names) > 1:
            _write_index(made)
        for beside in sorted(folder.iterdir()):
            if beside.suffix in _BESIDE and beside.is_file() and not beside.name.endswith(".bin.index.json"):
                shutil.copyfile(beside, made / beside.name)
        count = weights.validate(made)
        os.rename(made, out)
    return count


def _names(count: int) -> list[str]:
    if count == 1:
        return [weights.SINGLE]
    return [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]


def child_environment(home: str) -> dict[str, str]:
    """All that the child is told of this machine."""
    return {"PATH": "/usr/bin:/bin", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}


def _in_child(pickle: Path, target: Path, scratch: Path, network_is_off: bool) -> None:
    command = [sys.executable, "-I", unpickle_child.__file__, str(pickle.resolve()), str(target.resolve())]
    command += ["--network-is-off"] * network_is_off
    home = scratch / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        command, cwd=home, env=child_environment(str(home)), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="replace",
    )  # fmt: skip
    if done.returncode == 0:
        return
    slug, hint = _REFUSED.get(done.returncode, ("convert-failed", ""))
    said = done.stderr.strip().splitlines()
    raise ActionError(f"{pickle.name} was not converted: {said[-1] if said else done.returncode}", slug=slug, hint=hint)


def _write_index(made: Path) -> None:
    slots = weights.slots_of(made)
    index = {
        "metadata": {"total_size": sum(slot.nbytes for slot in slots.values())},
        "weight_map": {name: Path(slot.file).name for name, slot in slots.items()},
    }
    (made / weights.INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def main(words: list[str]) -> int:
    places = [word for word in words if not word.startswith("--")]
    if len(places) != 2 or set(words) - {*places, "--network-is-off"}:
        print("python -m tunekit.engine.unpickle FOLDER NEW-FOLDER [--network-is-off]", file=sys.stderr)
        return 2
    try:
        count = convert(Path(places[0]), Path(places[1]), network_is_off="--network-is-off" in words)
    except TunekitError as e:
        print(e.render(), file=sys.stderr)
        return e.exit_code
    print(f"{count} tensors in {places[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
