"""Archives with any bytes changed are read or refused by name, never something else; and what is read is bounded."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunekit.errors import SourceError
from tunekit.sources.archive import members_of

FILES = {"demo-1.0/a.txt": b"alpha" * 40, "demo-1.0/" + "long/" * 40 + "b.txt": b"b", "demo-1.0/\u00e9": b""}


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in FILES.items():
            z.writestr(name, data)
    return out.getvalue()


def tarred(form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()[:8192]


SAMPLES = {
    "demo-1.0.zip": zipped(),
    "demo-1.0.tar": tarred(tarfile.PAX_FORMAT),
    "gnu-1.0.tar": tarred(tarfile.GNU_FORMAT),
}


def read_all(file: Path, name: str) -> int:
    total = 0
    for member in members_of(file, name):
        with member.open() as stream:
            while block := stream.read(1 << 16):
                total += len(block)
                assert total < 1 << 24
    return total


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_are_sound(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(SAMPLES[name])
    assert read_all(tmp_path / name, name) == sum(map(len, FILES.values()))


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes(name: str, data: st.DataObject, tmp_path: Path) -> None:
    body = bytearray(SAMPLES[name])
    edits = st.tuples(st.integers(0, len(body) - 1), st.binary(min_size=1, max_size=12))
    for at, value in data.draw(st.lists(edits, min_size=1, max_size=4)):
        body[at : at + len(value)] = value
    (tmp_path / name).write_bytes(body[: data.draw(st.integers(0, len(body)))] if data.draw(st.booleans()) else body)
    try:
        read_all(tmp_path / name, name)
    except SourceError as e:
        assert e.slug in ("archive-unsafe", "archive-corrupt", "archive-too-large"), e.slug
