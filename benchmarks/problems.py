"""The works that are timed: a network, its data, a way to train it or to use it. A description and a maker of
arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import work

FULL = 0  # as `batch`: all rows
DIGITS_ROWS = 1797


@dataclass(frozen=True)
class Problem:
    """One piece of work, the same for every library.

    `kind` is 'train' (whole epochs, rows shuffled before each), 'online' (one call of the library for each
    row) or 'predict' (`batch` rows in one call). `data` names a maker in DATA, or an .npz file with X and y.
    """

    name: str
    sizes: tuple[int, ...]
    rows: int
    batch: int
    solver: str = "sgd"  # sgd, momentum, adam
    learning_rate: float = 1e-3
    activation: str = "relu"
    task: str = "classification"  # softmax and cross-entropy; 'regression': identity and squared error
    data: str = "classes"
    dtype: str = "float32"
    kind: str = "train"
    check_epochs: int = 2  # epochs from the same start after which the losses are compared

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}; got {self.activation!r}.")

    @property
    def batch_rows(self) -> int:
        return self.batch or self.rows

    @property
    def steps(self) -> int:
        """Steps (or calls) in one epoch."""
        return work.steps_per_epoch(self.rows, self.batch_rows)

    @property
    def cost(self) -> work.Cost:
        """Of one epoch."""
        itemsize = np.dtype(self.dtype).itemsize
        if self.kind == "predict":
            return work.prediction(self.sizes, self.batch_rows, itemsize) * self.steps
        return work.epoch(self.sizes, self.rows, self.batch_rows, self.solver, itemsize)

    @property
    def footprint(self) -> float:
        return work.footprint(self.sizes, self.rows, self.solver, np.dtype(self.dtype).itemsize)

    @property
    def title(self) -> str:
        """What it is, for a reader of the report."""
        middle = self.sizes[1:-1]
        deep = len(middle) > 3 and len(set(middle)) == 1
        inner = (f"{len(middle)}x{middle[0]}",) if deep else tuple(map(str, middle))
        network = "-".join((str(self.sizes[0]), *inner, str(self.sizes[-1])))
        network += "" if self.activation == "relu" else f" {self.activation}"
        if self.kind == "predict":
            how = "predict, one row" if self.batch_rows == 1 else f"predict, {self.batch_rows:,} rows"
        elif self.kind == "online":
            how = f"stream of single rows, {SOLVERS[self.solver]}"
        else:
            batch = f"full batch of {self.rows:,}" if self.batch == FULL else f"batch {self.batch}"
            how = f"{batch}, {SOLVERS[self.solver]}"
        how += ", mostly zeros" if self.data == "pictures" else ""
        return f"{network}, {how}" + ("" if self.dtype == "float32" else f", {self.dtype}")


ACTIVATIONS = ("relu", "tanh")  # that every library's module knows
SOLVERS = {"sgd": "plain SGD", "momentum": "momentum", "adam": "Adam"}
DIGITS = Problem("digits", (64, 100, 10), DIGITS_ROWS, 1, learning_rate=0.01, data="digits")
WIDE = Problem("wide", (1024, 1024, 1024, 10), 4096, 1024, "adam", 1e-4, check_epochs=2)
MOMENTUM = 0.9


def _digits(suffix: str, batch: int, solver: str, rate: float, check_epochs: int = 2) -> Problem:
    name = f"digits-{suffix}"
    return replace(
        DIGITS, name=name, batch=batch, solver=solver, learning_rate=rate, check_epochs=check_epochs
    )


# The works of the comparison, in the order of the report. Each also exists in double: NAME@float64.
PROBLEMS = {
    problem.name: problem
    for problem in (
        _digits("sgd", 1, "sgd", 0.01),
        _digits("momentum", 1, "momentum", 0.001),
        _digits("1-adam", 1, "adam", 0.001),
        _digits("8-adam", 8, "adam", 0.001),
        _digits("32-adam", 32, "adam", 0.001, 3),
        _digits("200-sgd", 200, "sgd", 0.1, 10),
        _digits("200-adam", 200, "adam", 0.001, 10),
        _digits("full", FULL, "sgd", 0.1, 30),
        _digits("full-adam", FULL, "adam", 0.001, 30),
        Problem(
            "regression-256",
            (32, 64, 64, 1),
            100_000,
            256,
            "adam",
            task="regression",
            data="smooth",
            check_epochs=1,
        ),
        # What `MLPRegressor()` does with a table of a few columns, like the houses of California.
        Problem("table-200", (8, 100, 1), 20_000, 200, "adam", task="regression", data="smooth"),
        Problem("image-128", (784, 256, 128, 10), 6400, 128, "adam"),
        Problem("pictures-128", (784, 256, 128, 10), 6400, 128, "adam", data="pictures"),
        WIDE,
        Problem("shallow-2048", (64, 2048, 10), 1797, 128, "adam", data="digits"),
        Problem(
            "matrix-exp",
            (4, 32, 16, 4),
            10_000,
            FULL,
            "adam",
            0.01,
            "tanh",
            "regression",
            "expm",
            check_epochs=20,
        ),
        Problem("deep-20", (32, *[32] * 20, 10), 6400, 64, "adam", 1e-4),
        replace(_digits("stream", 1, "sgd", 0.01), name="stream", kind="online", rows=500),
        replace(_digits("", 1, "sgd", 0.01), name="predict-one", kind="predict", rows=500),
        Problem("predict-100k", (64, 100, 10), 100_000, FULL, kind="predict"),
    )
}


def get(name: str) -> Problem:
    """A problem by its name, or NAME@float64; an unknown name answers with the known ones."""
    base, _, dtype = name.partition("@")
    if base not in PROBLEMS or dtype not in ("", "float32", "float64"):
        raise ValueError(f"unknown problem {name!r}; known: {', '.join(PROBLEMS)}, each also with @float64.")
    problem = PROBLEMS[base]
    return replace(problem, name=name, dtype=dtype) if dtype == "float64" else problem


def load(problem: Problem) -> tuple[NDArray[Any], NDArray[Any]]:
    """X (n, I) and y: class numbers (n,), or (n, K) of the problem's dtype. The same on every machine and in
    every process."""
    if problem.data.endswith(".npz"):
        with np.load(problem.data) as arrays:
            X, y = arrays["X"], arrays["y"]
    else:
        X, y = DATA[problem.data](problem, np.random.default_rng(20))
    X = np.ascontiguousarray(X[: problem.rows], dtype=problem.dtype)
    if problem.task == "classification":
        return X, np.ascontiguousarray(y[: problem.rows], dtype=np.int64)
    y = np.ascontiguousarray(y[: problem.rows], dtype=problem.dtype)
    return X, y.reshape(len(y), -1)


def initial(problem: Problem) -> tuple[list[NDArray[Any]], list[NDArray[Any]], np.random.RandomState]:
    """First weights (I, O) and biases (O,) as scikit-learn draws them from seed 0, and the state that goes on
    to shuffle."""
    random = np.random.RandomState(0)
    weights, biases = [], []
    for inputs, outputs in zip(problem.sizes, problem.sizes[1:], strict=False):
        bound = np.sqrt((2.0 if problem.activation == "logistic" else 6.0) / (inputs + outputs))
        weights.append(random.uniform(-bound, bound, (inputs, outputs)).astype(problem.dtype))
        biases.append(random.uniform(-bound, bound, outputs).astype(problem.dtype))
    return weights, biases, random


def from_arrays(
    X: Any,
    y: Any,
    file: Path,
    *,
    hidden: tuple[int, ...] = (100,),
    batch: int = 32,
    solver: str = "adam",
    **more: Any,
) -> Problem:
    """A problem on your own data, kept in `file` (.npz) for processes that are started later.

    Whole or text targets are classes, real ones a regression; pass ``task`` to decide otherwise. `more` are
    further fields of Problem: learning_rate, activation, dtype, ...
    """
    X, y = np.asarray(X), np.asarray(y)
    if X.ndim != 2 or len(X) != len(y):
        raise ValueError(f"X must be (n, I) with a row of y for each; got X {X.shape} and y {y.shape}.")
    task = more.pop("task", "regression" if y.dtype.kind == "f" or y.ndim > 1 else "classification")
    if task == "classification":
        names, y = np.unique(y, return_inverse=True)
        outputs = len(names)
    else:
        y = y.reshape(len(y), -1)
        outputs = y.shape[1]
    file = Path(file).with_suffix(".npz")
    np.savez(file, X=X, y=y)
    sizes = (X.shape[1], *hidden, outputs)
    name = more.pop("name", file.stem)
    return Problem(name, sizes, len(X), min(batch, len(X)), solver, task=task, data=str(file), **more)


def pieces(problem: Problem, X: Any, y: Any) -> list[tuple[Any, Any]]:
    """The rows of each call of the library, for the kinds 'online' and 'predict'."""
    step = problem.batch_rows
    return (
        [(X[i : i + step], y[i : i + step]) for i in range(0, len(X), step)]
        if problem.kind != "train"
        else []
    )


def loss(problem: Problem, X: Any, y: Any, weights: list[Any], biases: list[Any]) -> float:
    """Mean loss over all rows, in plain NumPy and in double: the judge of what every library has learned."""
    a = np.asarray(X, dtype=np.float64)
    for index, (w, b) in enumerate(zip(weights, biases, strict=True)):
        a = a @ np.asarray(w, dtype=np.float64) + np.asarray(b, dtype=np.float64)
        if index < len(weights) - 1:
            a = np.maximum(a, 0) if problem.activation == "relu" else np.tanh(a)
    if problem.task == "regression":
        return float(0.5 * np.mean(np.sum((a - y) ** 2, axis=1)))
    a = a - a.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(a).sum(axis=1)) - a[np.arange(len(a)), y]))


def mean_log_loss(probabilities: Any, y: Any) -> float:
    """Cross-entropy of predicted probabilities (n, K), floored where a float32 rounds to 0."""
    own = np.asarray(probabilities, dtype=np.float64)[np.arange(len(y)), y]
    return float(-np.mean(np.log(np.maximum(own, 1e-30))))


def _load_digits(problem: Problem, random: np.random.Generator) -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16.0, y


def _pictures(problem: Problem, random: np.random.Generator) -> tuple[Any, Any]:
    """The digits as pictures of 28 x 28 pixels, with thin lines, not always in the middle: 15 % is not 0."""
    from scipy.ndimage import zoom

    X, y = _load_digits(problem, random)
    chosen = np.arange(problem.rows) % len(X)
    dark = np.maximum(zoom(X.reshape(-1, 8, 8), (1, 2.5, 2.5), order=1) - 0.55, 0) / 0.45
    pictures = np.pad(dark[chosen], ((0, 0), (4, 4), (4, 4)))
    for picture, move in zip(pictures, random.integers(-3, 4, (problem.rows, 2)), strict=True):
        picture[:] = np.roll(picture, move, (0, 1))
    return pictures.reshape(problem.rows, -1), y[chosen]


def _load_iris(problem: Problem, random: np.random.Generator) -> tuple[Any, Any]:
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def _classes(problem: Problem, random: np.random.Generator) -> tuple[Any, Any]:
    """Rows around one centre a class, with as much noise as makes them overlap a little."""
    inputs, classes = problem.sizes[0], problem.sizes[-1]
    y = random.integers(classes, size=problem.rows)
    centres = random.normal(size=(classes, inputs)) / np.sqrt(inputs) * 3
    return centres[y] + random.normal(size=(problem.rows, inputs)), y


def _smooth(problem: Problem, random: np.random.Generator) -> tuple[Any, Any]:
    X = random.normal(size=(problem.rows, problem.sizes[0]))
    directions = random.normal(size=(problem.sizes[0], problem.sizes[-1])) / np.sqrt(problem.sizes[0])
    return X, np.sin(2 * X @ directions) + 0.1 * random.normal(size=(problem.rows, problem.sizes[-1]))


def _expm(problem: Problem, random: np.random.Generator) -> tuple[Any, Any]:
    """Exponentials of 2 x 2 matrices, as in the documentation of SimpleChains.jl.

    A = m I + B with m half the trace; B squared is d I, so exp(A) = e^m (cosh(s) I + sinh(s) / s B), s =
    sqrt(d). SciPy's expm, which takes one matrix after the other, needs 10 seconds for 10 000 of them.
    """
    X = random.normal(size=(problem.rows, 2, 2))
    m = np.trace(X, axis1=1, axis2=2)[:, None, None] / 2
    B = X - m * np.eye(2)
    s = np.sqrt(-np.linalg.det(B).astype(complex))[:, None, None]
    y = np.exp(m) * (np.cosh(s) * np.eye(2) + np.sinh(s) / s * B).real
    return X.reshape(-1, 4), y.reshape(-1, 4)


DATA = {
    "digits": _load_digits,
    "pictures": _pictures,
    "iris": _load_iris,
    "classes": _classes,
    "smooth": _smooth,
    "expm": _expm,
}
