"""Small neural networks, compiled: full batch, mini-batches and single samples, with scikit-learn's methods.

>>> import fastnn
>>> from sklearn.datasets import load_iris
>>> X, y = load_iris(return_X_y=True)
>>> model = fastnn.MLPClassifier(batch_size="full", learning_rate_init=0.05, random_state=0).fit(X, y)
>>> bool(model.score(X, y) > 0.9)
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnn.architecture import Architecture
    from fastnn.estimators import MLPClassifier, MLPRegressor
    from fastnn.network import Network
    from fastnn.optimizers import SGD, Adam
    from fastnn.patching import patch_sklearn, unpatch_sklearn
    from fastnn.training import Trainer

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adam",
    "Architecture",
    "MLPClassifier",
    "MLPRegressor",
    "Network",
    "Trainer",
    "__version__",
    "patch_sklearn",
    "unpatch_sklearn",
]

# Public names arrive when they are first used (PEP 562): importing the package costs next to nothing, and
# Numba is imported by the first model, not by every program that only mentions fastnn.
_HOMES = {
    "Adam": "fastnn.optimizers",
    "Architecture": "fastnn.architecture",
    "MLPClassifier": "fastnn.estimators",
    "MLPRegressor": "fastnn.estimators",
    "Network": "fastnn.network",
    "SGD": "fastnn.optimizers",
    "Trainer": "fastnn.training",
    "patch_sklearn": "fastnn.patching",
    "unpatch_sklearn": "fastnn.patching",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fastnn' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
