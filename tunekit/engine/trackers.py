"""TensorBoard, W&B and trackio, by Transformers' own callbacks. What they write goes to the project's `.tunekit/watch`
(`Request.watch`), never into an artifact; W&B stays offline unless its key is handed on (`[project] pass_env`)."""

from __future__ import annotations

import os
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
        _lead_trackio(root / "trackio")
    return {"run_name": request.action.partition(":")[2], "project": "tunekit"}


def _lead_trackio(folder: Path) -> None:
    """It takes its folder from the environment when it is imported, which TRL does before anybody knows the action: so
    a nursery names a relative one (`$TRACKIO_DIR`), which each action has in its working directory; it leads here.
    Raises ActionError `setting-without-effect`."""
    import trackio.utils

    named = trackio.utils.TRACKIO_DIR
    if named.is_absolute():
        raise ActionError(
            f"trackio would write to {named}", slug="setting-without-effect", hint="TRACKIO_DIR must be relative"
        )
    named.unlink(missing_ok=True)
    named.symlink_to(folder)


def close(spec: Run) -> None:
    """After training, however it ended: W&B writes the last of its file then, and a worker's process just ends."""
    if "wandb" in spec.report_to:
        import wandb

        wandb.finish()
