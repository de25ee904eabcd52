"""A network: an architecture with its parameters. Forward propagation, loss and gradient."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import kernels
from fastnn.architecture import Architecture
from fastnn.checks import (
    check_dtype,
    check_inputs,
    check_number,
    check_numbers,
    check_seed,
    check_targets,
    check_threads,
    check_weights,
)
from fastnn.engine import PARAMETERS, Predictor, Session, aligned_zeros, make_table


class Views(tuple[NDArray[Any], ...]):
    """Arrays that can be written into but not replaced: ``views[0] += 1`` and ``views[0][...] = 1``."""

    def __setitem__(self, index: int, array: NDArray[Any]) -> None:
        if array is not self[index]:
            raise TypeError(
                "an array of a network can't be replaced: write into it, `network.weights[0][...] = values`,"
                " or set all by `network.assign(weights, biases)`."
            )


class Network:
    """Parameters of an architecture.

    All weights and biases lie in one flat vector, `parameters`, in the engine's padded layout; `weights` and
    `biases` are views of it, so writing into them (``network.weights[0][...] = W``) changes the network, as
    `assign` does for all at once. Between them, the vector has numbers that have to stay 0.

    Parameters
    ----------
    architecture : Architecture
    dtype : float32 or float64

    Attributes
    ----------
    parameters : ndarray (P,)
    weights : tuple of ndarray (inputs, outputs), one a layer
    biases : tuple of ndarray (outputs,), one a layer

    Examples
    --------
    >>> from fastnn import Architecture, Network
    >>> network = Network.initialize(Architecture((2, 3, 1)), seed=0)
    >>> network.forward([[0.5, -1.0]]).shape
    (1, 1)
    >>> [a.shape for a in network.activations([[0.5, -1.0]])]
    [(1, 2), (1, 3), (1, 1)]
    """

    def __init__(self, architecture: Architecture, *, dtype: Any = np.float32) -> None:
        self.architecture = architecture
        if not isinstance(architecture, Architecture):
            raise TypeError(f"architecture must be a fastnn.Architecture; got {architecture!r}.")
        self.dtype = check_dtype(dtype)
        lanes = kernels.layout.vector_lanes(self.dtype)
        table, size = kernels.layout.parameter_table(architecture.layer_sizes, lanes)
        self._parameters = aligned_zeros((size,), self.dtype, PARAMETERS)
        weights, biases = views(table, self._parameters)
        self._weights, self._biases = Views(weights), Views(biases)
        self.predictor = Predictor(architecture.layer_sizes, architecture.codes, self._parameters)

    def __repr__(self) -> str:
        return f"Network({self.architecture!r}, dtype={self.dtype.name!r})"

    # The engine has the memory of these: what took their place would not count.
    @property
    def parameters(self) -> NDArray[Any]:
        return self._parameters

    @parameters.setter
    def parameters(self, array: NDArray[Any]) -> None:
        if array is not self._parameters:  # as it is after `network.parameters += step`
            raise AttributeError(
                "parameters can't be replaced: use `network.assign(weights, biases)`, or write into the"
                " views, `network.weights[0][...] = values`."
            )

    @property
    def weights(self) -> Views:
        return self._weights

    @property
    def biases(self) -> Views:
        return self._biases

    @classmethod
    def initialize(
        cls, architecture: Architecture, *, seed: Any = None, dtype: Any = np.float32
    ) -> "Network":
        """Random parameters: uniform in +-sqrt(6 / (inputs + outputs)), 2 for logistic (Glorot & Bengio,
        2010).

        `seed` is None, an int or a ``numpy.random.RandomState``; scikit-learn draws the same numbers from it.
        """
        random = check_seed("seed", seed)
        network = cls(architecture, dtype=dtype)
        factor = 2.0 if architecture.activation == "logistic" else 6.0
        for w, b in zip(network.weights, network.biases, strict=True):
            bound = np.sqrt(factor / sum(w.shape))
            w[...] = random.uniform(-bound, bound, w.shape)
            b[...] = random.uniform(-bound, bound, b.shape)
        return network

    @classmethod
    def from_arrays(
        cls, architecture: Architecture, weights: Any, biases: Any, *, dtype: Any = None
    ) -> "Network":
        """A network with given parameters: weights (inputs, outputs) and biases (outputs,), one a layer.

        `dtype` None is that of the first weights if they are float32, and float64 for all others.
        """
        weights = list_of("weights", weights)
        if dtype is None:
            single = weights and check_numbers("weights[0]", weights[0], None).dtype == np.float32
            dtype = np.float32 if single else np.float64
        network = cls(architecture, dtype=dtype)
        network.assign(weights, biases)
        return network

    def assign(self, weights: Any, biases: Any) -> None:
        """Copy weights and biases into the network; nothing is changed if a shape or a number is wrong."""
        weights, biases = list_of("weights", weights), list_of("biases", biases)
        checked: list[NDArray[Any]] = []
        for name, given, own in (("weights", weights, self.weights), ("biases", biases, self.biases)):
            arrays = [check_numbers(f"{name}[{i}]", array, self.dtype) for i, array in enumerate(given)]
            shapes, wanted = [array.shape for array in arrays], [array.shape for array in own]
            if shapes != wanted:
                raise ValueError(f"{name} must have the shapes {wanted}; got {shapes}.")
            if not all(np.isfinite(array).all() for array in arrays):
                raise ValueError(
                    f"{name} must be finite in {self.dtype}; they hold NaN, infinity or what is too large."
                )
            checked += arrays
        # By way of a new one, since what is given may be views of this network, and what lies between its own
        # is 0 only until training diverges.
        new = type(self)(self.architecture, dtype=self.dtype)
        for array, values in zip([*new.weights, *new.biases], checked, strict=True):
            array[...] = values
        self.parameters[...] = new.parameters

    def copy(self) -> "Network":
        """A network with parameters of its own."""
        other = type(self)(self.architecture, dtype=self.dtype)
        other.parameters[...] = self.parameters
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> "Network":
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        # The padded layout belongs to this machine: a pickle holds plain arrays.
        plain = [np.ascontiguousarray(array) for array in (*self.weights, *self.biases)]
        half = len(self.weights)
        return _restore, (self.architecture, plain[:half], plain[half:], self.dtype)

    def forward(self, X: Any, *, logits: bool = False, n_threads: int | None = None) -> NDArray[Any]:
        """Output (n, K) for X (n, I), an array or a SciPy sparse matrix; with `logits` the weighted sums
        before the output activation.
        """
        matrix = check_inputs(X, self.dtype, self.architecture.layer_sizes[0])
        return self.predictor(matrix, logits=logits, n_threads=check_threads(n_threads))

    def activations(self, X: Any) -> list[NDArray[Any]]:
        """What every layer puts out for X (n, I): X itself, each hidden layer, the output."""
        matrix = check_inputs(X, self.dtype, self.architecture.layer_sizes[0])
        hidden, output, _ = self.architecture.codes
        outputs = [matrix]
        for index in range(1, len(self.weights) + 1):
            code = output if index == len(self.weights) else hidden
            part = Predictor(self.architecture.layer_sizes[: index + 1], (hidden, code, 0), self.parameters)
            outputs.append(part(matrix, logits=False, n_threads=1))
        return outputs

    def loss(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *, alpha: float = 0.0
    ) -> float:
        """Mean loss of the rows plus ``alpha / 2 * sum(weights**2) / sum(sample_weight)``."""
        return self.loss_and_gradient(X, y, sample_weight, alpha=alpha)[0]

    def loss_and_gradient(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *, alpha: float = 0.0
    ) -> tuple[float, list[NDArray[Any]], list[NDArray[Any]]]:
        """Loss as in `loss`, with its gradient by the weights (inputs, outputs) and biases (outputs,) of each
        layer.

        `y` is (n,) or (n, K) real numbers, 0 and 1 for logistic outputs, class numbers (n,) for softmax.
        """
        matrix = check_inputs(X, self.dtype, self.architecture.layer_sizes[0])
        targets = check_targets(self.architecture, y, matrix.shape[0], self.dtype)
        weights = check_weights(sample_weight, matrix.shape[0], self.dtype)
        check_number("alpha", alpha, 0, np.inf, open_high=True)
        return Gradient(self, matrix, targets, weights, alpha=alpha)()


def list_of(name: str, arrays: Any) -> list[Any]:
    """`arrays`, one a layer, as a list."""
    try:
        return list(arrays)
    except TypeError as error:
        raise TypeError(f"{name} must be a list of arrays, one a layer; got {arrays!r}.") from error


def views(table: NDArray[Any], vector: NDArray[Any]) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Weights (I, O) and biases (O,) of each layer, without their padding, as views of a flat vector."""
    names = kernels.layout
    weights, biases = [], []
    for row in table:
        inputs, outputs, ld = int(row[names.INPUTS]), int(row[names.OUTPUTS]), int(row[names.LD])
        at, bias_at = int(row[names.WEIGHTS_AT]), int(row[names.BIAS_AT])
        weights.append(vector[at : at + inputs * ld].reshape(inputs, ld)[:, :outputs])
        biases.append(vector[bias_at : bias_at + outputs])
    return weights, biases


