"""Fixtures of the suites: the limits of this machine, measured once a run, and a timer that knows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ceiling as limits
from benchmarks.problems import Problem, from_arrays
from benchmarks.timing import Timer

_CEILING = pytest.StashKey[dict[str, float]]()


@pytest.fixture(scope="session")
def ceiling(request: pytest.FixtureRequest) -> dict[str, float]:
    """Peak rates of arithmetic and traffic, see benchmarks/ceiling.py."""
    request.config.stash[_CEILING] = limits.measure()
    return request.config.stash[_CEILING]


@pytest.fixture
def timer(benchmark: Any, ceiling: dict[str, float]) -> Timer:
    """`timer(problem, library)` times a problem and stores its figures in `extra_info`."""
    return Timer(benchmark, ceiling)


@pytest.fixture
def own_problem(tmp_path: Path) -> Callable[..., Problem]:
    """`own_problem(X, y, hidden=(50,), batch=32, solver='adam')` makes a problem of your own data."""
    return lambda X, y, **settings: from_arrays(X, y, tmp_path / "own.npz", **settings)


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    """Keep the limits beside the results that were divided by them."""
    output_json["ceiling"] = config.stash.get(_CEILING, None)
