"""What differs between two locks, as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tunekit.lockfile import Environment, FileEntry, Lock, RecipeBlock, ResultBlock, SourceBlock
from tunekit.plan.reason import Reason, settings_difference


class FileChange(NamedTuple):
    """A used file that is in one of the blocks only (the other is None), or has other bytes."""

    path: str
    old: FileEntry | None
    new: FileEntry | None


class SourceChange(NamedTuple):
    """A source that only one of the locks pins (the other is None), or that moved."""

    source: str
    old: SourceBlock | None
    new: SourceBlock | None

    @property
    def files(self) -> list[FileChange]:
        """By path. A block that is not there has no files."""
        old, new = ({f.path: f for f in b.files} if b else {} for b in (self.old, self.new))
        return [
            FileChange(path, old.get(path), new.get(path))
            for path in sorted({*old, *new})
            if old.get(path) != new.get(path)
        ]


class RecipeChange(NamedTuple):
    """A recipe that came into use, went out of it, or has other settings."""

    name: str
    old: RecipeBlock | None
    new: RecipeBlock | None

    @property
    def fields(self) -> list[Reason]:
        """What changed of one that is in both."""
        return settings_difference(self.old.settings, self.new.settings) if self.old and self.new else []

    def __str__(self) -> str:
        if self.old is None:
            return f"recipe {self.name}: new"
        if self.new is None:
            return f"recipe {self.name}: no longer used"
        return f"recipe {self.name}: " + ", ".join(map(str, self.fields))


class PackageChange(NamedTuple):
    """A distribution (or `python`) of a profile; None where it is not named."""

    profile: str
    package: str
    old: str | None
    new: str | None


class ResultChange(NamedTuple):
    """A promoted result of a label, before and after."""

    label: str
    old: ResultBlock | None
    new: ResultBlock | None


class LockDifference(NamedTuple):
    """Each list in the order of its names."""

    sources: list[SourceChange]
    recipes: list[RecipeChange]
    packages: list[PackageChange]
    results: list[ResultChange]

    def __bool__(self) -> bool:
        return any(self)


def lock_difference(old: Lock, new: Lock) -> LockDifference:
    sources = [
        SourceChange(name, old.sources.get(name), new.sources.get(name))
        for name in sorted({*old.sources, *new.sources})
        if old.sources.get(name) != new.sources.get(name)
    ]
    before, after = ({(r.label, r.key): r for r in lock.results} for lock in (old, new))
    results = [
        ResultChange(at[0], before.get(at), after.get(at))
        for at in sorted({*before, *after})
        if before.get(at) != after.get(at)
    ]
    recipes = recipe_changes(old.recipes, new.recipes)
    return LockDifference(sources, recipes, list(_packages(old, new)), results)


def recipe_changes(old: dict[str, RecipeBlock], new: dict[str, RecipeBlock]) -> list[RecipeChange]:
    return [
        RecipeChange(name, old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


_NO_PROFILE = Environment("", {})


def _packages(old: Lock, new: Lock) -> Iterator[PackageChange]:
    for name in sorted({*old.environments, *new.environments}):
        before, after = (_named(lock.environments.get(name, _NO_PROFILE)) for lock in (old, new))
        for package in sorted({*before, *after}, key=lambda p: (p != "python", p)):
            if before.get(package) != after.get(package):
                yield PackageChange(name, package, before.get(package), after.get(package))


def _named(profile: Environment) -> dict[str, str]:
    return {**({"python": profile.python} if profile.python else {}), **profile.packages}
