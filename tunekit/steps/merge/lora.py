"""An adapter into its base, tensor by tensor: no more than one layer's weight and its update is in memory."""

from __future__ import annotations

import re
from typing import Any

import torch

from tunekit.engine import quantization, weights
from tunekit.engine.quantization import Quantization
from tunekit.engine.weights import Slot
from tunekit.errors import ActionError
from tunekit.steps.merge.names import Group, to_files
from tunekit.steps.merge.skeleton import Skeleton, merged, skeleton

# Features of PEFT that change more than one tensor, or a layer in another way than by its weight; PEFT's own merge of
# a whole model does them, if anything does.
_BEYOND = (
    "trainable_token_indices",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
    "use_qalora",
    "use_bdlora",
    "ensure_weight_tying",
)
_MOVING = re.compile("pissa|olora|corda|loftq|eva|lora_ga|mica")
_KEPT = 2  # groups of tensors that are held, since the tensors of two of them may alternate in a file (experts)


def not_streamable(config: dict[str, Any]) -> str:
    """Why this adapter needs PEFT's own merge, or nothing."""
    if config.get("peft_type") != "LORA":
        return f"peft_type {config.get('peft_type')}"
    init = str(config.get("init_lora_weights"))
    beyond = [name for name in _BEYOND if config.get(name)]
    return ", ".join([*beyond, *([f"init_lora_weights {init}"] if _MOVING.match(init) else [])])


