"""What every run declares, whatever its method."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from tunekit.bounds import bound
from tunekit.derive import Action, Edge, Policy, Scope, action_of
from tunekit.forms import Reads
from tunekit.health import fault_of
from tunekit.label import Label
from tunekit.methods import schedule
from tunekit.methods.optimizers import Optimizer
from tunekit.methods.schedule import Scheduler
from tunekit.spec import PRIVATE, PositiveFloat, PositiveInt, Share, Spec, numeric, operational, semantic
from tunekit.steps.adapter.spec import Adapter
from tunekit.steps.merge.spec import Merge
from tunekit.steps.tokens.spec import Masking, token_item, tokens_action


class DataItem(Masking, frozen=True, kw_only=True):
    """One dataset of a run, with how much of it and what of it is trained on."""

    dataset: Annotated[str, semantic("`dataset:` label.")]
    weight: Annotated[
        float,
        semantic(
            "How often a row is seen in an epoch: 0.5 takes every second row, 2 all of them twice. With `streaming`: "
            "relative share of the tokens.",
            gt=0,
            le=1000,
        ),
    ] = 1.0
    limit: Annotated[PositiveInt | None, semantic("Use the first rows only.")] = None


class Profile(Spec, frozen=True, kw_only=True):
    """Optimizer steps that are recorded operator by operator (docs/watching.md)."""

    start: Annotated[int, operational("First step, counted from 1.", ge=1)] = 3
    steps: Annotated[int | list[PositiveInt], operational("How many, or which ones (`start` is then not read).")] = 5

    def chosen(self) -> list[int]:
        """The steps in order."""
        if isinstance(self.steps, int):
            return list(range(self.start, self.start + self.steps))
        return sorted(set(self.steps))


class Run(Spec, frozen=True, kw_only=True):
    """Settings shared by all methods. Names are TRL's and Transformers' but for the batch and step counts."""

    FILE: ClassVar[str] = ""  # the project's file that the method is in: set on the struct that is read from it

    method: Annotated[str, semantic("`sft`, `grpo`, a method of an installed package, or a file of the project.")] = (
        "rows"
    )
    model: Annotated[str, semantic("The policy to start from: `model:`, `run:` or `merge:` label.")]
    data: Annotated[list[str | DataItem], semantic("Datasets: labels or tables.", min_length=1)]
    adapter: Annotated[
        str | Adapter | None, semantic("`adapter:` label or table; none: full weights, or the model's own adapter.")
    ] = None
    train_parameters: Annotated[
        list[str] | None,
        semantic("Full weights: regexes that match the whole names of the parameters to train; default: all of them."),
    ] = None
    batch_size: Annotated[int, semantic("Rows per optimizer step, over all devices.", ge=1)] = 16
    epochs: Annotated[float, semantic("Passes over the data, unless `max_steps` is set.", gt=0)] = 1.0
    max_steps: Annotated[PositiveInt | None, semantic("Optimizer steps.")] = None
    learning_rate: Annotated[float, semantic("Peak learning rate.", gt=0)] = 2e-5
    learning_rates: Annotated[
        dict[str, PositiveFloat],
        semantic("Peak learning rates of parameters whose whole name a regex matches: `{ '.*lora_B.*' = 1e-3 }`."),
    ] = {}
    lr_scheduler: Annotated[Scheduler, semantic("Shape after warm-up.")] = "cosine"
    warmup_ratio: Annotated[float, semantic("Share of the steps spent warming up.", ge=0, le=1)] = 0.0
    warmup_steps: Annotated[int, semantic("Steps spent warming up (or `warmup_ratio`).", ge=0)] = 0
    min_lr_ratio: Annotated[
        float, semantic("Share of the peak at the end (cosine_with_min_lr, warmup_stable_decay).", ge=0, lt=1)
    ] = 0.0
    decay_ratio: Annotated[
        Share | None, semantic("Share of the steps spent decaying (warmup_stable_decay); default: 0.1.")
    ] = None
    weight_decay: Annotated[float, semantic("Weight decay (not of biases and norms).", ge=0)] = 0.0
    adam_beta1: Annotated[float, semantic("First-moment decay of the Adam family.", ge=0, lt=1)] = 0.9
    adam_beta2: Annotated[float, semantic("Second-moment decay of the Adam family.", ge=0, lt=1)] = 0.999
    max_grad_norm: Annotated[float, semantic("Gradient clipping; 0: none.", ge=0)] = 1.0
    optimizer: Annotated[Optimizer, semantic("Optimizer (docs/training.md has the package of each).")] = "adamw_torch"
    optimizer_args: Annotated[
        dict[str, float | bool | str | list[float]],
        semantic("Further arguments of the optimizer's class: `{ momentum = 0.9 }`."),
    ] = {}
    seed: Annotated[int, semantic("Seed of initial adapter weights, data order and sampling.", ge=0)] = 42
    dtype: Annotated[Literal["float32", "bfloat16"], semantic("Weights and activations while training.")] = "float32"
    attn: Annotated[
        Literal["auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3"],
        numeric("Attention implementation; a named one that does not take effect is an error."),
    ] = "auto"
    micro_batch_size: Annotated[PositiveInt | None, numeric("Rows a forward pass on one device; default: all.")] = None
    processes: Annotated[int, numeric("Processes on this machine, one a device.", ge=1)] = 1
    strategy: Annotated[
        Literal["ddp", "zero1"],
        numeric("With `processes`: `ddp` averages gradients, `zero1` also splits the optimizer's state (DeepSpeed)."),
    ] = "ddp"
    gradient_checkpointing: Annotated[bool, numeric("Recompute activations to save memory.")] = False
    cpus: Annotated[int, numeric("Threads; 0: all that there are.", ge=0)] = 0
    logging_steps: Annotated[int, operational("Steps between two points of the metrics history.", ge=1)] = 1
    checkpoint_steps: Annotated[int, operational("Steps between two staging checkpoints.", ge=1)] = 50
    report_to: Annotated[
        list[Literal["tensorboard", "wandb", "trackio"]],
        operational("Trackers: tensorboard, wandb, trackio; their files go to `.tunekit/watch` (docs/watching.md)."),
    ] = []
    health: Annotated[
        str | dict[str, str],
        operational('Ranges of a healthy run: "stop", "warn" or "off" for all rules, or a table (docs/watching.md).'),
    ] = ""
    profile: Annotated[Profile | None, operational("Steps to profile: `{ start = 3, steps = 5 }`.")] = None
    packages: Annotated[list[str], semantic("Distributions whose version enters the key.")] = []
    files: Annotated[list[str], semantic("Further project files that the code reads.")] = []
    gates: Annotated[
        dict[str, str], operational('Bounds on final metrics: `gates = { loss = "< 3.0" }`; a failed one blocks users.')
    ] = {}
    private: Annotated[bool | None, operational(PRIVATE)] = None

    def checks(self) -> list[tuple[str, str, str]]:
        hint = 'a bound is one of < <= == >= > and a number: `"< 3.0"`'
        wrong = [
            ("gates", f"`{name}`: `{text}` is not a bound", hint)
            for name, text in self.gates.items()
            if bound(text) is None
        ]
        if self.strategy != "ddp" and self.processes == 1:
            message = f"`{self.strategy}` splits work between processes, and there is one"
            wrong.append(("strategy", message, "processes = 2, or more; or leave `strategy` out"))
        if self.batch_size % self.processes:
            message = f"batch_size {self.batch_size} is not a multiple of {self.processes} processes"
            wrong.append(("processes", message, "each process takes an equal share of a step's rows"))
        micro = self.micro_batch_size
        if micro and self.batch_size % micro:
            message = f"batch_size {self.batch_size} is not a multiple of micro_batch_size {micro}"
            hint = "accumulation = batch_size / (micro_batch_size x world size) must be whole"
            wrong.append(("micro_batch_size", message, hint))
        if self.train_parameters == []:
            wrong.append(("train_parameters", "no parameter would be trained", "name some, or remove it for all"))
        if self.profile and not self.profile.chosen():
            wrong.append(("profile", "no step is profiled", "steps = 5, or a list of steps"))
        if fault := fault_of(self.method, self.health):
            wrong.append(("health", *fault))
        return wrong + schedule.faults(self)


# Fields that enter the key as digests of what they name (or, for the adapter, resolved).
REFERENCES = ("method", "model", "data", "adapter", "packages", "files")


def items_of(spec: Run) -> list[DataItem]:
    """`data`, every item as a table."""
    return [DataItem(dataset=i) if isinstance(i, str) else i for i in spec.data]


def refuse_masking(items: list[DataItem], scope: Scope) -> None:
    """For methods that read prompts: what an item says of labels would be silently ignored."""
    for item in items:
        for name in Masking.__struct_fields__:
            if getattr(item, name) is not None:
                hint = "remove it; a template is the tokenizer's: `chat_template` in a [tokenizer] table"
                scope.problem("unused-setting", "data", f"`{name}` of {item.dataset}: this method has no labels", hint)


def start_of(label: Label, spec: Run, scope: Scope) -> tuple[dict[str, list[Edge]], Adapter | None, Edge]:
    """Inputs `base` and, where a run's adapter is continued, `adapter`; and the adapter that is new here;
    and the tokenizer.

    An adapter declared here on top of a policy that has one: that policy is merged first (`run:x#base`).
    """
    found = scope.policy(spec.model, "model")
    new = scope.adapter(spec.adapter, "adapter") if _declares_adapter(spec, found, scope) else None
    assert new is None or isinstance(new, Adapter)
    if spec.train_parameters is not None and (new or found.adapter):
        hint = "an adapter says what it trains: `target_modules`, `modules_to_save`"
        scope.problem("unused-setting", "train_parameters", "`train_parameters` chooses among full weights", hint)
    if found.adapter is None:
        return {"base": [found.base]}, new, found.tokenizer
    if new is None:
        return {"base": [found.base], "adapter": [found.adapter]}, None, found.tokenizer
    step = Label(label.kind, label.name, step="base")
    merged = action_of(
        step,
        "merge",
        Merge(inputs=[spec.model]),
        drop=("inputs",),
        inputs={"base": [found.base], "adapter": [found.adapter]},
    )
    return {"base": [scope.add(merged)]}, new, found.tokenizer


def _declares_adapter(spec: Run, found: Policy, scope: Scope) -> bool:
    """A recipe's adapter counts only where the model has none: else the model's own is continued."""
    return spec.adapter is not None and not (found.adapter is not None and scope.inherited("adapter"))


def policy(label: Label, spec: Run, scope: Scope) -> Policy:
    """What this run's result stands for: full weights, or its adapter on the base it was trained on."""
    found = scope.policy(spec.model, "model")
    me = Edge(str(label))
    if not found.base.action:
        return found
    if not _declares_adapter(spec, found, scope):
        return Policy(found.base, found.tokenizer, me) if found.adapter else Policy(me, found.tokenizer)
    if found.adapter is not None:
        return Policy(Edge(str(Label(label.kind, label.name, step="base"))), found.tokenizer, me)
    return Policy(found.base, found.tokenizer, me)


