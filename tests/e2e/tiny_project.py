"""The tiny project of this folder in a copy with a store of its own, driven through the real command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent / "project"
LINE = "the king and the rose went to the sword and the love of the king was a rose in the land number"


class Project:
    """A copy of the tiny project with a store of its own."""

    def __init__(self, root: Path, store: Path) -> None:
        self.root = root
        self.store = store
        shutil.copytree(PROJECT, root)
        rows = [json.dumps({"text": f"{LINE} {i}"}) for i in range(40)]
        (root / "text.jsonl").write_text("\n".join(rows) + "\n")

    @property
    def env(self) -> dict[str, str]:
        config = str(self.store.parent / "config")
        return {**os.environ, "TUNEKIT_STORE": str(self.store), "TUNEKIT_TRUST": "1", "TUNEKIT_CONFIG": config}

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tunekit", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.root, env=self.env, text=True, stdout=pipe, stderr=pipe)

    def run(self, *words: str, code: int = 0) -> str:
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, out + err
        return out

    def build(self, *words: str) -> list[str]:
        """Labels that were executed, in order."""
        return self.summary(*words)["executed"]

    def summary(self, *words: str) -> dict:
        lines = [json.loads(line) for line in self.run("build", "--json", *words).splitlines()]
        return lines[-1]

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def digests(self) -> dict[str, str]:
        """Label → digest of the current result."""
        nodes = json.loads(self.run("plan", "--json"))["actions"]
        return {n["label"]: n["outputs"]["main"] for n in nodes if n["outputs"]}


def children_of(project: Project) -> list[str]:
    """Processes that were started for this project's store and still run."""
    out = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            env, state = (folder / "environ").read_bytes(), (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if f"TUNEKIT_STORE={project.store}".encode() in env and state != "Z":
            out.append(folder.name)
    return out
