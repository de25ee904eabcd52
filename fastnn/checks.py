"""Checks at the border: what a caller hands over, in the engine's form, or an error that says what is
wrong.
"""

import contextlib
from math import isfinite
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.architecture import Architecture

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
SMALL = 10_000  # numbers that OpenBLAS multiplies without calling up its threads


def check_number(
    name: str, value: Any, low: float, high: float, *, open_low: bool = False, open_high: bool = False
) -> float:
    """`value`, if it is a real number in [low, high]; `open_low` and `open_high` leave the ends out."""
    number = np.nan
    if isinstance(value, Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # an int of 400 digits
            number = float(value)
    if not low <= number <= high or (open_low and number == low) or (open_high and number == high):
        left, right = "(" if open_low else "[", ")" if open_high else "]"
        raise ValueError(f"{name} must be a number in {left}{low:g}, {high:g}{right}; got {value!r}.")
    return number


def check_dense(name: str, values: Any, way: str = "toarray()") -> None:
    """ValueError for SciPy's sparse matrices and arrays, with the method that makes them dense."""
    if hasattr(values, "toarray"):
        raise ValueError(f"{name} must be dense; got a sparse matrix: pass {name}.{way}.")


def check_numbers(name: str, values: ArrayLike, dtype: np.dtype[Any] | None) -> NDArray[Any]:
    """`values` as a C-contiguous, aligned array of `dtype`, their own if None; what is too large for it
    becomes infinite.
    """
    check_dense(name, values)
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "buifO":
            raise TypeError(f"its numbers are of dtype {array.dtype}")
        with np.errstate(over="ignore"):
            return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])
    except (TypeError, ValueError) as error:
        message = f"{name} must be an array of real numbers; got {type(values).__name__}: {error}."
        raise ValueError(message) from error


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """The one of the two types that the engine knows."""
    with contextlib.suppress(TypeError):
        known: np.dtype[Any] = np.dtype(dtype)
        if dtype is not None and known in FLOATS:
            return known
    raise ValueError(f"dtype must be 'float32' or 'float64'; got {dtype!r}.")


def check_seed(name: str, seed: Any) -> np.random.RandomState:
    """A RandomState from None, an int or a RandomState that draws as scikit-learn's do."""
    try:
        random = seed if isinstance(seed, np.random.RandomState) else np.random.RandomState(seed)
        # Asking for its state takes 40 us.
        if isinstance(random._bit_generator, np.random.MT19937):
            return random
    except (AttributeError, TypeError, ValueError):
        pass
    raise ValueError(f"{name} must be None, an int in [0, 2**32), or a RandomState on MT19937; got {seed!r}.")


