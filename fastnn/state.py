"""What training has come to: counters, levels and moments, which the kernels read and write in place, and the
generator's key, which they take and give back.
"""

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import kernels
from fastnn.engine import FIRST, SECOND, aligned_zeros
from fastnn.kernels import codes
from fastnn.network import Network, views
from fastnn.optimizers import SGD, Adam

# What goes on between runs, by the names of kernels.state.
COUNTERS = ("STEP", "SAMPLES_SEEN", "NO_IMPROVEMENT", "RATE_CUTS", "EPOCH", "PATIENCE", "MONITOR")
LEVELS = ("RATE", "BEST", "TOL", "LOSS_SCALE")


class State:
    """Numbers of one training process of `network`, by the places that kernels.state gives them.

    Attributes
    ----------
    ints : int64 (N_INTS,), reals : float64 (N_REALS,)
    first, second : ndarray (P,), or (0,) where the optimizer has none
        Momentum, or Adam's running means of the gradient (times `unit_of_first`) and of its square.
    """

    optimizer: SGD | Adam
    first: NDArray[Any]
    second: NDArray[Any]

    def __init__(self, network: Network) -> None:
        names = kernels.state
        self.network = network
        self.ints = np.zeros(names.N_INTS, dtype=np.int64)
        self.reals = np.zeros(names.N_REALS)
        self.reals[[names.BEST, names.SHRINK]] = np.inf, 1.0

    def begin(self, optimizer: SGD | Adam) -> None:
        """The first step of this optimizer is next: no moments yet."""
        self.optimizer, names, ints, reals = optimizer, kernels.state, self.ints, self.reals
        ints[[names.SOLVER, names.STEP]] = optimizer.code, 0
        reals[[names.RATE, names.RATE_INIT]] = optimizer.learning_rate
        if isinstance(optimizer, Adam):
            rest = optimizer.beta_1, optimizer.beta_2, optimizer.epsilon
            reals[[names.BETA_1, names.BETA_2, names.EPSILON]] = rest
            reals[names.UNIT_OF_FIRST] = sqrt(1 - optimizer.beta_2) / (1 - optimizer.beta_1)
        else:
            reals[names.UNIT_OF_FIRST] = 1.0
            reals[[names.BETA_1, names.POWER_T]] = optimizer.momentum, optimizer.power_t
            ints[names.SCHEDULE] = codes.SCHEDULES[optimizer.schedule]
        shape, dtype = self.network.parameters.shape, self.network.dtype
        self.first = aligned_zeros(shape if optimizer.code != codes.SGD else (0,), dtype, FIRST)
        self.second = aligned_zeros(shape if optimizer.code == codes.ADAM else (0,), dtype, SECOND)

    def judge_by(self, monitor: int) -> None:
        """Whether losses or scores tell an improvement (`LOSS` or `SCORE` of kernels.state). What was best by
        the one is no measure for the other.
        """
        names = kernels.state
        if self.ints[names.MONITOR] != monitor:
            self.ints[[names.MONITOR, names.NO_IMPROVEMENT]] = monitor, 0
            self.reals[names.BEST] = np.inf

    @property
    def unit_of_first(self) -> float:
        """What `first` is multiplied by."""
        return float(self.reals[kernels.state.UNIT_OF_FIRST])

    def layers(self, moment: NDArray[Any]) -> list[NDArray[Any]]:
        """Views (inputs, outputs) and (outputs,) of a moment: all weights, then all biases."""
        layout = kernels.layout
        lanes = layout.vector_lanes(self.network.dtype)
        table, _ = layout.parameter_table(self.network.architecture.layer_sizes, lanes)
        weights, biases = views(table, moment)
        return [*weights, *biases]

    def saved(self) -> dict[str, Any]:
        """Plain numbers and arrays, without this machine's padding: what it takes to go on."""
        names = kernels.state
        return {
            "counters": {name: int(self.ints[getattr(names, name)]) for name in COUNTERS},
            "levels": {name: float(self.reals[getattr(names, name)]) for name in LEVELS},
            "unit_of_first": self.unit_of_first,
            "optimizer": self.optimizer,
            "moments": [[np.array(part) for part in self.layers(moment)] for moment in self._moments()],
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on where `saved` was taken, with a network of the same sizes and optimizer of the same kind."""
        names = kernels.state
        for name, count in saved["counters"].items():
            self.ints[getattr(names, name)] = count
        for name, level in saved["levels"].items():
            self.reals[getattr(names, name)] = level
        for moment, parts in zip(self._moments(), saved["moments"], strict=True):
            for view, part in zip(self.layers(moment), parts, strict=True):
                view[...] = part
        # Nothing else keeps the bits; an early version saved no optimizer, and betas may have been set since.
        if saved["unit_of_first"] != self.unit_of_first:
            self.first *= self.unit_of_first / saved["unit_of_first"]

    def _moments(self) -> list[NDArray[Any]]:
        return [moment for moment in (self.first, self.second) if moment.size]


def read_key(random_state: np.random.RandomState) -> NDArray[np.uint32]:
    """Mersenne Twister state as the shuffle kernel takes it."""
    key: NDArray[np.uint32] = kernels.random.new_key()
    n_words = kernels.random.WORDS
    _, key[:n_words], key[n_words], *_ = random_state.get_state()
    return key


def write_key(random_state: np.random.RandomState, key: NDArray[np.uint32]) -> None:
    """Let `random_state` go on after the kernel's draws."""
    name, _, _, has_gauss, gauss = random_state.get_state(legacy=True)
    # NumPy reads a list in 14 us and an array in 43.
    n_words = kernels.random.WORDS
    words: Any = key[:n_words].tolist()
    random_state.set_state((str(name), words, int(key[n_words]), int(has_gauss), float(gauss)))
