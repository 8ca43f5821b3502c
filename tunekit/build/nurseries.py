"""The nurseries of one build, by their group, and the folder that is the build's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tunekit.build.executor import Nursery, Running
from tunekit.kinds import kind_of
from tunekit.protocol import blank_of
from tunekit.store.store import Store


class Nurseries:
    """`traced`: under strace, for an audit. `on_death` is told of one that ended by itself: its group, and why."""

    def __init__(self, store: Store, traced: bool, on_death: Callable[[str, str], None]) -> None:
        self._folder = store.tmp / f"build-{os.getpid()}"
        self._traced = traced
        self._on_death = on_death
        self._alive: dict[str, Nursery] = {}

    def home(self) -> Path:
        """A folder for what libraries cache during this build; it goes with it."""
        self._folder.mkdir(exist_ok=True)
        return self._folder

    def blank(self, running: Running) -> str:
        """An empty file, if the action has left one."""
        return blank_of(self._folder, running.pid)

    def of(self, kind: str) -> Nursery:
        """The one that runs actions of a kind; its imports begin when it is first asked for."""
        group = kind_of(kind).preload
        if group in self._alive and not self._alive[group].listen():
            self.look_after()
        if group not in self._alive:
            self._alive[group] = Nursery(group, self.home(), traced=self._traced)
        return self._alive[group]

    def running(self, kind: str) -> Nursery:
        """The one that runs an action of a kind now."""
        return self._alive[kind_of(kind).preload]

    def look_after(self) -> None:
        """End those that are dead, and whatever they left. An action's own pipe tells of its end sooner, unless a
        process that it started holds that open."""
        for nursery in [n for n in self._alive.values() if not n.listen()]:
            del self._alive[nursery.group]
            why = nursery.why_dead()
            nursery.kill()
            self._on_death(nursery.group, why)

    def listen(self) -> None:
        """Take in who runs by now."""
        for nursery in self._alive.values():
            nursery.listen()

    def close(self) -> None:
        for nursery in self._alive.values():
            nursery.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
