"""A method in a file of the project: the example of `tunekit docs methods`, trained for real."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tiny_project import Project

from tunekit.cli.docs import text_of

pytestmark = pytest.mark.torch
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", text_of("methods"), re.S)
TARGETS = """
[run.smooth]
method = "methods/smooth.py"
model = "model:m"
adapter = "adapter:lora"
data = ["dataset:chat"]
batch_size = 8
max_steps = 4
learning_rate = 1e-2
checkpoint_steps = 2
cpus = 1
smoothing = 0.0

[run.plain]
method = "sft"
model = "model:m"
adapter = "adapter:lora"
data = ["dataset:chat"]
batch_size = 8
max_steps = 4
learning_rate = 1e-2
cpus = 1

[merge.smooth]
inputs = ["run:smooth"]
"""
_LOAD = """
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
merged, exported = sys.argv[1:]
ids = AutoTokenizer.from_pretrained(merged)("the king", return_tensors="pt")["input_ids"]
want = AutoModelForCausalLM.from_pretrained(merged)(ids).logits
found = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(exported + "/base"), exported)(ids).logits
assert (found - want).abs().max() < 1e-4 and "tunekit" not in sys.modules
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Its loss is in a module of its own, so that there is a closure."""
    base = tmp_path_factory.mktemp("methods")
    project = Project(base / "project", base / "store")
    (project.root / "methods").mkdir()
    code = EXAMPLE.replace("torch.nn.functional.cross_entropy", "entropy").replace(
        "import torch\n", "import torch\nfrom losses import entropy\n"
    )
    (project.root / "methods" / "smooth.py").write_text(code)
    (project.root / "methods" / "losses.py").write_text("from torch.nn.functional import cross_entropy as entropy\n")
    with (project.root / "tunekit.toml").open("a") as file:
        file.write(TARGETS)
    executed = project.build("merge:smooth", "run:plain")
    assert {"run:smooth", "run:smooth#tokens", "run:plain", "merge:smooth"} <= set(executed)
    return project


def losses(project: Project, label: str, *words: str) -> list[float]:
    shown = json.loads(project.run("show", "--json", label, *words))
    return [p["loss"] for p in shown["metrics"]]


def test_without_smoothing_it_is_sft(built: Project) -> None:
    """The same model, rows and order through another loss function that is then the same."""
    assert losses(built, "run:smooth") == pytest.approx(losses(built, "run:plain"), rel=1e-4)
    record = json.loads(built.run("show", "--json", "run:smooth"))["record"]
    assert record["kind"] == "run.sft:methods/smooth.py"
    assert record["preimage"]["code"].keys() == {"methods/smooth.py", "methods/losses.py"}
    assert record["effective"]["trainable"]["parameters"] and record["effective"]["summary"]["steps"] == 4
    said = built.run("why", "run:smooth")
    assert "methods/losses.py" in said and "methods/smooth.py" in said


def test_its_artifact_loads_without_tunekit(built: Project, tmp_path: Path) -> None:
    merged = built.run("path", "merge:smooth").strip()
    built.run("export", "run:smooth", str(tmp_path / "adapter"))
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _LOAD, merged, str(tmp_path / "adapter")]
    subprocess.run(command, check=True, env=env, cwd=tmp_path, capture_output=True)


def test_an_edit_runs_it_alone_and_an_edit_back_runs_nothing(built: Project) -> None:
    built.edit("methods/smooth.py", "smoothed targets", "softened targets")
    assert "methods/smooth.py edited" in built.run("plan", "merge:smooth")
    assert built.build("merge:smooth", "run:plain") == ["run:smooth"], "the same bytes: the merge is cut off"
    built.edit("methods/losses.py", "cross_entropy as entropy\n", "cross_entropy\ndef entropy(*a, label_smoothing, "
               "**k): return cross_entropy(*a, label_smoothing=0.3, **k)\n")  # fmt: skip
    before = losses(built, "run:plain")
    assert built.build("merge:smooth", "run:plain") == ["run:smooth", "merge:smooth"]
    assert losses(built, "run:smooth")[0] > before[0] and losses(built, "run:smooth") != pytest.approx(before, rel=1e-3)
    built.edit("methods/losses.py", "cross_entropy\ndef entropy(*a, label_smoothing, **k): return cross_entropy(*a, "
               "label_smoothing=0.3, **k)\n", "cross_entropy as entropy\n")  # fmt: skip
    built.edit("methods/smooth.py", "softened targets", "smoothed targets")
    assert built.build("merge:smooth", "run:plain") == []


ROWS = """
import os
from pathlib import Path
from typing import Annotated

import msgspec
import torch

from tunekit.data.rowset import open_dataset
from tunekit.engine.loading import load_run
from tunekit.engine.saving import save_run
from tunekit.methods.spec import Run
from tunekit.spec import operational, semantic


class Nudge(Run, frozen=True, kw_only=True):
    "Moves every trained weight a little, once a row."

    by: Annotated[float, semantic("How far.")]
    marker: Annotated[str, operational("Fail as long as this file is missing.")]


def run(request, events):
    spec = msgspec.convert(request.spec, Nudge)
    if not os.path.exists(spec.marker):
        raise RuntimeError("not yet")
    loaded = load_run(spec, request)
    rows = sum(1 for source in request.inputs["data"] for _ in open_dataset(source.path).iter_rows())
    with torch.no_grad():
        for weight in loaded.model.parameters():
            weight.add_(spec.by * rows * weight.requires_grad)
    events.effective(summary={"rows": rows})
    save_run(loaded, request, Path(request.out) / "last")
    return {"main": "last", "last": "last"}
"""


def test_a_method_made_of_run_alone(built: Project, tmp_path: Path) -> None:
    """It sees the rows, and knows nothing of `--finish`: that it went on to its end is said, not hidden."""
    from safetensors.torch import load_file

    (built.root / "methods" / "nudge.py").write_text(ROWS)
    with (built.root / "tunekit.toml").open("a") as file:
        file.write(
            f'\n[run.nudge]\nmethod = "methods/nudge.py"\nmodel = "run:smooth"\ndata = ["dataset:prompts"]\nby = 0.25\n'
            f'marker = "{tmp_path}/marker"\n[merge.nudge]\ninputs = ["run:nudge"]\n'
        )
    process = built.start("build", "merge:nudge")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "error[method-raised]: run:nudge: methods/nudge.py: run raised RuntimeError: not yet" in err
    (tmp_path / "marker").touch()
    lines = [json.loads(x) for x in built.run("build", "--json", "--finish", "run:nudge", "merge:nudge").splitlines()]
    assert lines[-1]["executed"] == ["run:nudge", "merge:nudge"]
    assert [e["slug"] for e in lines if e["type"] == "warning"] == ["not-finished-early"]
    before, after = (
        load_file(Path(built.run("path", label).strip()) / "adapter_model.safetensors")
        for label in ("run:smooth", "run:nudge")
    )
    rows = json.loads(built.run("show", "--json", "run:nudge"))["record"]["effective"]["summary"]["rows"]
    assert rows == 32 and all(((after[n] - before[n]) - 0.25 * rows).abs().max() < 1e-4 for n in before)
