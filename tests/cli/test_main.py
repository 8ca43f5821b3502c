"""The command line where its surroundings are odd."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_folder_that_is_gone(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    program = f"cd {here} && rmdir {here} && exec {sys.executable} -m tunekit status"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, env=environment())
    assert done.returncode == 2 and "error[missing-file]: the folder that this is called in is gone" in done.stderr


def test_a_reader_of_the_usage_that_leaves():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "tunekit", "--help"], stdout=writer, stderr=subprocess.PIPE, env=environment()
    )
    os.close(writer)
    assert done.returncode == 0 and b"Traceback" not in done.stderr


def environment() -> dict[str, str]:
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return {**os.environ, "PYTHONPATH": folder}
