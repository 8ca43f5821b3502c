"""The plan: every action's key, whether its result is known and present, and if not, why."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tunekit.derive import Action, Edge
from tunekit.errors import DeclarationError, Problem
from tunekit.graph import Graph
from tunekit.hashing import PREFIX, hex_of, sha256_bytes, sha256_file
from tunekit.plan.inputs import Inputs
from tunekit.plan.preimage import action_key, preimage
from tunekit.plan.reason import Reason, difference
from tunekit.plan.state import ABSENT, State, signature
from tunekit.store import artifacts, records
from tunekit.store.store import Store

FRESH, STALE, BLOCKED, UNLOCKED = "fresh", "stale", "blocked", "unlocked"


class Node:
    """One action as planned. `outputs` (role → artifact digest) is None while unknown; `present`: all their
    objects are in the store; `run`: the build has to execute it."""

    __slots__ = ("action", "image", "key", "outputs", "present", "reasons", "run", "state")

    def __init__(self, action: Action) -> None:
        self.action = action
        self.state = STALE
        self.key = ""
        self.outputs: dict[str, str] | None = None
        self.present = False
        self.run = False
        self.reasons: list[Reason] = []
        self.image: dict[str, Any] = {}


class Planner:
    """Evaluates nodes in topological order; the build calls it again as results come in."""

    def __init__(self, graph: Graph, state: State, store: Store, inputs: Inputs) -> None:
        self.graph = graph
        self.state = state
        self.store = store
        self.inputs = inputs
        self.nodes: dict[str, Node] = {}
        self.forced: set[str] = set()
        self._objects = str(store.root / "objects") + "/"
        if state.store != str(store.root):
            state.memo, state.trees, state.views, state.objects, state.done = {}, {}, {}, {}, {}
            state.store = str(store.root)

    def plan(self, labels: Iterable[str]) -> dict[str, Node]:
        """Nodes of the labels and all they need, in order, with `run` set on those that a build must execute."""
        order = self.graph.closure(labels)
        for label in order:
            self.evaluate(label)
        self.mark(order, labels)
        return {label: self.nodes[label] for label in order}

    def mark(self, order: list[str], labels: Iterable[str]) -> None:
        """Which nodes must run: the stale ones, and absent ones that a running or requested one needs."""
        wanted = set(labels)
        for label in reversed(order):
            node = self.nodes[label]
            node.run = node.outputs is None or (label in wanted and not node.present)
            if node.run:
                wanted.update(self.graph.needs(label))
        for label in order:
            node = self.nodes[label]
            if node.state == STALE and not node.run and node.outputs is not None:
                node.state = FRESH  # its result is known, and nothing needs the bytes

    def evaluate(self, label: str) -> Node:
        node = self.nodes[label] = Node(self.graph.actions[label])
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
        node.present = self.present(tree)
        node.state = FRESH if node.present else STALE
        if not node.present:
            node.reasons = [Reason("missing")]

    def _keyed(self, node: Node) -> None:
        action = node.action
        waiting, gone = self._known_inputs(action)
        if gone:
            node.state, node.reasons = BLOCKED, [Reason("unlocked", name) for name in gone]
            return
        if waiting:
            node.reasons = [*self._own_changes(node), *[Reason("upstream", name) for name in waiting]]
            return
        stamp = self._stamp(action)
        memo = self.state.memo.get(action.label)
        if memo and memo[0] == stamp and action.label not in self.forced:
            node.key = memo[1]
            if all([self.present(tree) for tree in memo[2].values()]):
                node.outputs, node.present, node.state = memo[2], True, FRESH
                return
        node.image = self._image(action)
        node.key = action_key(node.image)
        self._lookup(node, stamp)

    def _lookup(self, node: Node, stamp: str) -> None:
        label = node.action.label
        record = None if label in self.forced else records.lookup(self.store, node.key)
        if record is None:
            node.reasons = [Reason("forced")] if label in self.forced else self._why(node)
            return
        node.outputs = record["outputs"]
        node.present = all([self.present(tree) for tree in node.outputs.values()])
        if node.present:
            node.state = FRESH
            self.remember(node, stamp)
        else:
            node.reasons = [Reason("missing")]

    def remember(self, node: Node, stamp: str = "") -> None:
        """Keep the node's result in the state, with the signatures of its objects."""
        assert node.outputs is not None
        self.state.memo[node.action.label] = [stamp or self._stamp(node.action), node.key, node.outputs]
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
        parts = [self.graph.stamps[action.label]]
        for edges in action.inputs.values():
            parts += [self._digest(action, edge) for edge in edges]
        if action.code or action.files:
            parts += [f"{k}={v}" for k, v in self.code_digests(action).items()]
        parts += [self.inputs.version(package) for package in action.packages]
        return sha256_bytes("|".join(parts).encode())[7:39]  # kept for every action: short

    def _image(self, action: Action) -> dict[str, Any]:
        packages = {p: self.inputs.version(p) for p in sorted(set(action.packages))}
        version = self.graph.versions[action.kind]
        return preimage(action, version, self.input_digests(action), self.code_digests(action), packages)

    # -- store -------------------------------------------------------------------------------

    def present(self, tree: str) -> bool:
        """Whether every object of an artifact is in the store and unchanged since it was checked."""
        state = self.state
        names = state.trees.get(tree)
        if names is None:
            entries = artifacts.read_tree(self.store, tree)
            if entries is None:
                return False
            names = [os.path.relpath(self.store.tree(tree), self._objects)]
            for e in entries:
                path = self.store.object(e.digest)
                if not path.is_file() or path.stat().st_size != e.size:
                    return False
                names.append(f"{path.parent.name}/{path.name}")
            state.trees[tree] = names
            state.dirty = True
        known, base = state.objects, self._objects
        if all([known.get(name) == signature(base + name) or self._object_ok(name) for name in names]):
            return True
        del state.trees[tree]
        state.dirty = True
        return False

    def _object_ok(self, name: str) -> bool:
        """Signature of an object against the one recorded; another one: its bytes are hashed again."""
        path = self._objects + name
        sig = signature(path)
        known = self.state.objects.get(name)
        if sig == known:
            return True
        self.state.dirty = True
        if sig == ABSENT or (known is not None and not self._as_named(path)):
            self.state.objects.pop(name, None)
            return False
        self.state.objects[name] = sig
        return True

    def _as_named(self, path: str) -> bool:
        """Whether an object's bytes, or a tree's entries, are what their name says; if not, they are put away."""
        file = Path(path)
        if path.startswith(self._objects + "../"):
            return artifacts.read_tree(self.store, PREFIX + file.name) is not None
        if hex_of(sha256_file(file)) == file.name:
            return True
        artifacts.quarantine(self.store, file)
        return False

    def view(self, tree: str) -> Path:
        """The artifact as a directory for workers and people, mended where somebody edited it. Its folders'
        signatures stand with those of the objects, so that a no-op notices."""
        path = self.store.view(tree)
        names, objects = self.state.views.get(tree), self.state.objects
        if not names or any(objects.get(n) != signature(self._objects + n) for n in names):
            artifacts.view(self.store, tree)
            folders = [path, *{p for p in path.rglob("*") if p.is_dir() and not p.is_symlink()}]
            names = self.state.views[tree] = [os.path.relpath(folder, self._objects) for folder in folders]
            objects.update({name: signature(self._objects + name) for name in names})
            self.state.dirty = True
        return path

    def prune(self) -> None:
        """Forget results that nothing refers to any more, so that their going is not taken for a change."""
        state = self.state
        keep = {t for memo in state.memo.values() for t in memo[2].values()} | {s[0] for s in state.sources.values()}
        keep |= {t for n in self.nodes.values() if n.outputs for t in n.outputs.values()}
        state.memo = {label: memo for label, memo in state.memo.items() if label in self.graph.actions}
        state.trees = {tree: names for tree, names in state.trees.items() if tree in keep}
        state.views = {tree: names for tree, names in state.views.items() if tree in keep}
        used = {name for names in (*state.trees.values(), *state.views.values()) for name in names}
        state.objects = {name: sig for name, sig in state.objects.items() if name in used}
        self._prune_watch()

    def _prune_watch(self) -> None:
        """Stop watching files that the graph does not name any more: their changes are nobody's."""
        state, actions = self.state, self.graph.actions.values()
        sources = {a.source for a in actions}
        code = {file for a in actions for file in a.code}
        state.sources = {s: found for s, found in state.sources.items() if s in sources}
        state.closures = {file: found for file, found in state.closures.items() if file in code}
        used = {*state.manifest, *(file for a in actions for file in a.files)}
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
        return records.lookup(self.store, memo[1]) if memo else None

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
