"""Numbers only: compiled loops over NumPy arrays. Nothing here knows a class, a file or an estimator.

One legend for every kernel. Sizes: B rows of the batch, T rows of a tile, I inputs, O outputs, L layers,
P parameters. Arrays: `x` the input of a layer, `z` the weighted sum before the activation, `a` after it,
`delta` the derivative of the loss with respect to `z`; `dw`, `db`, `dx` gradients.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Entry points are found when they are first used: what only reads `codes` does not import Numba.
_HOMES = {
    "predict": "fastnn.kernels.loops",
    "train": "fastnn.kernels.loops",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fastnn.kernels' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
