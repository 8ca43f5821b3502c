"""Answers of the verbs that only look."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tunekit.report.answers.answer import File, Node, Number, Origin, Part, Preimage, Reason, Record, State


class Memory(Part):
    """Bytes at the worst moment of a step, by part."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    total: int


class Estimate(Part):
    """Of a run. Null: not known yet; `unknown` says why. `fits`: whether the device has room."""

    label: str
    parameters: int | None
    trained: int | None
    rows: int | None
    tokens: int | None
    steps: int | None
    memory: Memory | None
    fits: bool | None
    unknown: list[str]


class Device(Part):
    """Bytes of its memory; 0: not known."""

    kind: Literal["cpu", "cuda"]
    name: str
    total: int
    free: int


class PlanMeasure(Part):
    """`tunekit plan --measure`: bytes at the worst moment, and the median of all steps but the first. `steps`: of the
    whole run, null where they are not known."""

    schema: Literal["tunekit/plan-measure/1"]
    label: str
    seconds_per_step: Number
    peak_memory: int
    taken: int
    steps: int | None
    devices: list[str]


class Plan(Part):
    """`tunekit plan`, `tunekit build --dry-run`. With `--estimate`: `device` and `estimates`, too."""

    schema: Literal["tunekit/plan/1"]
    targets: list[str]
    run: int
    fetch: int
    fresh: int
    actions: list[Node]
    device: Device | msgspec.UnsetType = msgspec.UNSET
    estimates: list[Estimate] | msgspec.UnsetType = msgspec.UNSET


class Target(Part):
    """`built`: seconds since 1970, null if never."""

    label: str
    state: State
    key: str | None
    built: Number | None
    reasons: list[str]


class Drifted(Part):
    """A distribution that is not as tunekit.lock has it."""

    package: str
    locked: str
    installed: str
    profile: str


class Status(Part):
    """`tunekit status`. `remote`: targets that a remote has, and a build does not execute. `drift` changes no state: it
    is what the record and the lock say of the environment."""

    schema: Literal["tunekit/status/1"]
    fresh: int
    remote: int
    stale: int
    targets: list[Target]
    drift: list[Drifted]


class Made(Part):
    """The attempt that counts."""

    attempt: str
    started: Number
    seconds: Number


class Outside(Part):
    """Settings that are not in the key."""

    numeric: dict[str, Any]
    operational: dict[str, Any]
    gates: dict[str, Any]


class Why(Node):
    """`tunekit why`. `preimage` is null for a source, and where nothing is known yet."""

    schema: Literal["tunekit/why/1"]
    preimage: Preimage | None
    inputs: dict[str, list[Origin]]
    outside_key: Outside
    source: str | None
    made: Made | None


class Action(Part):
    label: str
    kind: str
    needs: list[str]


class Graph(Part):
    """`tunekit graph`: in an order in which every input comes before its users."""

    schema: Literal["tunekit/graph/1"]
    actions: list[Action]


class Query(Part):
    """`tunekit query`."""

    schema: Literal["tunekit/query/1"]
    query: Literal["deps", "rdeps", "somepath"]
    of: list[str]
    labels: list[str]


class Artifact(Part):
    """`files` is null where it is not in the store."""

    digest: str
    files: list[File] | None


class Ancestor(Part):
    """One input on the way back to the sources."""

    depth: int
    role: str
    label: str
    digest: str
    key: str | None
    source: str | None


class Attempt(Part):
    attempt: str
    started: Number
    seconds: Number
    outputs: dict[str, str]


class Show(Part):
    """`tunekit show`. `current`: the result is that of the target as declared now."""

    schema: Literal["tunekit/show/1"]
    label: str
    state: State
    current: bool
    record: Record
    artifacts: dict[str, Artifact]
    metrics: list[dict[str, Any]]
    provenance: list[Ancestor]
    sources: dict[str, str]
    attempts: list[Attempt]


class Path(Part):
    """`tunekit path`."""

    schema: Literal["tunekit/path/1"]
    label: str
    path: str
    digest: str
    key: str


class Named(Part):
    """One of two results."""

    label: str
    key: str
    attempt: str


class Diff(Part):
    """`tunekit diff`: `key` says what differs between the keys, the rest is name → [old, new]."""

    schema: Literal["tunekit/diff/1"]
    old: Named
    new: Named
    same_key: bool
    same_bytes: bool
    key: list[Reason]
    settings: dict[str, list[Any]]
    effective: dict[str, list[Any]]
    environment: dict[str, list[Any]]
    metrics: dict[str, list[Any]]
    seconds: list[Number]


class Report(Part):
    """`tunekit report`: the page that was written, and its size in bytes."""

    schema: Literal["tunekit/report/1"]
    labels: list[str]
    file: str
    size: int


class Generate(Part):
    """`tunekit generate`: one completion. `prompt`: text, or messages; `row`: of the file, or the turn. `finished`: it
    ended by itself, not at --max-tokens."""

    schema: Literal["tunekit/generate/1"]
    label: str
    row: int
    prompt: str | list[dict[str, str]]
    completion: str
    tokens: int
    finished: bool


class Asked(Part):
    """A distribution that tunekit or one of its extras asks for; `installed` is empty where it is not."""

    name: str
    wanted: str
    installed: str
    extra: str
    ok: bool


class Cpu(Part):
    cores: int
    machine: str
    bf16: bool


class Gpu(Part):
    """Bytes of its memory."""

    name: str
    memory: int
    free: int
    driver: str
    capability: str
    bf16: bool


class Disk(Part):
    """Bytes, of the file system that the store is on."""

    mount: str
    free: int
    total: int


class Check(Part):
    """Something that works here, or not; `needed`: no build runs without it."""

    name: str
    ok: bool
    needed: bool
    note: str


class Ability(Part):
    name: str
    missing: list[str]


class Doctor(Part):
    """`tunekit doctor`. `ok`: what every build needs is there; `settings`: name → whether it is set."""

    schema: Literal["tunekit/doctor/1"]
    ok: bool
    tunekit: str
    python: str
    packages: list[Asked]
    cpu: Cpu
    gpus: list[Gpu]
    memory: Device
    disk: Disk
    checks: list[Check]
    settings: dict[str, bool]
    abilities: list[Ability]


class Package(Part):
    """`installed` is null where it is not."""

    name: str
    locked: str
    installed: str | None


class Env(Part):
    """`tunekit env`."""

    schema: Literal["tunekit/env/1"]
    profile: str
    packages: list[Package]


class Dataset(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One dataset that was looked at. What it has depends on what was asked for; the values of these keys are those of
    the answers in `tunekit/question.py`, without their `type`."""

    title: str
    digest: str
    reader: str
    remarks: list[str]
    ledgers: dict[str, Any]
    bound: str
    before: str
    samples: list[dict[str, Any]]
    changes: list[dict[str, Any]]
    subject: dict[str, Any]
    columns: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    tokens: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    prompts: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    template: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    searched: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    rows_compared: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    tokens_compared: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Inspect(Part, rename={"reader": "with"}):
    """`tunekit inspect`."""

    schema: Literal["tunekit/inspect/1"]
    label: str
    reader: str
    datasets: list[Dataset]
