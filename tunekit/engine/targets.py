"""Which of a model's weights are trained: what a spec names must be there, and nothing else may be trained.

Names of `target_modules`, `target_parameters` and `modules_to_save` are ends of dotted names; a string is a regex
that must match a whole name (`re.fullmatch`), and so is each of `train_parameters`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tunekit.errors import ActionError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tunekit.steps.adapter.spec import Adapter

TOWER = "vision-tower-trained"


def check_targets(model: PreTrainedModel, adapter: Adapter) -> None:
    """PEFT is content when one of several names matches; here every name must, and none may reach into a tower of
    another modality that it does not name.

    Raises ActionError: `no-target-modules`, `vision-tower-trained`.
    """
    modules = [name for name, _ in model.named_modules() if name]
    leaves = sorted({name.rpartition(".")[2] for name in modules})
    parameters = [name for name, _ in model.named_parameters()]
    _check_ends("modules_to_save", adapter.modules_to_save, modules, leaves)
    _check_ends("target_parameters", adapter.target_parameters, parameters, parameters)
    targets = adapter.target_modules
    if isinstance(targets, list):
        _check_ends("target_modules", targets, modules, leaves)
        asked = {name: _ending(name, modules) for name in targets}
    elif targets == "all-linear":
        asked = {targets: linear_modules(model)}
    else:
        asked = {targets: _matching("adapter.target_modules", targets, modules, "no-target-modules", leaves)}
    for pattern in (*adapter.rank_pattern, *adapter.alpha_pattern):
        _check_pattern(pattern, modules + parameters)
    asked |= {name: _ending(name, modules) for name in adapter.modules_to_save}
    _check_towers(model, "adapter.target_modules", asked)


def select_parameters(model: PreTrainedModel, patterns: list[str] | None) -> None:
    """Train exactly the parameters whose whole name one of `patterns` matches; None: all of them.

    Raises ActionError: `no-such-parameter` for a pattern that matches none, `vision-tower-trained`.
    """
    names = [name for name, _ in model.named_parameters()]
    asked = {
        pattern: _matching("train_parameters", pattern, names, "no-such-parameter", names)
        for pattern in (patterns or [])
    }
    _check_towers(model, "train_parameters", asked if patterns is not None else {"": names})
    if patterns is None:
        return
    chosen = {name for found in asked.values() for name in found}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)


def check_trained(model: Any, adapter: bool, bias: str, patterns: list[str] | None) -> None:
    """ActionError `trained-set-differs` if what would be trained is not what was declared."""
    wrong = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad != _declared(name, adapter, bias, patterns) and not _may(name, adapter, bias)
    ]
    if wrong:
        raise ActionError(
            f"{len(wrong)} parameters are not trained as declared, for instance {wrong[0]}",
            slug="trained-set-differs",
            hint="this is a fault of tunekit or of the model's code: please report it",
        )


def _declared(name: str, adapter: bool, bias: str, patterns: list[str] | None) -> bool:
    if not adapter:
        return patterns is None or any(re.fullmatch(pattern, name) for pattern in patterns)
    return ".lora_" in name or ".modules_to_save." in name


def _may(name: str, adapter: bool, bias: str) -> bool:
    """Biases that an adapter trains are chosen by PEFT."""
    return adapter and bias != "none" and name.endswith(".bias")


def linear_modules(model: PreTrainedModel) -> list[str]:
    """What `all-linear` stands for in PEFT: all of them but the output layer."""
    import torch
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not output
    ]


def towers(model: PreTrainedModel) -> list[str]:
    """Names of the submodules of other modalities than text, projectors included: in a model of several modalities,
    all that lies beside its language model and its output layer."""
    from transformers import PreTrainedModel

    text = model.config.get_text_config()
    if text is model.config:
        return []
    language = [
        name for name, m in model.named_modules() if name and isinstance(m, PreTrainedModel) and m.config is text
    ]
    if not language:
        return []
    parent = language[0].rpartition(".")[0]
    holder = model.get_submodule(parent)
    beside = [f"{parent}.{child}" if parent else child for child, _ in holder.named_children()]
    output = model.get_output_embeddings()
    return [name for name in beside if name not in language and model.get_submodule(name) is not output]


def _check_towers(model: PreTrainedModel, field: str, asked: dict[str, list[str]]) -> None:
    found = towers(model)
    for pattern, names in asked.items():
        for tower in found:
            leaf = tower.rpartition(".")[2]
            inside = [name for name in names if name == tower or name.startswith(tower + ".")]
            if inside and leaf not in pattern:
                said = f"`{pattern}` reaches" if pattern else "training all weights would reach"
                raise ActionError(
                    f"{field}: {said} into `{tower}` ({len(inside)} of {len(names)} matches), which is not named",
                    slug=TOWER,
                    hint=f"name the language model alone, or write `{leaf}` in a pattern of its own to train it",
                )


def _ending(end: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name == end or name.endswith("." + end)]


def _check_ends(field: str, ends: list[str], names: list[str], shown: list[str]) -> None:
    for end in ends:
        if not _ending(end, names):
            raise _nothing(f"adapter.{field}: the model has no `{end}`", end, shown, "no-target-modules")


def _check_pattern(pattern: str, names: list[str]) -> None:
    """A key of `rank_pattern`, read as PEFT does: a regex on the end of a name, after a dot or the start."""
    try:
        matched = any(re.match(rf"(.*\.)?({pattern})$", name) for name in names)
    except re.error as e:
        raise ActionError(f"adapter: `{pattern}` is not a regular expression: {e}", slug="no-target-modules") from e
    if not matched:
        raise _nothing(f"adapter: `{pattern}` matches the end of no name", pattern, names, "no-target-modules")


def _matching(field: str, pattern: str, names: list[str], slug: str, shown: list[str]) -> list[str]:
    try:
        found = [name for name in names if re.fullmatch(pattern, name)]
    except re.error as e:
        raise ActionError(f"{field}: `{pattern}` is not a regular expression: {e}", slug=slug) from e
    if not found:
        raise _nothing(f"{field}: `{pattern}` matches the whole name of nothing", pattern, [*shown, names[-1]], slug)
    return found


def _nothing(message: str, wanted: str, names: list[str], slug: str) -> ActionError:
    near = difflib.get_close_matches(wanted.rpartition(".")[2], names, n=3, cutoff=0.4)
    near = near or difflib.get_close_matches(wanted, names, n=3, cutoff=0.4)
    hint = f"nearest: {', '.join(near)}" if near else f"there are: {', '.join(dict.fromkeys(names[:20]))}"
    return ActionError(message, slug=slug, hint=hint)
