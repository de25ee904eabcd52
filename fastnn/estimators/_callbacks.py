"""scikit-learn's callbacks, which came with 1.9; with older versions the estimators work without them.

`FitHooks` turns a run into the tree of tasks that callbacks know: one for `fit`, below it one an epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeVar

__all__ = ["CALLER", "CallbackSupportMixin", "FitHooks", "with_callbacks"]

if TYPE_CHECKING:
    from fastnn.estimators._base import BaseMLP

Method = TypeVar("Method", bound=Callable[..., Any])

# The `stacklevel` of warnings that point to the line that has called `fit`: `fit` calls what warns, and the
# decorator is one frame more.
CALLER = 3

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks

    CALLER = 4
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for the mixin of scikit-learn 1.9."""

    def with_callbacks(method: Method) -> Method:
        return method


class FitHooks:
    """The callbacks of one call of `fit`."""

    def __init__(self, model: BaseMLP, X: Any, y: Any, sample_weight: Any) -> None:
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._common = {"estimator": model, "X": X, "y": y, "metadata": metadata}
        self._model = model
        self._root = model._init_callback_context(max_subtasks=model.max_iter)
        self._epoch: Any = None
        self._root.call_on_fit_task_begin(**self._common)

    @classmethod
    def start(cls, model: BaseMLP, X: Any, y: Any, sample_weight: Any) -> Self | None:
        """Hooks for this fit, or None when no callback is attached: then there is nothing to pay."""
        return cls(model, X, y, sample_weight) if getattr(model, "_skl_callbacks", None) else None

    def begin_epoch(self, attributes: Callable[[], dict[str, Any]]) -> None:
        self._epoch = self._root.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._common, reconstruction_attributes=attributes)

    def end_epoch(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """Whether a callback asks to stop."""
        epoch, self._epoch = self._epoch, None
        return bool(epoch.call_on_fit_task_end(**self._common, reconstruction_attributes=attributes))

    def close_epochs(self) -> None:
        """End the epoch that was announced and then not run: every begin has its end."""
        if self._epoch is not None:
            self._epoch.call_on_fit_task_end(estimator=self._model)
            self._epoch = None

    def finish(self) -> None:
        self._root.call_on_fit_task_end(
            **self._common, reconstruction_attributes=self._model._fitted_attributes
        )
