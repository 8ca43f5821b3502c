"""What a room tells the graph: the actions behind one target, and which inputs they read.

A room's `spec.py` has a `derive(label, spec, scope)` that adds actions to the scope. It is pure: it reads
no file but what the scope hands out and runs no project code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tunekit.forms import refusal
from tunekit.label import Label

if TYPE_CHECKING:  # msgspec costs 30 ms: a cached graph is loaded without it
    from tunekit.spec import Spec


class Edge(NamedTuple):
    """An output of an action. `output` empty: its default one."""

    action: str
    output: str = ""


class Policy(NamedTuple):
    """What a model role stands for: full weights, maybe an adapter on top, and where the tokenizer came from
    (weights carry a copy of it; tokens depend on the original, so that training again re-tokenizes nothing).
    `judges`: what it says of a text instead of writing one (`a reward`); no model role takes such a thing."""

    base: Edge
    tokenizer: Edge
    adapter: Edge | None = None
    judges: str = ""


class Action(NamedTuple):
    """One unit of work, before any digest is known.

    `fields` are the semantic ones (key), `spec` is everything the worker is told. `code`: project files whose
    import closure enters the key. `packages`: distributions whose versions enter it. `after`: actions that
    must have succeeded first but do not enter the key. `source`: set on fetch actions only, whose output
    digest is known from the lock or from the file itself. `stamp`: a short digest of all of this that enters the
    key, set where the graph is made.
    """

    label: str
    kind: str
    spec: dict[str, Any]
    fields: dict[str, Any]
    numeric: dict[str, Any] = {}
    operational: dict[str, Any] = {}
    inputs: dict[str, list[Edge]] = {}
    after: list[str] = []
    code: list[str] = []
    files: list[str] = []
    packages: list[str] = []
    seed: int = 0
    cpus: int = 1
    source: str = ""
    gates: dict[str, Any] = {}
    stamp: str = ""


class Scope(Protocol):
    """What `derive` may ask for. A label that does not resolve is recorded as a problem of the target's `key`;
    the edge that comes back is then a placeholder and the graph is never used."""

    def dataset(self, text: str, key: str) -> Edge: ...

    def dataset_format(self, text: str) -> str:
        """The form that a dataset's rows get (`chat`, `completion`, …); `auto` where only the rows can tell."""
        ...

    def dataset_setting(self, text: str, name: str) -> Any:
        """A setting that a dataset declares for those who read it (`train_on`, …); None if there is no such."""
        ...

    def tokenizer(self, text: str, key: str) -> Edge: ...

    def adapter(self, value: Any, key: str) -> Spec | None:
        """The decoded adapter behind a label or an inline table."""
        ...

    def policy(self, text: str, key: str, kinds: tuple[str, ...] = ()) -> Policy:
        """What a model role (`model:`, `run:`, `merge:`) stands for."""
        ...

    def inherited(self, key: str) -> bool:
        """Whether the current target's `key` comes from its recipe."""
        ...

    def source(self, label: Label, locator: str, key: str) -> Edge:
        """The fetch action of a source (added once per target)."""
        ...

    def code(self, text: str, key: str) -> str:
        """Check `file.py:function` (by ast, nothing is imported) and return the file."""
        ...

    def file(self, path: str, key: str) -> str:
        """Check that a project file exists inside the project and return its path."""
        ...

    def text(self, path: str, key: str) -> str:
        """The text of a project file; "" and a problem if it cannot be read."""
        ...

    def problem(self, slug: str, key: str, message: str, hint: str = "") -> None: ...

    def add(self, action: Action) -> Edge: ...


def form_for(consumer: str, scope: Scope, dataset: str, key: str) -> str:
    """The form of a dataset's rows, `auto` if only they can tell; a recorded problem if `consumer` cannot read it."""
    form = scope.dataset_format(dataset)
    refused = refusal(consumer, dataset, form)
    if refused:
        scope.problem(refused.slug, key, refused.message, refused.hint)
    return form


def action_of(label: Label, kind: str, spec: Spec, *, drop: tuple[str, ...] = (), **more: Any) -> Action:
    """An action whose fields are the spec's, by class. `drop`: fields that enter the key in another way
    (labels, which enter as input digests; code paths, which enter as code digests), or not at all."""
    from tunekit.spec import NUMERIC, OPERATIONAL, SEMANTIC, by_class

    classes = by_class(spec)
    spec_values = {k: v for c in classes.values() for k, v in c.items()}
    return Action(
        label=str(label),
        kind=kind,
        spec=spec_values,
        fields={k: v for k, v in classes[SEMANTIC].items() if k not in drop},
        numeric=classes[NUMERIC],
        operational=classes[OPERATIONAL],
        **more,
    )
