"""The plan: every action's key, whether its result is known and present, and if not, why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tunekit.derive import Action, Edge
from tunekit.errors import DeclarationError, Problem
from tunekit.graph import Graph
from tunekit.hashing import sha256_bytes
from tunekit.inside import in_project
from tunekit.kinds import kind_of
from tunekit.plan.inputs import Inputs
from tunekit.plan.preimage import action_key, part_bases, preimage
from tunekit.plan.presence import Presence
from tunekit.plan.reason import Reason, difference
from tunekit.plan.remote import Known
from tunekit.plan.results import Results
from tunekit.plan.state import State, site_signature
from tunekit.store import records
from tunekit.store.store import Store

FRESH, STALE, BLOCKED, UNLOCKED, REMOTE = "fresh", "stale", "blocked", "unlocked", "remote"


class Node:
    """One action as planned. `outputs` (role → artifact digest) is None while unknown; `present`: all their
    objects are in the store; `run`: the build has to execute it; `fetch`: it takes the result from the remote."""

    __slots__ = (
        "_bases", "_graph", "fetch", "image", "key", "label", "outputs", "present", "reasons", "run", "stamp", "state",
    )  # fmt: skip

    def __init__(self, graph: Graph, label: str) -> None:
        self._graph = graph
        self.label = label
        self.state = STALE
        self.key = ""
        self.stamp = ""
        self.outputs: dict[str, str] | None = None
        self.present = False
        self.run = False
        self.fetch = False
        self.reasons: list[Reason] = []
        self.image: dict[str, Any] = {}
        self._bases: list[str] | None = None

    @property
    def action(self) -> Action:
        return self._graph.actions[self.label]

    @property
    def bases(self) -> list[str]:
        """Of its parts (tunekit.parts), one an item. Only a node that was evaluated in full has some."""
        if self._bases is None:
            self._bases = part_bases(self.image, kind_of(self.action.kind)) if self.image else []
        return self._bases

    @property
    def in_place(self) -> bool:
        """Its result is read where it lies: present without being in the store."""
        return kind_of(self.action.kind).in_place


class Planner:
    """Evaluates nodes in topological order; the build calls it again as results come in."""

    def __init__(self, graph: Graph, state: State, store: Store, inputs: Inputs) -> None:
        self.graph = graph
        self.state = state
        self.store = store
        self.inputs = inputs
        self.presence = Presence(state, store)
        self.results = Results(store, inputs.lock)
        self.nodes: dict[str, Node] = {}
        self.forced: set[str] = set()
        self.elsewhere: Known | None = None  # what the remote has, where there is one
        self._sure: set[str] = set()  # labels whose memo was held against the present, and stands
        self._suspects: set[str] | None = None
        if state.store != str(store.root):
            state.forget_results()
            state.store = str(store.root)

    def plan(self, labels: Iterable[str]) -> dict[str, Node]:
        """Nodes of the labels and all they need, in order, with `run` set on those that a build must execute."""
        order = self.graph.closure(labels)
        if self._suspects is None:
            self._suspects = self._possibly_changed()
        self._evaluate_all(order, self._suspects | self.forced)
        self.mark(order, labels)
        if self.elsewhere is not None:
            self.elsewhere.ask_all(order, labels)
        return {label: self.nodes[label] for label in order}

    def _evaluate_all(self, order: list[str], suspects: set[str]) -> None:
        """Evaluate the suspects and what reads their new results; of the others the memo stands."""
        links, whole = self.graph.links, self.presence.whole()
        sources = {label: source for source, labels in self.graph.sources.items() for label in labels}
        moved: set[str] = set()
        before = {label: self._known(label, sources.get(label)) for label in order}  # two may read one source
        for label in order:
            known = before[label]
            if (
                known
                and label not in suspects
                and moved.isdisjoint(links[label])
                and whole.issuperset(known[1].values())
            ):
                node = self.nodes[label] = Node(self.graph, label)
                node.key, node.outputs, node.present, node.state = known[0], known[1], True, FRESH
                self._sure.add(label)
            elif self.evaluate(label).outputs != (known and known[1]):
                moved.add(label)

    def _known(self, label: str, source: str | None) -> tuple[str, dict[str, str]] | None:
        """Key and outputs of a label when it was last looked at."""
        if source is None:
            memo = self.state.memo.get(label)
            return (memo[1], memo[2]) if memo else None
        if in_project(source):
            known = self.state.sources.get(source)
            tree = known[0] if known else None
        else:
            tree = self.inputs.source(source)
        return (tree, {"main": tree}) if tree else None

    def _possibly_changed(self) -> set[str]:
        """Labels whose memo may not be what their inputs from outside say now. Their users follow from them."""
        state, graph = self.state, self.graph
        if state.parsed or state.packages.get("site") != site_signature():
            return set(graph.links)
        found = set(state.unsure)
        for source, labels in graph.sources.items():
            known = state.sources.get(source)
            if in_project(source) and (known is None or not state.changed.isdisjoint(known[1])):
                found.update(labels)
        for file, labels in graph.code.items():
            closure = state.closures.get(file)
            if closure is None or not state.changed.isdisjoint(closure):
                found.update(labels)
        for file in state.changed & graph.files.keys():
            found.update(graph.files[file])
        return found

    def mark(self, order: list[str], labels: Iterable[str]) -> None:
        """Which nodes must run: the stale ones, and absent ones that a running or requested one needs."""
        wanted = set(labels)
        for label in wanted:
            node = self.nodes[label]
            kept = {} if node.in_place else node.outputs or {}
            if node.present and not all([self.presence.listed(tree) for tree in kept.values()]):
                node.present, node.state, node.reasons = False, STALE, [Reason("missing")]
        for label in reversed(order):
            node = self.nodes[label]
            lacking = node.outputs is None or (label in wanted and not node.present)
            node.fetch = lacking and node.state == REMOTE
            node.run = lacking and not node.fetch
            if node.run:
                wanted.update(self.graph.links[label])
        for label in order:
            node = self.nodes[label]
            if node.state == STALE and not node.run and node.outputs is not None:
                node.state = FRESH  # its result is known, and nothing needs the bytes

    def evaluate(self, label: str) -> Node:
        node = self.nodes[label] = Node(self.graph, label)
        if node.action.source:
            self._fetch(node)
        else:
            self._keyed(node)
        return node

    def _fetch(self, node: Node) -> None:
        tree = self.inputs.source(node.action.source)
        if tree is None:
            node.state, node.reasons = UNLOCKED, [Reason("unlocked", node.action.source)]
            return
        node.key, node.outputs = tree, {"main": tree}
        node.present = node.in_place or self.presence.present(tree)
        node.state = FRESH if node.present else self._absent(node)
        if not node.present:
            node.reasons = [Reason("missing")]

    def _absent(self, node: Node) -> str:
        """The state of a result whose bytes are not here."""
        return REMOTE if self.elsewhere is not None and self.elsewhere.has(node) else STALE

    def _keyed(self, node: Node) -> None:
        action = node.action
        waiting, gone = self._known_inputs(action)
        if gone:
            node.state, node.reasons = BLOCKED, [Reason("unlocked", name) for name in gone]
            return
        if waiting:
            node.reasons = [*self._own_changes(node), *[Reason("upstream", name) for name in waiting]]
            return
        node.stamp = self._stamp(action)
        memo = self.state.memo.get(action.label)
        if memo and memo[0] == node.stamp and action.label not in self.forced:
            node.key = memo[1]
            self._sure.add(action.label)
            if self._present(memo[2]):
                node.outputs, node.present, node.state = memo[2], True, FRESH
                return
        node.image = self._image(action)
        node.key = action_key(node.image)
        self._lookup(node)

    def _lookup(self, node: Node) -> None:
        label = node.action.label
        record = None if label in self.forced else self.results.record(node.key)
        promoted = None if label in self.forced else self.results.promoted(node.key)
        if record is None and self.elsewhere is not None and label not in self.forced:
            record = self.elsewhere.records.get(node.key)
            if record is not None and promoted is not None and record["outputs"] != promoted.outputs:
                record = None  # another attempt than the one that counts here
        if record is None and promoted is None:
            node.reasons = [Reason("forced")] if label in self.forced else self._why(node)
            return
        node.outputs = record["outputs"] if record else promoted.outputs if promoted else {}
        node.present = record is not None and self._present(node.outputs)
        if node.present:
            node.state = FRESH
            self.remember(node)
        else:
            node.state = self._absent(node)
            node.reasons = [Reason("missing")]

    def remember(self, node: Node) -> None:
        """Keep the node's result in the state, with the signatures of its objects."""
        assert node.outputs is not None
        self.state.memo[node.label] = [node.stamp, node.key, node.outputs]
        self._sure.add(node.label)
        self.state.dirty = True

    # -- inputs ------------------------------------------------------------------------------

    def _known_inputs(self, action: Action) -> tuple[list[str], list[str]]:
        """Labels whose outputs are not known yet, and sources that are not locked (or depend on such)."""
        waiting, gone = [], []
        for edges in action.inputs.values():
            for edge in edges:
                node = self.nodes[edge.action]
                if node.outputs is None:
                    if node.state in (UNLOCKED, BLOCKED):
                        gone += [r.name for r in node.reasons]
                    else:
                        waiting.append(edge.action)
        return list(dict.fromkeys(waiting)), list(dict.fromkeys(gone))

    def input_digests(self, action: Action) -> dict[str, list[str]]:
        """Role → artifact digests, in order."""
        return {role: [self._digest(action, edge) for edge in edges] for role, edges in action.inputs.items()}

    def _digest(self, action: Action, edge: Edge) -> str:
        """What an edge stands for. DeclarationError where the result has no such output (`run:x@best` of a run
        that keeps no best weights)."""
        outputs = self.nodes[edge.action].outputs or {}
        found = outputs.get(edge.output or "main")
        if found is None:
            message = f"{action.label} reads {edge.action}@{edge.output}, which that did not make"
            hint = "valid: " + ", ".join(f"{edge.action}@{name}" for name in outputs if name != "main")
            raise DeclarationError([Problem("unknown-output", message, hint=hint)])
        return found

    def code_digests(self, action: Action) -> dict[str, str]:
        """Path → digest of everything that the action's code consists of."""
        out: dict[str, str] = {}
        for file in action.code:
            out.update(self.inputs.code(file))
        for file in action.files:
            out[file] = self.state.digest(file)
        return out

    def _stamp(self, action: Action) -> str:
        """A string that changes whenever the key may: compared with the one remembered, it saves hashing."""
        parts = [action.stamp]
        for edges in action.inputs.values():
            parts += [self._digest(action, edge) for edge in edges]
        if action.code or action.files:
            parts += [f"{k}={v}" for k, v in self.code_digests(action).items()]
        parts += [self.inputs.version(package) for package in action.packages]
        if self.results.stamp:
            parts.append(self.results.stamp)
        return sha256_bytes("|".join(parts).encode())[7:39]  # kept for every action: short

    def _image(self, action: Action) -> dict[str, Any]:
        packages = {p: self.inputs.version(p) for p in sorted(set(action.packages))}
        version = self.graph.versions[action.kind]
        return preimage(action, version, self.input_digests(action), self.code_digests(action), packages)

    def _present(self, outputs: dict[str, str]) -> bool:
        return all([self.presence.present(tree) for tree in outputs.values()])

    # -- what is kept ------------------------------------------------------------------------

    def save(self) -> None:
        """Write the state, without results that nothing refers to any more: their going is no change."""
        state, graph = self.state, self.graph
        keep = {t for memo in state.memo.values() for t in memo[2].values()} | {s[0] for s in state.sources.values()}
        keep |= {t for n in self.nodes.values() if n.outputs for t in n.outputs.values()}
        state.memo = {label: memo for label, memo in state.memo.items() if label in graph.links}
        state.unsure = [label for label in state.memo if label not in self._sure]
        state.trees = {tree: names for tree, names in state.trees.items() if tree in keep}
        shown = {view.rpartition("/")[2] for links in state.done.values() for view in links.values()}
        state.views = {name: names for name, names in state.views.items() if name in shown}
        self._prune_watch()
        state.save()

    def _prune_watch(self) -> None:
        """Stop watching files that the graph does not name any more: their changes are nobody's."""
        state, graph = self.state, self.graph
        state.sources = {s: found for s, found in state.sources.items() if s in graph.sources}
        state.closures = {file: found for file, found in state.closures.items() if file in graph.code}
        used = {*state.manifest, *graph.files}
        used.update(*(found[1] for found in state.sources.values()), *state.closures.values())
        if not used.issuperset(state.watch):
            state.watch = {path: sig for path, sig in state.watch.items() if path in used}
            state.digests = {path: digest for path, digest in state.digests.items() if path in used}
            state.code = {raw: digest for raw, digest in state.code.items() if raw in {*state.digests.values()}}
            state.dirty = True

    # -- why ---------------------------------------------------------------------------------

    def previous(self, label: str) -> dict[str, Any] | None:
        """The record of the label's last result."""
        memo = self.state.memo.get(label)
        return self.results.record(memo[1]) if memo else None

    def lists_parts(self, label: str) -> bool:
        """Whether the store knows what parts the label's last result was made of."""
        record = self.previous(label)
        return record is not None and bool(records.parts_list(self.store, record))

    def _previous(self, label: str) -> dict[str, Any] | None:
        record = self.previous(label)
        return record["preimage"] if record else None

    def _why(self, node: Node) -> list[Reason]:
        old = self._previous(node.action.label)
        if old is None:
            return [Reason("new")]
        names = {role: ", ".join(e.action for e in edges) for role, edges in node.action.inputs.items()}
        return difference(old, node.image, names) or [Reason("missing")]

    def _own_changes(self, node: Node) -> list[Reason]:
        """What changed in a node whose inputs are not known yet, inputs left out."""
        old = self._previous(node.action.label)
        if old is None:
            return [Reason("new")]
        action = node.action
        packages = {p: self.inputs.version(p) for p in sorted(set(action.packages))}
        version = self.graph.versions[action.kind]
        return difference(old, preimage(action, version, old["inputs"], self.code_digests(action), packages), {})
