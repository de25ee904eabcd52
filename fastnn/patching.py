"""Floor 6: put fastnn's estimators in the place of scikit-learn's, for programs that are not to be edited."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from fastnn.estimators import MLPClassifier, MLPRegressor
from fastnn.estimators._convert import ORIGINALS

_PAIRS = [(ORIGINALS[kind.__name__], kind) for kind in (MLPClassifier, MLPRegressor)]

# (module, name, original): what `unpatch_sklearn` puts back.
_replaced: list[tuple[ModuleType, str, Any]] = []


def patch_sklearn(*, verbose: bool = True) -> None:
    """Replace scikit-learn's MLPClassifier and MLPRegressor by fastnn's.

    Later imports get fastnn's classes, and so do the global names of modules that have imported the originals
    already. What other objects hold (an instance, a class attribute, a default argument) stays as it is, and
    pickles of the originals still load as originals.

    Parameters
    ----------
    verbose : bool, default=True
        Say so in one line on stderr.

    Examples
    --------
    >>> import fastnn, sklearn.neural_network
    >>> fastnn.patch_sklearn(verbose=False)
    >>> sklearn.neural_network.MLPClassifier.__module__.split(".")[0]
    'fastnn'
    >>> fastnn.unpatch_sklearn()
    """
    for module in list(sys.modules.values()):
        if _may_change(module):
            _replace_names(module)
    if verbose:
        print("fastnn: MLPClassifier and MLPRegressor of scikit-learn now run on fastnn.", file=sys.stderr)


def unpatch_sklearn() -> None:
    """Put scikit-learn's classes back wherever `patch_sklearn` replaced them and nobody else has since."""
    ours = dict(_PAIRS)
    while _replaced:
        module, name, original = _replaced.pop()
        if vars(module).get(name) is ours[original]:
            setattr(module, name, original)


def _may_change(module: ModuleType | None) -> bool:
    """Not fastnn's modules, which mean the originals; not the originals' own, where pickle looks for them."""
    name = getattr(module, "__name__", None)
    if not isinstance(module, ModuleType) or not isinstance(name, str):
        return False
    return name.split(".")[0] != "fastnn" and name not in {original.__module__ for original, _ in _PAIRS}


def _replace_names(module: ModuleType) -> None:
    for name, value in list(vars(module).items()):
        for original, kind in _PAIRS:
            if value is original:
                setattr(module, name, kind)
                _replaced.append((module, name, original))
