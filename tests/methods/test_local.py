"""The worker's side of a project's method: it runs from its snapshot, and what it hands back is looked at."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
import tiny_stack as tiny

from tunekit.errors import ActionError
from tunekit.methods.local import run_file
from tunekit.protocol import Request

pytestmark = pytest.mark.torch
SAVE = """
from __future__ import annotations
import torch
from pathlib import Path
from typing import Annotated
import msgspec
from safetensors.torch import save_file
from tunekit.methods.spec import Run
from tunekit.spec import fields_of, semantic

class Mine(Run, frozen=True, kw_only=True):
    "Mine."
    scale: Annotated[float, semantic("Scale.")] = 2.0

def run(request, events):
    spec = msgspec.convert(request.spec, Mine)
    assert fields_of(Mine)["scale"].cls == "semantic"
    out = Path(request.out)
    for name in ("last", "best"):
        (out / name).mkdir()
        save_file({"w": torch.ones(2) * spec.scale}, out / name / "model.safetensors")
    (out / "empty").mkdir()
    events.effective(scale=spec.scale)
    RETURN
"""
Ask = Callable[[str], Request]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """A request whose snapshot has these lines instead of `RETURN`."""

    def make(lines: str) -> Request:
        code = tmp_path / "code" / "methods"
        code.mkdir(parents=True)
        (code / "mine.py").write_text(lines if "import" in lines else SAVE.replace("RETURN", lines))
        spec = {"model": "model:m", "data": ["dataset:a"], "scale": 3.0}
        request = tiny.request(tmp_path, "run.rows:methods/mine.py", spec)
        return request._replace(code_root=str(tmp_path / "code"))

    return make


def test_what_it_returns_is_the_result(ask: Ask) -> None:
    events = tiny.Recorder()
    request = ask('return {"main": "last", "last": "last", "best": "best"}')
    assert run_file("methods/mine.py", request, events) == {"main": "last", "last": "last", "best": "best"}
    assert events.settings == {"scale": 3.0}


@pytest.mark.parametrize(
    ("lines", "slug", "word"),
    [
        ("raise KeyError('x')", "method-raised", "methods/mine.py: run raised KeyError: 'x'"),
        ("raise msgspec.ValidationError('no')", "method-raised", "ValidationError"),
        ("from tunekit.errors import ActionError; raise ActionError('mine', slug='my-own')", "my-own", "mine"),
        ("return None", "method-result", "returned None"),
        ("pass", "method-result", "returned None"),
        ("return 'last'", "method-result", "'last'"),
        ("return {'main': out}", "method-result", "role"),
        ("return {'last': 'last'}", "method-result", "no `main`"),
        ("return {'main': 'last', 'A B': 'last'}", "method-result", "`A B`"),
        ("return {'main': 'lost'}", "method-result", "`lost`, which is no folder"),
        ("return {'main': '../staging'}", "method-result", "no folder in request.out"),
        ("return {'main': 'empty'}", "bad-weights", "no weights"),
        ("(out / 'last' / 'a.bin').write_bytes(b'x'); return {'main': 'last'}", "not-an-artifact", "last/a.bin"),
        ("save_file({'w': torch.tensor([float('nan')])}, out / 'last' / 'model.safetensors'); return {'main': 'last'}",
         "bad-weights", "NaN"),
        ("import no_such_module", "code-import-failed", "no_such_module"),
        ("import json\n", "code-no-function", "no function `run`"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_named(ask: Ask, lines: str, slug: str, word: str) -> None:
    text = SAVE.replace("RETURN", lines) if lines.startswith("from tunekit.errors") else lines
    with pytest.raises(ActionError) as found:
        run_file("methods/mine.py", ask(text), tiny.Recorder())
    assert found.value.slug == slug and word in found.value.message, found.value.message