def _restore(architecture: Architecture, weights: Any, biases: Any, dtype: Any) -> Network:
    network = Network(architecture, dtype=dtype)
    # Without a check: a network that has diverged is copied as it is.
    for own, given in zip([*network.weights, *network.biases], [*weights, *biases], strict=True):
        own[...] = given
    return network


class Gradient:
    """Loss and gradient of a network on fixed, checked data, as often as an optimizer asks for them.

    In a `with` block its threads wait for the next call, else each call makes its own.
    """

    def __init__(
        self,
        network: Network,
        X: Any,
        y: NDArray[Any],
        sample_weight: NDArray[Any],
        *,
        alpha: float = 0.0,
        loss_scale: float = 1.0,
        n_threads: int | None = None,
    ) -> None:
        state, architecture = kernels.state, network.architecture
        n = X.shape[0]
        self._session = Session(
            architecture.layer_sizes, architecture.codes, network.parameters, n, n_threads
        )
        data = kernels.backprop.Data(make_table(X), y, sample_weight, np.arange(n))
        self._ints = np.zeros(state.N_INTS, dtype=np.int64)
        self._ints[[state.N_ROWS, state.EPOCHS, state.SOLVER]] = n, 1, kernels.codes.GRADIENT_ONLY
        self._reals = np.zeros(state.N_REALS)
        self._reals[[state.ALPHA, state.LOSS_SCALE, state.SHRINK]] = alpha, loss_scale, 1.0
        self._loss = np.zeros(1)
        control = self._session.control(self._ints, self._reals, self._loss, kernels.random.new_key())
        none = np.empty(0, dtype=network.dtype)
        self._session.bind(self._session.moments(none, none), data, control)
        self._views = views(self._session.layout.layers, self._session.gradients[0])
        self._team: Any = None

    def __enter__(self) -> "Gradient":
        self._team = kernels.team.Team(self._session.n_threads)
        return self

    def __exit__(self, *exception: object) -> None:
        self._team.__exit__(*exception)
        self._team = None

    def __call__(self) -> tuple[float, list[NDArray[Any]], list[NDArray[Any]]]:
        if self._team is None:
            with self:
                return self()
        state = kernels.state
        self._ints[[state.CURSOR, state.EPOCH, state.STATUS, state.BUDGET]] = 0, 0, state.RUNNING, 1
        self._session.advance(self._team)
        weights, biases = self._views
        return float(self._loss[0]), [w.copy() for w in weights], [b.copy() for b in biases]
