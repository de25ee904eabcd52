"""The scripts in examples/: short, free of warnings; each prints what it teaches and saves a picture."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
NAMES = [script.stem for script in SCRIPTS]


def run(name, folder, *arguments):
    """What the script prints, run in `folder` with every warning an error."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py"), *arguments],
        cwd=folder,
        env={**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """result(name): what the script prints and the picture it saves; each script runs once."""

    @cache
    def of(name):
        picture = tmp_path_factory.mktemp(name) / "picture.png"
        return run(name, picture.parent, str(picture)), picture

    return of


def numbers(line):
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", line)]


def line_with(text, printed):
    return next(line for line in printed.splitlines() if line.startswith(text))


@pytest.mark.parametrize("name", NAMES)
def test_example_has_fewer_than_80_lines_and_a_line_in_the_readme(name):
    assert len((ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8").splitlines()) < 80
    assert f"| [{name}.py]({name}.py) | " in (ROOT / "examples" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_example_saves_a_picture_with_something_in_it(name, result):
    printed, picture = result(name)
    assert printed.splitlines()[-1] == f"picture: {picture}"
    pixels = matplotlib.image.imread(picture)[..., :3]
    height, width, _ = pixels.shape
    assert height > 600
    assert width > 1000
    drawn = np.any(pixels < 0.99, axis=2)
    for half in np.array_split(drawn, 2, axis=0):
        for quarter in np.array_split(half, 2, axis=1):
            assert np.mean(quarter) > 0.03
    coloured = np.ptp(pixels, axis=2) > 0.3
    assert np.mean(coloured) > 0.002


def test_example_without_an_argument_saves_its_picture_where_it_is_run(tmp_path):
    assert "picture: activations.png" in run("activations", tmp_path)
    assert (tmp_path / "activations.png").stat().st_size > 10_000


def test_quickstart_tells_digits_apart(result):
    printed, _ = result("quickstart")
    accuracy, wrong, rows = numbers(line_with("held-out accuracy", printed))
    assert accuracy > 0.96
    assert accuracy == pytest.approx(1 - wrong / rows, abs=1e-3)
    when_right, when_wrong = numbers(line_with("mean probability", printed))
    assert when_right > when_wrong


@pytest.mark.parametrize(
    ("function", "at_minus_4", "at_0", "at_4", "largest"),
    [
        ("ReLU", 0, 0, 1, 1),
        ("sigmoid", np.exp(-4) / (1 + np.exp(-4)) ** 2, 0.25, np.exp(-4) / (1 + np.exp(-4)) ** 2, 0.25),
        ("tanh", 1 / np.cosh(4) ** 2, 1, 1 / np.cosh(4) ** 2, 1),
    ],
)
def test_activations_have_the_derivatives_of_the_textbook(function, at_minus_4, at_0, at_4, largest, result):
    printed, _ = result("activations")
    assert numbers(line_with(function, printed)) == pytest.approx([at_minus_4, at_0, at_4, largest], abs=1e-4)


def test_full_batch_is_smooth_and_single_rows_are_noisy(result):
    printed, _ = result("gradient_descent_variants")
    smallest = numbers(line_with("smallest loss", printed))[0]
    ways = {way: numbers(line_with(way, printed)) for way in ("full batch", "mini-batch", "SGD", "Adam")}
    steps, losses, upwards = ({way: values[k] for way, values in ways.items()} for k in range(3))
    assert steps["full batch"] < steps["mini-batch"] == steps["Adam"] < steps["SGD"]
    assert upwards["full batch"] == 0 < upwards["mini-batch"] < upwards["SGD"]
    # After as many rows, full batch is still on its way, SGD hovers about the minimum, the others are there.
    assert losses["full batch"] > losses["SGD"] + 0.1
    assert losses["mini-batch"] == pytest.approx(smallest, abs=2e-3)
    assert losses["Adam"] == pytest.approx(smallest, abs=2e-3)


def test_learning_rates_crawl_converge_and_diverge(result):
    printed, _ = result("learning_rate")
    rates = ("0.02 is too small", "0.4 is right", "2.15 is too large")
    small, right, large = (line_with(rate, printed) for rate in rates)
    assert "'diverged'" in large
    assert "'diverged'" not in small + right
    loss = {line: numbers(line.split("Loss")[1])[:2] for line in (small, right, large)}
    assert loss[right][1] < 0.4
    assert loss[right][1] + 1 < loss[small][1] < loss[small][0] == loss[large][0] < loss[large][1]
