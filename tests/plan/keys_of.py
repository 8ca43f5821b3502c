"""Keys of a project without building it: what is not known is given a digest made of the label or of the key.

`python keys_of.py ROOT` prints them as JSON: for runs in other environments.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tunekit.hashing import sha256_bytes
from tunekit.lockfile import empty_lock
from tunekit.manifest.project import Manifest, load
from tunekit.manifest.scope import build_graph
from tunekit.plan.inputs import Inputs
from tunekit.plan.planner import Planner
from tunekit.plan.state import State
from tunekit.store.store import Store

SAMPLE = {
    "tunekit.toml": """
[project]
name = "sample"

[dataset.chat]
source = "path:chat.jsonl"
format = "chat"
map = "data.py:chat"
args = { n = 1 }

[dataset.prompts]
source = "path:prompts.jsonl"
format = "prompt"

[dataset.made]
source = "make:data.py:make"
format = "completion"
seed = 1

[dataset.mixed]
from = ["dataset:chat", "dataset:made"]
format = "chat"

[dataset.corpus]
source = "path:corpus.jsonl"
format = "completion"

[tokenizer.words]
data = ["dataset:made"]
vocab_size = 300

[model.tiny]
config = { model_type = "llama", hidden_size = 8 }
tokenizer = "tokenizer:words"

[adapter.lora]
r = 4

[run.sft]
method = "sft"
model = "model:tiny"
adapter = "adapter:lora"
data = ["dataset:chat", { dataset = "dataset:made", weight = 0.5, limit = 3 }]
eval_data = ["dataset:made"]

[run.full]
method = "sft"
model = "model:tiny"
data = ["dataset:made"]

[run.stream]
method = "sft"
model = "model:tiny"
data = ["dataset:corpus", { dataset = "dataset:made", weight = 0.5 }]
eval_data = ["dataset:made"]
streaming = true
overlong = "split"
max_steps = 5

[run.grpo]
method = "grpo"
model = "run:sft"
data = ["dataset:prompts"]
rewards = [{ fn = "rewards.py:right", weight = 2.0 }, { fn = "rewards.py:short" }]

[merge.final]
inputs = ["run:grpo"]

[eval.loss]
model = "merge:final"
data = ["dataset:made"]

[eval.score]
model = "run:grpo"
data = ["dataset:prompts"]
scorer = "rewards.py:right"
""",
    "chat.jsonl": '{"q": "a", "a": "b"}\n',
    "corpus.jsonl": '{"text": "a"}\n',
    "prompts.jsonl": '{"prompt": "1+1"}\n',
    "other.jsonl": '{"prompt": "1+2"}\n',
    "data.py": "import shapes\ndef chat(row, n): return shapes.turns(row)\ndef make(seed): return []\n",
    "shapes.py": "def turns(row): return row\n",
    "rewards.py": "from checks.numbers import same\n"
    "def right(completions): return []\ndef short(completions): return []\n",
    "checks/__init__.py": "",
    "checks/numbers.py": "def same(a, b): return a == b\n",
    "unused.py": "import rewards\n",
}


def write_sample(root: Path) -> None:
    for path, text in SAMPLE.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def manifest_of(root: Path) -> Manifest:
    problems: list[Any] = []
    manifest = load(root, [], problems)
    build_graph(manifest, problems)
    return manifest


def keys_of(manifest: Manifest, *, by: str = "key") -> dict[str, str]:
    """Label → key, through every room's `derive` and the planner. `by="label"`: a change stays where it is made;
    `by="key"`: it goes on to whatever reads it."""
    graph, _ = build_graph(manifest, [])
    root = manifest.root
    planner = Planner(graph, State(root), Store(root / "no-store"), Fixed(root, State(root), empty_lock()))
    out = {}
    for label in graph.actions:
        node = planner.evaluate(label)
        assert node.key, (label, node.reasons)
        out[label] = node.key
        if node.outputs is None:
            made = label if by == "label" else node.key
            node.outputs = {role: sha256_bytes(f"{made} {role}".encode()) for role in ("main", "last", "best")}
    return out


class Fixed(Inputs):
    """The project's own bytes, and versions of packages that never change."""

    def version(self, package: str) -> str:
        return "1.0"


if __name__ == "__main__":
    print(json.dumps(keys_of(manifest_of(Path(sys.argv[1])))))
