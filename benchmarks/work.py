"""Counts of the arithmetic and of the memory traffic that a piece of work cannot do without.

Legend: I inputs, O outputs of a layer, P numbers in the parameters, B rows of a batch, s bytes of a number.
Multiplications, additions, divisions and roots count 1 each. Activations and losses are left out: they cost
time, but none of it is arithmetic that a matrix peak could be compared with. Inputs that are 0 are counted
like others.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

# Operations for each parameter in one step, as the formulas in fastnn/kernels/optimizers.py are written.
UPDATE_FLOPS = {"sgd": 2, "momentum": 4, "nesterov": 6, "adam": 12}
# Numbers read and written for each parameter in one step: parameter, gradient and moments in; parameter and
# moments out.
UPDATE_NUMBERS = {"sgd": 3, "momentum": 5, "nesterov": 5, "adam": 7}
# One row at a time the gradient needs no vector of its own: the weights go by twice and come back once.
FUSED_NUMBERS = 3


@dataclass(frozen=True)
class Cost:
    """Operations, bytes through the nearest cache, and bytes from main memory if nothing stays in a cache."""

    flops: float
    l1_bytes: float
    memory_bytes: float

    def __mul__(self, times: float) -> Cost:
        return Cost(self.flops * times, self.l1_bytes * times, self.memory_bytes * times)

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flops + other.flops,
            self.l1_bytes + other.l1_bytes,
            self.memory_bytes + other.memory_bytes,
        )


@dataclass(frozen=True)
class Limit:
    """The least time that a machine needs, and what sets it."""

    seconds: float
    name: str  # 'arithmetic', 'L1 traffic' or 'memory traffic'


def n_parameters(sizes: tuple[int, ...]) -> int:
    """Weights and biases: sum of (I + 1) O."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def forward_flops(sizes: tuple[int, ...]) -> int:
    """Operations for one row forwards: 2 I O for the products and O for the biases of each layer."""
    return sum(2 * inputs * outputs + outputs for inputs, outputs in pairwise(sizes))


def backward_flops(sizes: tuple[int, ...]) -> int:
    """Operations for one row backwards: 2 I O + O a layer for its gradients, 2 I O for what goes on below
    it."""
    layers = list(pairwise(sizes))
    gradients = sum(2 * inputs * outputs + outputs for inputs, outputs in layers)
    return gradients + sum(2 * inputs * outputs for inputs, outputs in layers[1:])


def training_step(sizes: tuple[int, ...], batch_rows: int, solver: str, itemsize: int) -> Cost:
    """One step on `batch_rows` rows: forwards, backwards, update."""
    count = n_parameters(sizes)
    flops = batch_rows * (forward_flops(sizes) + backward_flops(sizes)) + UPDATE_FLOPS[solver] * count
    numbers = UPDATE_NUMBERS[solver] * count
    if batch_rows == 1:
        traffic = FUSED_NUMBERS * count + (UPDATE_NUMBERS[solver] - UPDATE_NUMBERS["sgd"]) * count
    else:
        # Weights are read on the way forward and back; the gradient is written before it is read.
        traffic = 3 * count + numbers
    data = batch_rows * (sizes[0] + sizes[-1])
    return Cost(flops, (traffic + data) * itemsize, (data + numbers) * itemsize)


def epoch(sizes: tuple[int, ...], n_rows: int, batch_rows: int, solver: str, itemsize: int) -> Cost:
    """All rows once; the last batch may be smaller."""
    full, rest = divmod(n_rows, batch_rows)
    cost = training_step(sizes, batch_rows, solver, itemsize) * full
    return cost + training_step(sizes, rest, solver, itemsize) if rest else cost


def steps_per_epoch(n_rows: int, batch_rows: int) -> int:
    return -(-n_rows // batch_rows)


def prediction(sizes: tuple[int, ...], n_rows: int, itemsize: int) -> Cost:
    """Outputs for `n_rows` rows in one call."""
    count = n_parameters(sizes)
    data = n_rows * (sizes[0] + sizes[-1])
    return Cost(n_rows * forward_flops(sizes), (count + data) * itemsize, (count + data) * itemsize)


def limit(cost: Cost, ceiling: dict[str, float], *, dtype: str, threads: int, footprint: float) -> Limit:
    """The largest of the times that arithmetic, L1 traffic and memory traffic need at full speed.

    `ceiling` holds rates in 1/s (see ceiling.py). Main memory counts only if `footprint`, the bytes that the
    work goes over again and again, exceeds the last cache. Peaks of several threads are those measured with
    all of them.
    """
    gemm = "sgemm" if dtype == "float32" else "dgemm"
    one, every = ceiling[f"{gemm}_1"], ceiling[f"{gemm}_all"]
    peak = one if threads == 1 else max(every, one)
    times = {"arithmetic": cost.flops / peak, "L1 traffic": cost.l1_bytes / (ceiling["l1"] * threads)}
    if footprint > ceiling["last_cache_bytes"]:
        times["memory traffic"] = cost.memory_bytes / ceiling["memory"]
    name = max(times, key=lambda key: times[key])
    return Limit(times[name], name)


def footprint(sizes: tuple[int, ...], n_rows: int, solver: str, itemsize: int) -> float:
    """Bytes that an epoch goes over: the data, the parameters, their gradient and moments."""
    vectors = {"sgd": 2, "momentum": 3, "nesterov": 3, "adam": 4}[solver]
    return itemsize * (n_rows * (sizes[0] + sizes[-1]) + vectors * n_parameters(sizes))
