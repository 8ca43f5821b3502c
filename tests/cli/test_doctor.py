"""`tunekit doctor`: what is missing is found, nothing is told that nobody should know, torch stays away."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tunekit.errors import StoreError
from tunekit.report.doctor import machine, packages


def examined(call, tmp_path: Path) -> dict:
    done = call(tmp_path, "doctor", "--json")
    assert done.code == 0, done.err
    return done.json


def test_outside_of_a_project(call, tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEKIT_STORE", str(tmp_path / "store"))
    found = examined(call, tmp_path)
    assert found["python"].startswith("3.") and found["cpu"]["cores"] >= 1
    assert {"msgspec", "torch"} <= {p["name"] for p in found["packages"] if not p["extra"]}
    assert {"deepspeed", "gguf"} <= {p["extra"] for p in found["packages"]}
    assert not {p["extra"] for p in found["packages"]} & {"dev", "test", "test-s3"}
    assert all(c["ok"] for c in found["checks"] if c["needed"])
    assert not (tmp_path / "store").exists()  # it only looks
    names = [a["name"] for a in found["abilities"]]
    assert "method sft" in names and "method grpo" in names and "GGUF sources" in names


def test_secrets_are_not_told(call, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_nobodys-business")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for words in (["--json"], []):
        assert "nobodys-business" not in call(tmp_path, "doctor", *words).out
    found = examined(call, tmp_path)["settings"]
    assert found["HF_TOKEN"] and found["HF_HUB_OFFLINE"] and not found["WANDB_API_KEY"]
    assert set(map(type, found.values())) == {bool}


def test_a_package_that_is_missing_or_old(call, tmp_path, monkeypatch):
    real = packages.installed
    monkeypatch.setattr(packages, "installed", lambda n: {"trl": "0.9", "gguf": "-"}.get(n, real(n)))
    found = examined(call, tmp_path)
    assert not found["ok"]
    by_name = {a["name"]: a["missing"] for a in found["abilities"]}
    (trl,) = [m for m in by_name["method sft"] if m.startswith("trl")]
    assert trl.endswith("(installed: 0.9)") and any(m.startswith("gguf") for m in by_name["GGUF sources"])
    out = call(tmp_path, "doctor").out
    assert "NOT SOUND" in out and "!! trl" in out and "-- gguf" in out


def test_gpus_as_nvidia_smi_tells_of_them(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho 'NVIDIA H100, 81559, 80000, 550.54, 9.0'\necho 'Tesla T4, 15360, 1, 550.54, 7.5'\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(machine.shutil, "which", lambda name: str(program))
    h100, t4 = machine.gpus()
    assert (h100.name, h100.memory, h100.bf16) == ("NVIDIA H100", 81559 << 20, True) and not t4.bf16
    program.write_text("#!/bin/sh\necho 'No devices were found'\n")
    assert machine.gpus() == []
    program.write_text("#!/bin/sh\nexit 9\n")
    assert machine.gpus() == []


def test_a_system_that_lacks_something(monkeypatch, tmp_path):
    def refused(folder: Path) -> None:
        raise OSError(38, "Function not implemented")

    def broken(self) -> None:
        raise StoreError("the store has layout 1", slug="store-layout")

    (tmp_path / "store").mkdir()
    monkeypatch.setenv("TUNEKIT_STORE", str(tmp_path / "store"))
    monkeypatch.setitem(machine._PROBES, "files in memory (requests)", (True, refused))
    monkeypatch.setattr(machine.Store, "ensure", broken)
    found = {c.name: c for c in machine.checks()}
    assert not found["files in memory (requests)"].ok and "not implemented" in found["files in memory (requests)"].note
    assert not found["the store"].ok and "layout 1" in found["the store"].note
    assert found["hard links in the store"].ok


def test_it_loads_no_training_stack(tmp_path):
    script = (
        "import sys\nfrom tunekit.cli.main import run\nassert run(['doctor']) == 0\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'numpy', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "can run" in done.stdout and json.dumps(done.stdout)


def test_an_installed_package_without_its_source(monkeypatch, tmp_path):
    """Metadata is what there is then."""
    place = tmp_path / "site-packages" / "tunekit" / "__init__.py"
    monkeypatch.setattr(packages.tunekit, "__file__", str(place))
    told = ["msgspec>=0.20", 'gguf>=0.17; extra == "gguf"', 'pytest>=8; extra == "test"']
    monkeypatch.setattr(packages, "requires", lambda name: told)
    assert [(text.partition(">")[0], extra) for text, extra in packages._requirements()] == [
        ("msgspec", ""), ("gguf", "gguf")
    ]  # fmt: skip


@pytest.mark.parametrize("extra", ["kernels", "quant", "optimizers", "trackers"])
def test_extras_are_listed(extra):
    assert [p for p in packages.packages() if p.extra == extra]
