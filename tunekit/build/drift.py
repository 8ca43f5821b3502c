"""Where what is installed differs from what the lock says, by profile."""

from __future__ import annotations

from typing import NamedTuple

from tunekit.build import environment
from tunekit.graph import Graph
from tunekit.lockfile import Environment
from tunekit.plan.inputs import Inputs
from tunekit.plan.state import ABSENT

DEFAULT = "default"


class Drift(NamedTuple):
    """A distribution, or `python`, whose minor version counts. `installed`: `-` if it is not there."""

    package: str
    locked: str
    installed: str
    profile: str = DEFAULT


def of(inputs: Inputs) -> list[Drift]:
    """Of the environment that tunekit runs in, sorted; nothing where the lock does not pin it."""
    profile = inputs.lock.environments.get(DEFAULT)
    if profile is None:
        return []
    have = {name: inputs.version(name) for name in profile.packages}
    return _differing(DEFAULT, profile, Environment(environment.python(), have))


def of_profiles(inputs: Inputs, graph: Graph) -> list[Drift]:
    """Of the other environments that the project declares and the lock pins."""
    found = []
    for name, path in sorted(graph.profiles.items()):
        profile = inputs.lock.environments.get(name)
        if profile is not None:
            have = environment.at(inputs.root, path) or Environment(ABSENT, {})
            found += _differing(name, profile, have)
    return found


def note(inputs: Inputs, graph: Graph) -> None:
    """Keep in the state whether there is any, for a `status` that finds nothing changed and plans nothing."""
    found = bool(of(inputs) or of_profiles(inputs, graph))
    if inputs.state.packages.get("drift", False) != found:
        inputs.state.packages["drift"] = found
        inputs.state.redrawn = True


def _differing(name: str, locked: Environment, have: Environment) -> list[Drift]:
    out = [Drift("python", locked.python, have.python, name)] if _minor(locked.python) != _minor(have.python) else []
    return out + [
        Drift(package, want, found, name)
        for package, want in sorted(locked.packages.items())
        if (found := have.packages.get(package, ABSENT)) != want
    ]


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
