"""Data to train on: scikit-learn's own small data sets by name, or a CSV file with a target column."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Task = Literal["classification", "regression"]

#: The names that `load` knows, with the task of each.
KNOWN: dict[str, Task] = {
    "iris": "classification",
    "wine": "classification",
    "breast_cancer": "classification",
    "digits": "classification",
    "diabetes": "regression",
    "linnerud": "regression",
}

# A column of whole numbers is a set of classes while it has at most this many different values.
_MOST_CLASSES = 20


@dataclass(frozen=True)
class Dataset:
    """Rows with what is to be predicted from them.

    X is (n, d) float32. For classification y is (n,) int64, numbers into `target_names`; for regression it is
    float32, (n,) or (n, k), and `target_names` are the k columns.
    """

    name: str
    task: Task
    X: NDArray[np.float32]
    y: NDArray[Any]
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]


def load(source: str | Path, target: str | None = None, *, task: Task | None = None) -> Dataset:
    """The data set called `source`, or the CSV file at `source` with the column `target` to predict.

    A CSV file starts with a line of column names; its cells are separated by commas, semicolons or tabs. Its
    task is classification if the target is text, or whole numbers with at most 20 different values, unless
    `task` says otherwise.

    >>> digits = load("digits")
    >>> digits.X.shape, digits.task
    ((1797, 64), 'classification')
    """
    if str(source) in KNOWN:
        if target is not None:
            raise ValueError(f"target is for CSV files; the data set {source!r} has its own. Got {target!r}.")
        return _load_known(str(source), task)
    path = Path(source)
    if not path.suffix and not path.exists():
        hint = _closest(str(source), list(KNOWN))
        raise ValueError(
            f"unknown data set {str(source)!r}{hint} Known: {', '.join(KNOWN)}; or the path of a CSV file."
        )
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}.")
    return _load_csv(path, target, task)


def _load_known(name: str, task: Task | None) -> Dataset:
    from sklearn import datasets

    if task not in (None, KNOWN[name]):
        raise ValueError(f"task of the data set {name!r} is {KNOWN[name]!r}; got {task!r}.")
    bunch = getattr(datasets, f"load_{name}")()
    classes = KNOWN[name] == "classification"
    return Dataset(
        name=name,
        task=KNOWN[name],
        X=np.ascontiguousarray(bunch.data, dtype=np.float32),
        y=bunch.target.astype(np.int64 if classes else np.float32),
        feature_names=tuple(map(str, bunch.feature_names)),
        target_names=tuple(map(str, bunch.get("target_names", ("target",)))),
    )


def _load_csv(path: Path, target: str | None, task: Task | None) -> Dataset:
    header, rows = _read_cells(path)
    if target is None:
        raise ValueError(f"target: name the column of {path.name} to predict; it has {_listed(header)}.")
    if target not in header:
        hint = _closest(target, header)
        raise ValueError(f"target {target!r} is not a column of {path.name}{hint} It has {_listed(header)}.")
    if len(header) == 1:
        raise ValueError(
            f"{path.name} has no column besides the target {target!r}: nothing to predict it from."
        )
    place = header.index(target)
    features = [j for j in range(len(header)) if j != place]
    X = np.empty((len(rows), len(features)), dtype=np.float32)
    for k, j in enumerate(features):
        X[:, k] = _numbers([row[j] for row in rows], header[j], "a feature")
    cells = [row[place] for row in rows]
    task = task or _guess_task(cells)
    y: NDArray[Any]
    names: tuple[str, ...]
    if task == "regression":
        y, names = _numbers(cells, target, "a regression target"), (target,)
    else:
        y, names = _classes(cells, target)
    return Dataset(path.stem, task, X, y, tuple(header[j] for j in features), names)


def _read_cells(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a CSV file, stripped, every row as long as the header."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 text (byte {error.start}): is it a CSV file?") from error
    if not text.strip():
        raise ValueError(f"{path.name} is empty.")
    text = text.lstrip("\r\n")
    separator = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header = [cell.strip() for cell in next(reader)]
    repeated = next((name for name in header if header.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"{path.name} has two columns called {repeated!r}.")
    rows = []
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(header):
            raise ValueError(
                f"line {reader.line_num} of {path.name} has {len(cells)} cells, its header has {len(header)}."
            )
        rows.append([cell.strip() for cell in cells])
    if not rows:
        raise ValueError(f"{path.name} has a header and no rows.")
    return header, rows


def _numbers(cells: Sequence[str], column: str, role: str) -> NDArray[np.float32]:
    """The cells of a column as numbers, or an error that names the first one that is none."""
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        row, cell = next((i, cell) for i, cell in enumerate(cells, 1) if not _is_number(cell))
        what = "empty" if not cell else f"{cell!r}"
        raise ValueError(
            f"column {column!r}, row {row}, is {what}: {role} has to be a number. "
            "Fill it, encode it or leave it out."
        ) from None
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise ValueError(
            f"column {column!r}, row {row + 1}, is {cells[row]!r}: {role} has to be finite in float32."
        )
    return numbers


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _guess_task(cells: Sequence[str]) -> Task:
    if not all(map(_is_number, cells)):
        return "classification"
    values = np.unique(np.array(cells, dtype=np.float64))
    few = len(values) <= min(_MOST_CLASSES, len(cells) // 2)
    return "classification" if few and np.array_equal(values, np.round(values)) else "regression"


def _classes(cells: Sequence[str], column: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if "" in cells:
        raise ValueError(
            f"column {column!r}, row {cells.index('') + 1}, is empty: every row needs its class."
        )
    if all(map(_is_number, cells)):
        _numbers(cells, column, "a class")
        values, y = np.unique(np.array(cells, dtype=np.float64), return_inverse=True)
        names = [str(int(value)) if value.is_integer() else str(value) for value in values.tolist()]
    else:
        texts, y = np.unique(np.array(cells), return_inverse=True)
        names = texts.tolist()
    if len(names) < 2:
        raise ValueError(
            f"target column {column!r} has the one value {names[0]!r}: there is nothing to tell apart."
        )
    if len(names) > len(cells) // 2:
        raise ValueError(
            f"target column {column!r} has {len(names)} different values in {len(cells)} rows: "
            "too many to be classes. Is there text among its numbers?"
        )
    return y.astype(np.int64), tuple(names)


def _closest(name: str, known: Sequence[str]) -> str:
    """'; did you mean ...?' or a full stop, to follow the name that was not found."""
    close = get_close_matches(name.lower(), [each.lower() for each in known], n=1)
    if not close:
        return "."
    match = next(each for each in known if each.lower() == close[0])
    return f"; did you mean {match!r}?"


def _listed(columns: Sequence[str], most: int = 12) -> str:
    more = f" and {len(columns) - most} more" if len(columns) > most else ""
    return "the columns " + ", ".join(map(repr, columns[:most])) + more
