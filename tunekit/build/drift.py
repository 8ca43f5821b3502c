"""Where the installed environment differs from the locked one."""

from __future__ import annotations

from tunekit.plan.inputs import Inputs


def of(inputs: Inputs) -> list[tuple[str, str, str]]:
    """`(distribution, locked version, installed version)`, sorted."""
    profile = inputs.lock.environments.get("default")
    if profile is None:
        return []
    return [(n, want, have) for n, want in sorted(profile.packages.items()) if (have := inputs.version(n)) != want]
