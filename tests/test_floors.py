"""The house has floors (design §7): a module imports only from lower ones, and the ground floor knows no tensors."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import tunekit

PACKAGE = Path(tunekit.__file__).parent
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "tunekit_kernels", "triton"}
LINES = 400

# First match wins. Floors ≥ 100 are the torch side, behind the process boundary.
FLOORS = [
    ("errors", 0), ("hashing", 0), ("label", 0), ("parts", 0), ("protocol", 0), ("usercode", 0), ("diskspace", 0),
    ("question", 0), ("bounds", 0), ("lifeline", 0), ("variables", 0), ("foreign", 0), ("inside", 0), ("pickled", 0),
    ("health", 0), ("completion", 0),
    ("spec", 1), ("derive", 1), ("forms", 1), ("templates", 1),
    ("methods.*.spec", 2), ("steps.*.spec", 2), ("methods.spec", 2),
    ("methods.evaluated", 2), ("methods.judging", 2), ("methods.optimizers", 2), ("methods.schedule", 2),
    ("kinds", 3),
    ("manifest", 4), ("graph", 4), ("lockfile", 4),
    # what a source says, and whether its files are there: part of reading a declaration
    ("sources.locator", 4), ("sources.urls", 4), ("sources.select", 4), ("sources.files", 4),
    ("sources", 5), ("store", 5),
    ("plan", 6),
    ("build", 7), ("share", 7.5),  # share reads the history that builds write
    ("report", 8), ("cli", 8), ("__main__", 9),
    ("data", 102), ("engine", 102), ("methods", 104), ("steps", 104), ("worker", 105), ("lens", 105),
]  # fmt: skip
TORCH_SIDE = 100
# What the torch side may import of the core beyond floors 0–2: the door, and the one room that fetches.
DOORS = {"tunekit.worker": ("tunekit.kinds", "tunekit.store"), "tunekit.steps.fetch.run": ("tunekit.sources",)}
# A source block is the lock's own type, and the lock is plain data: the room that fetches reads it from the request.
DOORS["tunekit.steps.fetch.run"] += ("tunekit.lockfile",)


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_bytes()) for name, path in FILES.items()}


def floor(module: str) -> float:
    """The floor of a module; the bare package (its version) lies under everything."""
    parts = module.split(".")[1:]
    if not parts:
        return -1
    for pattern, number in FLOORS:
        words = pattern.split(".")
        if len(words) <= len(parts) and all(w in ("*", p) for w, p in zip(words, parts, strict=False)):
            return number
    raise AssertionError(f"{module} is on no floor: add it to FLOORS")


@cache
def imports(module: str) -> list[tuple[str, int]]:
    return list(imports_of(TREES[module]))


def imports_of(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Imported names with their lines, at any depth, but for `if TYPE_CHECKING:`."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack += node.orelse
            continue
        stack += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from ((a.name, node.lineno) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            base = node.module or ""
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield (inner if inner in FILES else base), node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            first = node.args[0]
            if isinstance(first, ast.Constant):
                yield first.value, node.lineno


def allowed(module: str, target: str) -> bool:
    here, there = floor(module), floor(target)
    if here < TORCH_SIDE:
        same_package = module.split(".")[1] == target.split(".")[1] if "." in target else True
        return there < here or (there == here and (same_package or here in (0, 1, 2, 4, 8)))
    if there < TORCH_SIDE:
        return there <= 2 or target.startswith(DOORS.get(module, ("\0",)))
    return there <= here


def test_imports_point_downward() -> None:
    wrong = [
        f"{FILES[module]}:{line}: {module} (floor {floor(module)}) imports {target} (floor {floor(target)})"
        for module in FILES
        for target, line in imports(module)
        if target.split(".")[0] == "tunekit" and not allowed(module, target)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_core_names_no_tensor_library() -> None:
    core = [m for m in FILES if floor(m) < TORCH_SIDE]
    wrong = [f"{FILES[m]}:{line}: {n}" for m in core for n, line in imports(m) if n.split(".")[0] in HEAVY]
    assert not wrong, "\n".join(wrong)


def test_no_cycles() -> None:
    """Between modules, lazy imports included; a package's own `__init__` holds nothing but words."""
    edges = {m: {t for t, _ in imports(m) if t in FILES and t != m} for m in FILES}
    state: dict[str, int] = {}
    for start in FILES:
        stack = [(start, iter(sorted(edges[start])))] if not state.get(start) else []
        state.setdefault(start, 1)
        while stack:
            module, rest = stack[-1]
            found = next((t for t in rest if state.get(t) != 2), None)
            if found is None:
                state[module] = 2
                stack.pop()
                continue
            assert state.get(found) != 1, " → ".join([*(m for m, _ in stack), found])
            state[found] = 1
            stack.append((found, iter(sorted(edges[found]))))


def test_planning_loads_no_tensor_library() -> None:
    """Every core module imported for real, third-party imports included."""
    core = [m for m in FILES if floor(m) < TORCH_SIDE and m != "tunekit.__main__"]
    script = f"""
import importlib, sys
for name in {core!r}: importlib.import_module(name)
print(sorted({HEAVY | {"pyarrow", "numpy", "pandas", "tokenizers"}!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_data_rooms_load_no_torch() -> None:
    """Token workers import tokenizers and jinja2, not Transformers or torch (design §5)."""
    names = ["tunekit.steps.dataset.run", "tunekit.steps.tokens.run", "tunekit.steps.tokenizer.run", "tunekit.worker"]
    script = f"import importlib, sys\nfor n in {names!r}: importlib.import_module(n)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stdout + done.stderr


def test_files_are_short_and_named_for_what_they_do() -> None:
    long = {str(p): n for p in FILES.values() if (n := len(p.read_text().splitlines())) > LINES}
    assert not long
    vague = {"utils", "helpers", "common", "misc", "util", "base_utils"}
    assert not [str(p) for p in FILES.values() if p.stem in vague or p.parent.name in vague]
    assert not (PACKAGE.parent / "kernels" / "__init__.py").exists()


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in tree.body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        for item in members:
            if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)) and not item.name.startswith("_"):
                yield item


def test_public_functions_say_what_they_return() -> None:
    bare = [f"{FILES[m]}:{f.lineno}: {f.name}" for m in FILES for f in public_functions(TREES[m]) if f.returns is None]
    assert not bare, "\n".join(bare)


def test_rooms_are_complete() -> None:
    """Every registered room has a torch-free spec and, unless it is inlined, a run."""
    from tunekit import kinds

    for table in (kinds.TARGETS, kinds.METHODS, kinds.STEPS):
        for kind in table.values():
            assert kind.room + ".spec" in FILES
            assert kind.room + ".run" in FILES or kind.name in ("adapter", "files")  # nothing runs for these
            assert kind.spec_type().__doc__