def check_flag(name: str, value: Any) -> bool:
    """`value`, if it is True or False, Python's or NumPy's."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False; got {value!r}.")
    return bool(value)


def check_threads(n_threads: Any) -> int | None:
    """`n_threads`, if it is None or a positive integer."""
    if n_threads is None:
        return None
    if isinstance(n_threads, Integral) and not isinstance(n_threads, bool) and int(n_threads) >= 1:
        return int(n_threads)
    raise ValueError(f"n_threads must be None or an int >= 1; got {n_threads!r}.")


def is_finite(array: NDArray[Any]) -> bool:
    """Whether all numbers are finite, without an array of flags."""
    # A product of many numbers wakes OpenBLAS's threads, and they keep their cores busy for 0.1 s afterwards:
    # a fit of 13 ms on two threads took 38 beside them (benchmarks/micro/busy.py).
    if array.size <= SMALL:
        total = np.vdot(array, array)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            total = array.sum()
    # Both can be infinite for finite numbers.
    return isfinite(total) or bool(np.isfinite(array).all())


def check_matrix(name: str, values: ArrayLike, dtype: np.dtype[Any], columns: int) -> NDArray[Any]:
    """`values` as a finite C-contiguous matrix of `dtype` with `columns` columns."""
    matrix = check_numbers(name, values, dtype)
    if matrix.ndim != 2 or matrix.shape[1] != columns:
        raise ValueError(f"{name} must have the shape (n, {columns}); got {np.shape(values)}.")
    if matrix.shape[0] == 0:
        raise ValueError(f"{name} must have at least one row; got shape {matrix.shape}.")
    check_finite(name, matrix)
    return matrix


def check_finite(name: str, numbers: NDArray[Any]) -> None:
    """ValueError unless all of X or y is finite."""
    if not is_finite(numbers):
        kind = numbers.dtype
        raise ValueError(
            f"{name} must be finite in {kind}; it holds NaN, infinity, or what is too large for {kind}."
            " Replace or drop those rows, or scale the columns."
        )


def check_inputs(X: Any, dtype: np.dtype[Any], columns: int) -> Any:
    """X as the engine takes it: a matrix as `check_matrix` gives it, or CSR without duplicates."""
    if not hasattr(X, "tocsr"):
        return check_matrix("X", X, dtype, columns)
    if X.dtype.kind == "c":
        raise ValueError(f"X must be an array of real numbers; got complex ones, {X.dtype}.")
    if len(X.shape) != 2 or X.shape[1] != columns or X.shape[0] == 0:
        raise ValueError(f"X must have the shape (n, {columns}) with n >= 1; got {X.shape}.")
    with np.errstate(over="ignore"):
        table = canonical(X.tocsr().astype(dtype, copy=False))
    check_finite("X", table.data)
    return table


def canonical(table: Any) -> Any:
    """A CSR matrix whose rows have ascending columns, each once.

    SciPy takes index arrays as they come; a kernel would read and write where they point to.
    """
    n, columns = table.shape
    indices, starts, lengths = table.indices, table.indptr, np.diff(table.indptr)
    inside = not indices.size or (indices.min() >= 0 and indices.max() < columns)
    if not inside or len(lengths) != n or starts[0] != 0 or (lengths < 0).any() or starts[-1] > len(indices):
        raise ValueError(
            f"X must be a sparse matrix whose indices fit its shape {table.shape}; its columns are "
            f"{indices.min(initial=0)} to {indices.max(initial=0)}. `X.check_format()` says more."
        )
    if not table.has_canonical_format or lengths.max(initial=0) > columns:
        table = table.copy()
        table.has_canonical_format = False
        table.sum_duplicates()
    return table


def check_targets(
    architecture: Architecture, y: ArrayLike, n_rows: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Targets as the kernels take them: class numbers (n, 1) for softmax, otherwise (n, K)."""
    outputs = architecture.layer_sizes[-1]
    columns = 1 if architecture.output_activation == "softmax" else outputs
    values = check_numbers("y", y, dtype)
    if columns < outputs and values.ndim == 2 and values.shape[1] == outputs:
        raise ValueError(
            f"y must hold class numbers, shape (n,); got {values.shape}: of one-hot y, y.argmax(axis=1)."
        )
    matrix = check_matrix("y", values.reshape(-1, 1) if values.ndim == 1 else values, dtype, columns)
    if len(matrix) != n_rows:
        raise ValueError(f"y must have one row for each row of X, {n_rows}; got {len(matrix)}.")
    if columns < outputs and not ((matrix >= 0) & (matrix < outputs) & (matrix == np.floor(matrix))).all():
        raise ValueError(
            f"y must hold class numbers, integers in [0, {outputs}); got {np.unique(values)[:9]}."
        )
    if (
        architecture.loss == "cross_entropy"
        and not ((matrix >= 0) & (matrix <= 1)).all()
        and columns == outputs
    ):
        lowest, highest = matrix.min(), matrix.max()
        raise ValueError(f"y must lie in [0, 1] with logistic outputs; got {lowest} to {highest}.")
    if architecture.loss == "poisson" and (matrix < 0).any():
        raise ValueError(f"y must be >= 0 with loss='poisson'; got {matrix.min()}.")
    return matrix


def check_weights(sample_weight: ArrayLike | None, n_rows: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Sample weights (n,), or (0,) where there are none."""
    if sample_weight is None:
        return np.empty(0, dtype=dtype)
    check_dense("sample_weight", sample_weight, "toarray().ravel()")
    weights = check_numbers("sample_weight", sample_weight, dtype)
    if weights.shape != (n_rows,):
        raise ValueError(f"sample_weight must have the shape ({n_rows},); got {weights.shape}.")
    wrong = weights[~(np.isfinite(weights) & (weights >= 0))]
    if wrong.size:
        raise ValueError(f"sample_weight must be finite and >= 0; got {wrong[0]}.")
    check_some_count("sample_weight", weights)
    return weights


def check_some_count(name: str, weights: NDArray[Any], remark: str = "") -> None:
    """ValueError unless one weight counts, since nothing would be learned: it is above 0, and no subnormal
    number, which is 0 while training.
    """
    least, largest = np.finfo(weights.dtype).tiny, weights.max()
    if largest < least:
        raise ValueError(
            f"{name} must be above 0 for at least one row, from {least:.2g} on in {weights.dtype};"
            f" the largest is {largest:g}{remark}."
        )
