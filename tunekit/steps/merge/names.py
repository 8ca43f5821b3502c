"""Which tensors of a model's files become which tensors of the model in memory, by Transformers' own mapping.

Most are the same. Some architectures are renamed when they are loaded, and some have a tensor of all experts of a
layer in memory for which the files have one tensor per expert and matrix, maybe in several files.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from tunekit.engine import weights
from tunekit.engine.weights import Slot
from tunekit.errors import ActionError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Group(NamedTuple):
    """Tensors of files that become tensors of the model together. `converter`: by what, if they are not the same;
    `patterns`: which of its patterns each slot matched."""

    slots: list[Slot]
    names: list[str]
    converter: Any = None
    patterns: list[str] = []

    def tensors(self) -> dict[str, torch.Tensor]:
        """In memory, in the dtype of the files, by the model's names."""
        if self.converter is None:
            return {self.names[0]: weights.read(self.slots[0])}
        return _converted(self, [weights.read(slot) for slot in self.slots])


class Layout(NamedTuple):
    """`by_name`: the group of each tensor of the model; `by_slot`: that of each tensor of the files."""

    by_name: dict[str, Group]
    by_slot: dict[str, Group]

    def slot_of(self, name: str) -> Slot | None:
        """The one tensor of the files that a tensor of the model is, if it is one."""
        group = self.by_name.get(name)
        return group.slots[0] if group and group.converter is None else None


def layout_of(model: PreTrainedModel, slots: dict[str, Slot]) -> Layout:
    """`model` may be on the meta device. Tensors of the files that the model has no place for stand for themselves."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    mapping = get_model_conversion_mapping(model)
    renamings: list[Any] = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters: list[Any] = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    known: dict[str, Any] = dict(model.state_dict())
    found: dict[str, Group] = {}
    for name in sorted(slots, key=dot_natural_key):  # experts by number
        renamed, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, known)
        if renamed not in known and name in known:
            renamed, pattern = name, None
        if pattern is None:
            found[renamed] = Group([slots[name]], [renamed])
            continue
        group = found.setdefault(renamed, Group([], [renamed], by_pattern[pattern], []))
        group.slots.append(slots[name])
        group.patterns.append(pattern)
    groups = [_named(group) for group in found.values()]
    return Layout(
        {name: group for group in groups for name in group.names},
        {slot.name: group for group in groups for slot in group.slots},
    )


def to_files(model: PreTrainedModel, group: Group, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of a group as the files have them. ActionError `merge-layout` if Transformers cannot go back."""
    if group.converter is None:
        return {group.slots[0].name: tensors[group.names[0]]}
    from transformers.core_model_loading import revert_weight_conversion

    made = revert_weight_conversion(model, dict(tensors))
    if made.keys() != {slot.name for slot in group.slots}:
        raise ActionError(
            f"{group.names[0]} cannot be split into the tensors that the base's files have",
            slug="merge-layout",
            hint="save the base anew with Transformers, and train on that",
        )
    return made


def _named(group: Group) -> Group:
    """With the names of all tensors that it becomes (found on the meta device)."""
    if group.converter is None:
        return group
    empty = [torch.empty(slot.shape, dtype=slot.dtype, device="meta") for slot in group.slots]
    return group._replace(names=list(_converted(group, empty)))


def _converted(group: Group, tensors: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    converter = deepcopy(group.converter)
    for slot, pattern, tensor in zip(group.slots, group.patterns, tensors, strict=True):
        converter.add_tensor(group.names[0], slot.name, pattern, tensor)
    made = converter.convert(group.names[0])
    return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}
