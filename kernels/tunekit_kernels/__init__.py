"""Triton kernels used by tunekit. Importing this package imports neither torch nor triton.

The submodules load on first use, so a program that never calls a kernel does not pay for one:

    from tunekit_kernels import is_available
    from tunekit_kernels.reference import selective_log_softmax_reference      # plain torch
    from tunekit_kernels.selective_log_softmax import selective_log_softmax    # triton

``tunekit_kernels.selective_log_softmax`` is always the module, never the function of the same name:
re-exporting the function here would make the name mean one or the other by import order.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekit_kernels import availability, reference, selective_log_softmax
    from tunekit_kernels.availability import is_available

__all__ = ["availability", "is_available", "reference", "selective_log_softmax"]


def __getattr__(name: str) -> Any:
    """Import the submodule behind ``name`` on first access (PEP 562); AttributeError for any other name."""
    if name == "is_available":
        return importlib.import_module("tunekit_kernels.availability").is_available
    if name in __all__:
        return importlib.import_module(f"tunekit_kernels.{name}")
    raise AttributeError(f"module 'tunekit_kernels' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
