"""Moved to `tunekit.engine.best`: what is kept is no matter of one method."""

from tunekit.engine.best import Best, BestKeeper, copy_weights

__all__ = ["Best", "BestKeeper", "copy_weights"]
