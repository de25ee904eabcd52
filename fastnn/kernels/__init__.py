"""Numbers only: compiled loops over NumPy arrays. Nothing here knows a class, a file or an estimator.

One legend for every kernel. Sizes: B rows of the batch, T rows of a tile, R rows of a panel, I inputs, O
outputs, L layers, P parameters. Arrays: `x` the input of a layer, `z` the weighted sum before the activation,
`a` after it, `delta` the derivative of the loss with respect to `z`; `dw`, `db`, `dx` gradients.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_ENTRIES = {"predict": "loops", "train": "loops", "train_samples": "loops", "train_small": "small"}
_MODULES = (
    *("backprop", "codes", "layout", "meeting", "optimizers", "random"),
    *("sparse", "state", "team", "zeros"),
)


# Both are imported when they are first used: what only describes a network does not import Numba.
def __getattr__(name: str) -> Any:
    if name in _ENTRIES:
        value = getattr(import_module(f"fastnn.kernels.{_ENTRIES[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"fastnn.kernels.{name}")
    else:
        raise AttributeError(f"module 'fastnn.kernels' has no attribute {name!r}")
    globals()[name] = value
    return value
