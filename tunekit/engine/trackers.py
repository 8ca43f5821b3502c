"""TensorBoard, W&B and trackio, by Transformers' own callbacks. What they write goes to the project's `.tunekit/watch`
(`Request.watch`), never into an artifact; W&B stays offline unless its key is handed on (`[project] pass_env`)."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunekit.errors import ActionError
from tunekit.methods.spec import Run
from tunekit.protocol import Request


def prepare(spec: Run, request: Request) -> dict[str, Any]:
    """Before a trainer is made, which opens them. Arguments of Transformers. ActionError `missing-package`."""
    for name in spec.report_to:
        if find_spec(name) is None:
            raise ActionError(
                f"report_to names `{name}`, which is not installed",
                slug="missing-package",
                hint=f"pip install {name}, or take it out of report_to",
            )
    if not spec.report_to:
        return {}
    root = Path(request.watch or request.staging)
    for name in spec.report_to:
        (root / name).mkdir(parents=True, exist_ok=True)
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(root / "tensorboard")
    os.environ["WANDB_DIR"] = str(root / "wandb")
    for variable, value in (
        ("WANDB_MODE", "online" if "WANDB_API_KEY" in os.environ else "offline"),
        ("WANDB_PROJECT", "tunekit"),
        ("WANDB_SILENT", "true"),
        ("WANDB_DISABLE_CODE", "true"),
        ("WANDB_DISABLE_GIT", "true"),
        ("WANDB_CONSOLE", "off"),
    ):
        os.environ.setdefault(variable, value)
    if "trackio" in spec.report_to:
        _move_trackio(root / "trackio")
    return {"run_name": request.action.partition(":")[2], "project": "tunekit"}


def _move_trackio(folder: Path) -> None:
    """It takes its folder from the environment when it is imported, which TRL does before anybody can set that."""
    import trackio.utils

    before = trackio.utils.TRACKIO_DIR
    os.environ["TRACKIO_DIR"] = str(folder)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != "trackio":
            continue
        for constant, value in list(vars(module).items()):
            if constant.isupper() and isinstance(value, Path) and value.is_relative_to(before):
                setattr(module, constant, folder / value.relative_to(before))


def close(spec: Run) -> None:
    """After training, however it ended: W&B writes the last of its file then, and a worker's process just ends."""
    if "wandb" in spec.report_to:
        import wandb

        wandb.finish()
