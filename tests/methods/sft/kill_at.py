"""Run the request in argv[1] and die by SIGKILL when step argv[2] is reported: no handler, no cleanup."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "engine"))
import tiny_stack as tiny

from tunekit.methods.sft.run import run
from tunekit.protocol import Request


class Deadly(tiny.Recorder):
    def progress(self, done: float, total: float, unit: str = "step", **figures: float) -> None:
        if done == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)


run(Request.from_json(Path(sys.argv[1]).read_text()), Deadly())
