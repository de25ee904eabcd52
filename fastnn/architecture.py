"""What a network is: its layers, activations and loss. A description; parameters are in network.py."""

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral

from fastnn.kernels.codes import ACTIVATIONS, LOSSES

HIDDEN_ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
OUTPUT_ACTIVATIONS = {
    "squared_error": ("identity", "logistic", "tanh", "relu"),
    "cross_entropy": ("softmax", "logistic"),
    "poisson": ("exp",),
}


def choose(parameter: str, value: str, known: tuple[str, ...]) -> str:
    """`value`, if it is one of `known`; otherwise an error that lists them."""
    if not isinstance(value, str) or value not in known:
        names = ", ".join(repr(name) for name in known)
        raise ValueError(f"{parameter} must be one of {names}; got {value!r}.")
    return value


@dataclass(frozen=True)
class Architecture:
    """Layers, activations and loss of a feed-forward network.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of each layer: inputs, any number of hidden layers (also none), outputs.
    activation : {'relu', 'identity', 'logistic', 'tanh'}
        Of the hidden layers.
    output_activation : {'identity', 'softmax', 'logistic', 'exp', 'tanh', 'relu'}
        Of the output layer. With ``loss='cross_entropy'`` softmax (one class of several) or logistic (each
        output a yes or no); with ``'poisson'`` exp; with ``'squared_error'`` any of the others.
    loss : {'squared_error', 'cross_entropy', 'poisson'}
        ``0.5 * sum((a - y)**2)``, ``-log p(y)`` and ``y log(y / a) - y + a``, summed over outputs, averaged
        over rows.

    Examples
    --------
    >>> from fastnn import Architecture
    >>> Architecture((64, 100, 10), output_activation="softmax", loss="cross_entropy").n_parameters
    7510
    """

    layer_sizes: tuple[int, ...]
    activation: str = "relu"
    output_activation: str = "identity"
    loss: str = "squared_error"

    def __post_init__(self) -> None:
        sizes = tuple(self.layer_sizes) if isinstance(self.layer_sizes, Iterable) else ()
        if len(sizes) < 2 or not all(isinstance(size, Integral) and size >= 1 for size in sizes):
            raise ValueError(
                "layer_sizes must be at least two integers >= 1, inputs first and outputs last; "
                f"got {self.layer_sizes!r}."
            )
        object.__setattr__(self, "layer_sizes", tuple(int(size) for size in sizes))
        choose("activation", self.activation, HIDDEN_ACTIVATIONS)
        choose("loss", self.loss, tuple(LOSSES))
        choose(
            f"output_activation with loss={self.loss!r}",
            self.output_activation,
            OUTPUT_ACTIVATIONS[self.loss],
        )
        if self.output_activation == "softmax" and sizes[-1] < 2:
            raise ValueError(
                "softmax needs at least 2 outputs; for one output take output_activation='logistic'."
            )

    @property
    def n_parameters(self) -> int:
        """Weights and biases together."""
        pairs = zip(self.layer_sizes, self.layer_sizes[1:], strict=False)
        return sum((inputs + 1) * outputs for inputs, outputs in pairs)

    @property
    def codes(self) -> tuple[int, int, int]:
        """Hidden activation, output activation and loss as the kernels know them."""
        return ACTIVATIONS[self.activation], ACTIVATIONS[self.output_activation], LOSSES[self.loss]