class LoraMerge:
    """A merge that can be streamed. `slots`: the tensors of the result; `tensor` makes each."""

    def __init__(self, found: Skeleton, dtype: torch.dtype | None, nf4: Quantization | None) -> None:
        """`dtype`: of the result's floating tensors; None keeps the base's. `nf4`: how the base was quantized while
        the adapter was trained, where that shall be in the result."""
        self.skeleton = found
        self._dtype = dtype
        self._nf4 = nf4
        self._rounded = {f"{name}.weight" for name in nf4.modules} if nf4 else set()
        self._made: dict[str, dict[str, torch.Tensor]] = {}
        self._held: tuple[str, dict[str, torch.Tensor]] = ("", {})
        self.untied = _untied(found)
        if unknown := sorted(self._rounded - found.layout.by_name.keys()):
            message = f"the adapter was trained on a base in 4 bits that has {unknown[0]}; this one has not"
            raise ActionError(message, slug="merge-no-base-weight")

    def slots(self) -> list[Slot]:
        """What the result's files hold: what the base's do, and an output embedding that is not the input's now."""
        out = [self._slot(slot, group) for group in self._groups() for slot in group.slots]
        if self.untied and self.skeleton.tied and self.skeleton.tied[1] not in self.skeleton.layout.by_slot:
            inputs, outputs = self.skeleton.tied
            like = self.skeleton.layout.by_name[inputs].slots[0]
            shape = self._shape(outputs, like)
            out.append(Slot(outputs, like.file, self._target(like), shape, like.start))
        return out

    def tensor(self, slot: Slot) -> torch.Tensor | Slot:
        """Of the result: made, or the base's bytes as they are."""
        group = self.skeleton.layout.by_slot.get(slot.name)
        if group is None:
            assert self.skeleton.tied
            inputs, outputs = self.skeleton.tied
            return self._one(outputs, inputs, slot.dtype)
        if group.converter is None:
            return self._one(group.names[0], group.names[0], slot.dtype)
        if not any(self.changes(name) for name in group.names):
            origin = next(s for s in group.slots if s.name == slot.name)
            return origin if origin.dtype == slot.dtype else weights.read(origin).to(slot.dtype)
        return self._parts(group, slot.dtype)[slot.name].to(slot.dtype)

    def merged(self, name: str, weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """A tensor of the model with what the adapter does to it, by PEFT in float32, and rounded once. (PEFT's merge
        in bfloat16 gives the same bits, but for embeddings and expert tensors, whose update it rounds by itself.)"""
        if name in self._rounded:
            assert self._nf4
            weight = self._to_4_bits_and_back(name, weight)
        layer = self.skeleton.layers.get(name)
        if layer is None:
            return weight.to(dtype)
        return merged(layer, weight.float()).to(dtype)

    def names(self) -> list[str]:
        """The tensors of the result in memory, by the model's names."""
        apart = [self.skeleton.tied[1]] if self.untied and self.skeleton.tied else []
        return list(dict.fromkeys([*self.skeleton.layout.by_name, *apart]))

    def changes(self, name: str) -> bool:
        """Whether a tensor of the model is another than the base's."""
        found = self.skeleton
        return name in found.layers or name in found.replaced or name in self._rounded

    def exact(self, name: str) -> torch.Tensor:
        """A tensor of the result as it is before it is rounded: in float32."""
        full = self.skeleton.replaced.get(name)
        return full.float() if full is not None else self.merged(name, _exact(self._origin(name)), torch.float32)

    def unmerged(self, name: str) -> torch.Tensor:
        """What the adapter was trained on top of, in float32."""
        weight = _exact(self._origin(name))
        return self._to_4_bits_and_back(name, weight).float() if name in self._rounded else weight

    def kept_slot(self, name: str) -> Slot | None:
        """Where a tensor of the result lies in the base, if nothing is done to it."""
        return None if self.changes(name) else self.skeleton.layout.slot_of(self._origin_name(name))

    def _origin_name(self, name: str) -> str:
        tied = self.skeleton.tied
        return tied[0] if tied and name == tied[1] and name not in self.skeleton.layout.by_name else name

    def _origin(self, name: str) -> torch.Tensor:
        origin = self._origin_name(name)
        group = self.skeleton.layout.by_name.get(origin)
        if group is None:
            raise ActionError(f"the base has no {name}", slug="merge-no-base-weight")
        if group.converter is None:
            return group.tensors()[origin]
        if self._held[0] != group.names[0]:  # of a group of several, the others are asked for next
            self._held = (group.names[0], group.tensors())
        return self._held[1][origin]

    def _to_4_bits_and_back(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        from transformers.pytorch_utils import Conv1D

        assert self._nf4
        owner: Any = self.skeleton.layers.get(name)
        path = name.removesuffix(".weight")
        holder = owner.get_base_layer() if owner else self.skeleton.base.get_submodule(path)
        if isinstance(holder, Conv1D):  # stores [in, out]
            return quantization.round_trip(weight.T, self._nf4).T.contiguous()
        return quantization.round_trip(weight, self._nf4)

    def _one(self, name: str, origin: str, dtype: torch.dtype) -> torch.Tensor | Slot:
        if name in self.skeleton.replaced:
            return self.skeleton.replaced[name].to(dtype)
        slot = self.skeleton.layout.by_name[origin].slots[0]
        if slot.dtype == dtype and not self.changes(name):
            return slot
        return self.merged(name, weights.read(slot), dtype)

    def _parts(self, group: Group, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """The result's tensors of the files, of a group that is one tensor of the model."""
        key = group.names[0]
        if key not in self._made:
            while len(self._made) >= _KEPT:
                self._made.pop(next(iter(self._made)))
            made = {name: self._whole(name, weight, dtype) for name, weight in group.tensors().items()}
            self._made[key] = to_files(self.skeleton.base, group, made)
        return self._made[key]

    def _whole(self, name: str, weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        full = self.skeleton.replaced.get(name)
        return self.merged(name, weight, dtype) if full is None else full.to(dtype)

    def _groups(self) -> list[Group]:
        return list({id(group): group for group in self.skeleton.layout.by_slot.values()}.values())

    def _target(self, slot: Slot) -> torch.dtype:
        return self._dtype if self._dtype and slot.dtype.is_floating_point else slot.dtype

    def _slot(self, slot: Slot, group: Group) -> Slot:
        shape = self._shape(group.names[0], slot) if group.converter is None else slot.shape
        return slot._replace(dtype=self._target(slot), shape=shape)

    def _shape(self, name: str, slot: Slot) -> tuple[int, ...]:
        full = self.skeleton.replaced.get(name)
        return slot.shape if full is None else tuple(full.shape)


def _exact(weight: torch.Tensor) -> torch.Tensor:
    return weight.float() if weight.is_floating_point() else weight


def _untied(found: Skeleton) -> bool:
    """Whether the adapter tells the two ends of a tied embedding apart, so that the result stores both."""
    if not found.tied:
        return False
    inputs, outputs = found.tied
    touched = [name for name in found.tied if name in found.layers or name in found.replaced]
    same = set(touched) == {inputs, outputs} and not found.layers.keys() & {inputs, outputs}
    return bool(touched) and not (same and torch.equal(found.replaced[inputs], found.replaced[outputs]))


def plan(base: str, adapter: str, dtype: torch.dtype | None, simulate: bool) -> LoraMerge:
    """Match every tensor of the adapter to one of the base. `simulate`: send weights through NF4 and back that the
    adapter saw in NF4.

    Raises ActionError: those of `skeleton`, and `merge-vocabulary`.
    """
    how = quantization.stored(adapter) if simulate else None
    made = LoraMerge(skeleton(base, adapter), dtype, how if how and how.scheme == "nf4" else None)
    _check_vocabulary(made)
    return made


def _check_vocabulary(made: LoraMerge) -> None:
    """An adapter with another vocabulary must have every embedding in full."""
    found = made.skeleton
    if found.vocab_size is None:
        return
    shapes = {slot.name: slot.shape for slot in made.slots()}
    for name, parameter in found.base.named_parameters():
        plain = name.replace(".modules_to_save.default", "").replace(".original_module", "")
        if plain in shapes and ".lora_" not in name and shapes[plain] != tuple(parameter.shape):
            raise ActionError(
                f"the adapter's vocabulary has {found.vocab_size} rows, and {plain} has {shapes[plain][0]}",
                slug="merge-vocabulary",
                hint="both embeddings must be in the adapter: name them in modules_to_save",
            )


def merged_config(config: dict[str, Any], made: LoraMerge, dtype: str) -> dict[str, Any]:
    """The base's config.json for the result."""
    out = {name: value for name, value in config.items() if name != "quantization_config"}
    if made.untied:
        _set_deep(out, "tie_word_embeddings", False)
        out["tie_word_embeddings"] = False
    if made.skeleton.vocab_size:
        _set_deep(out, "vocab_size", made.skeleton.vocab_size)
    if dtype != "base":
        _set_deep(out, "dtype", dtype)
        out["dtype"] = dtype
    return out


def _set_deep(config: dict[str, Any], name: str, value: Any) -> None:
    """Where it is: at the top, or in the settings of the text model."""
    text = config.get("text_config")
    for table in (config, text if isinstance(text, dict) else {}):
        if name in table:
            table[name] = value