def data_fields(items: list[DataItem]) -> list[dict[str, Any]]:
    """What of `data` is semantic for the run itself (the rows enter by digest, the mask by the tokens')."""
    return [{k: v for k, v in (("weight", i.weight), ("limit", i.limit)) if v not in (None, 1.0)} for i in items]


def run_action(
    label: Label,
    spec: Run,
    inputs: dict[str, list[Edge]],
    adapter: Adapter | None,
    *,
    drop: tuple[str, ...] = (),
    fields: dict[str, Any],
    code: list[str] | None = None,
    after: list[str] | None = None,
) -> Action:
    """The training action. `fields` are added to the semantic ones; `adapter` is inlined. The file of a project's
    method is code of the action, and says what kind it is."""
    from tunekit.spec import plain

    action = action_of(
        label,
        f"run.{spec.method}" + (f":{spec.FILE}" if spec.FILE else ""),
        spec,
        drop=REFERENCES + drop,
        inputs=inputs,
        code=list(dict.fromkeys([*(code or []), *([spec.FILE] if spec.FILE else [])])),
        files=spec.files,
        packages=spec.packages,
        seed=spec.seed,
        cpus=spec.cpus,
        after=after or [],
        gates=dict(spec.gates),
    )
    inlined = {"adapter": {"method": adapter.method, **plain(adapter)}} if adapter else {}
    worker_spec = {k: v for k, v in action.spec.items() if k != "adapter"} | inlined
    return action._replace(fields=action.fields | fields | inlined, spec=worker_spec)


def tokens_of(
    owner: Label,
    items: list[DataItem],
    tokenizer: Edge,
    key: str,
    scope: Scope,
    reads: tuple[Reads, ...] = ("loss",),
) -> Edge:
    """Add the `#tokens` action of a run and return its edge. `reads`: what of every row, an item each: `("chosen",
    "rejected")` of pairs."""
    token_items = [token_item(scope, item.dataset, key, item, what) for item in items for what in reads]
    data = [edge for item in items for edge in [scope.dataset(item.dataset, key)] * len(reads)]
    return scope.add(tokens_action(owner, token_items, data, tokenizer))


def derive(label: Label, spec: Run, scope: Scope) -> None:
    """Of a project's method that is made of `Run` alone: it reads the rows of its datasets as they are."""
    from tunekit.spec import plain

    items = items_of(spec)
    inputs, adapter, _ = start_of(label, spec, scope)
    inputs["data"] = [scope.dataset(i.dataset, "data") for i in items]
    fields = {"data": [{k: v for k, v in plain(i).items() if k != "dataset"} for i in items]}
    scope.add(run_action(label, spec, inputs, adapter, fields=fields))
