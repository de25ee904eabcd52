"""Races between libraries: statistics, rows of those that cannot run, and the same work for everybody."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import expm

from benchmarks import cli, console, problems, race, statistics, store, targets
from benchmarks.rivals import RIVALS, get, with_fastnn, with_numpy, with_sklearn

DIGITS = problems.get("digits-32-adam")
READY = {
    "status": "ready",
    "import_seconds": 0.5,
    "first_run_seconds": 0.1,
    "loss": 0.25,
    "threads": 1,
    "epoch_seconds": 0.01,
    "versions": {"x": "1"},
}
STAND_INS = {
    "steady": "say(READY)\nfor line in sys.stdin: say({'seconds': 0.02 * int(line), 'epochs': int(line)})",
    "missing": "say({'status': 'not installed', 'detail': 'No module named x'})",
    "crash at once": "raise SystemError('no such CPU')",
    "crash later": "say(READY)\nsys.stdin.readline()\nraise SystemError('overheated')",
    "hang": "import time\ntime.sleep(60)",
}


def stand_in(behaviour, **rules):
    """Rules under which a small script plays the library."""
    begin = f"import json, sys\nREADY = {READY!r}\ndef say(x): print(json.dumps(x), flush=True)\n"
    begin += "sys.stdin.readline()\n"
    command = (sys.executable, "-c", begin + STAND_INS[behaviour])
    return race.Rules(**{"repeats": 3, "timeout": 20.0, **rules, "command": command})


def row_of(behaviour, **rules):
    result = race.race(DIGITS, ["fastnn"], stand_in(behaviour, **rules))
    return result, result["rows"][0]


def test_a_repetition_is_divided_by_its_epochs():
    result, row = row_of("steady", seconds=0.05)
    assert row["status"] == "ok"
    assert row["epochs"] == 5
    assert row["seconds"] == [pytest.approx(0.02)] * 3
    assert len(result["peaks"]) == 3


def test_a_missing_library_is_a_row_that_says_so():
    result, row = row_of("missing")
    assert (row["status"], row["seconds"]) == ("not installed", [])
    assert "not installed" in console.race_table(result, None)


def test_a_crash_is_a_row_with_the_last_words():
    result, row = row_of("crash at once")
    assert row["status"] == "crashed"
    assert "exit code 1: SystemError: no such CPU" in row["detail"]
    assert "no such CPU" in console.race_table(result, None)


def test_a_crash_in_a_repetition_ends_only_that_library():
    _, row = row_of("crash later")
    assert row["status"] == "crashed"
    assert row["seconds"] == []
    assert "overheated" in row["detail"]


def test_a_library_past_its_time_is_a_row_that_says_so():
    _, row = row_of("hang", timeout=0.3)
    assert row["status"] == "timed out"
    assert "0.3 s" in row["detail"]


def test_an_interrupted_race_keeps_its_repetitions(monkeypatch):
    calls = iter([1e9, 1e9])

    def probe(dtype, seconds):
        try:
            return next(calls)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(race.ceiling, "gemm_probe", probe)
    with pytest.raises(KeyboardInterrupt) as stop:
        race.race(DIGITS, ["fastnn"], stand_in("steady"))
    document = store.new("quick")
    store.keep(document, stop.value)
    assert len(document["rivals"][0]["rows"][0]["seconds"]) == 2
    store.keep(document, KeyboardInterrupt())
    assert len(document["rivals"]) == 1


def test_a_library_runs_in_a_process_of_its_own():
    tiny = problems.Problem("tiny", (8, 4, 3), 64, 16, check_epochs=2)
    rules = race.Rules(repeats=2, seconds=0.001, timeout=60.0, threads=1)
    row = race.race(tiny, ["NumPy"], rules)["rows"][0]
    assert row["status"] == "ok", row
    assert len(row["seconds"]) == 2
    assert row["threads"] == 1
    assert row["versions"] == {"numpy": np.__version__}
    assert math.isfinite(row["loss"])


@pytest.mark.parametrize(
    "name", ["digits-200-adam", "digits-200-sgd", "digits-momentum", "matrix-exp", "stream", "predict-one"]
)
def test_everybody_does_the_same_work(name):
    problem = problems.get(name)
    problem = replace(problem, rows=min(300, problem.rows), check_epochs=2)
    X, y = problems.load(problem)
    losses = []
    for module in (with_fastnn, with_sklearn, with_numpy):
        job = module.prepare(problem, X, y, 1)
        module.run(job, problem.check_epochs)
        losses.append(module.final_loss(job))
    first = problems.loss(problem, X, y, *problems.initial(problem)[:2])
    assert losses == pytest.approx([losses[0]] * 3, rel=2e-3)
    assert math.isclose(losses[0], first, rel_tol=1e-5) == (problem.kind == "predict")


@pytest.mark.parametrize("rival", RIVALS.values(), ids=lambda rival: rival.name)
def test_every_rival_has_the_same_five_functions(rival):
    try:
        module = rival.load()
    except ImportError:
        source = (race.ROOT / "benchmarks" / "rivals" / f"{rival.module}.py").read_text(encoding="utf-8")
        assert all(
            f"\ndef {name}(" in source for name in ("prepare", "run", "final_loss", "threads", "versions")
        )
    else:
        assert all(
            callable(getattr(module, name))
            for name in ("prepare", "run", "final_loss", "threads", "versions")
        )


def test_an_unknown_library_or_problem_answers_with_the_known_ones():
    with pytest.raises(ValueError, match="known: fastnn, scikit-learn"):
        get("keras")
    with pytest.raises(ValueError, match="known: digits-sgd"):
        problems.get("mnist")
    assert get("jax").name == "JAX"


def test_any_problem_exists_in_double():
    problem = problems.get("matrix-exp@float64")
    X, y = problems.load(problem)
    assert X.dtype == y.dtype == np.float64
    assert problem.title.endswith("float64")


def test_matrix_exponentials_are_those_of_scipy():
    X, y = problems.load(replace(problems.get("matrix-exp@float64"), rows=20))
    expected = [expm(matrix.reshape(2, 2)).ravel() for matrix in X]
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)


def test_own_data_become_a_problem(tmp_path):
    X, y = np.random.default_rng(0).normal(size=(50, 6)), np.array(["a", "b"] * 25)
    problem = problems.from_arrays(X, y, tmp_path / "own", hidden=(7,), batch=10)
    loaded, classes = problems.load(problem)
    assert problem.sizes == (6, 7, 2)
    assert loaded.shape == (50, 6)
    assert set(classes) == {0, 1}
    assert problems.from_arrays(X, X[:, :2], tmp_path / "real").task == "regression"


def test_own_data_of_different_lengths_are_refused(tmp_path):
    with pytest.raises(ValueError, match="row of y for each"):
        problems.from_arrays(np.zeros((3, 2)), np.zeros(4), tmp_path / "own")


def test_exponent_of_a_square_is_2():
    assert statistics.exponent([1, 2, 4, 8], [3, 12, 48, 192]) == pytest.approx(2)


def test_spread_ignores_single_outliers():
    assert statistics.spread([1.0] * 9 + [50.0]) == 0
    assert statistics.spread([1.0, 2.0, 3.0]) == pytest.approx(0.5)


def test_ratio_of_equal_samples_covers_1():
    found = statistics.ratio([1.0, 1.1, 0.9, 1.05], [1.02, 0.95, 1.1, 0.97])
    assert found.low < 1 < found.high


def test_single_measurements_prove_nothing():
    found = statistics.ratio([1.0], [5.0])
    assert (found.low, found.high) == (0.0, math.inf)


def test_stored_figures_survive_and_are_replaced_by_name(tmp_path):
    document = store.new("rivals")
    store.put(document, "rivals", {"name": "a", "value": 1})
    store.put(document, "rivals", {"name": "b", "value": 2})
    store.put(document, "rivals", {"name": "a", "value": 3})
    store.save(document, tmp_path / "deep" / "figures.json")
    again = store.load(tmp_path / "deep" / "figures.json")
    assert [(entry["name"], entry["value"]) for entry in again["rivals"]] == [("a", 3), ("b", 2)]
    assert {"date", "commit", "machine", "versions"} <= set(again)


@pytest.mark.parametrize("key", ["commit", "versions"])
def test_figures_of_another_origin_are_not_added_to(key, tmp_path):
    document = store.new("rivals")
    store.save(document, tmp_path / "x.json")
    assert store.load_to_add(tmp_path / "x.json", store.new("rivals"))["commit"] == document["commit"]
    with pytest.raises(ValueError, match=f"figures of another origin, {key}"):
        store.load_to_add(tmp_path / "x.json", {**document, key: "another"})
    document["machine"]["processor"] = "another"
    with pytest.raises(ValueError, match="figures of another origin, processor"):
        store.load_to_add(tmp_path / "x.json", document)


def test_a_problem_with_an_activation_that_not_all_know_is_refused():
    with pytest.raises(ValueError, match="activation must be one of relu, tanh; got 'logistic'"):
        problems.Problem("own", (2, 3, 2), 10, 5, activation="logistic")


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"schema": 0})])
def test_a_file_that_is_no_store_is_one_clear_error(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=r"x\.json"):
        store.load(tmp_path / "x.json")


def test_a_missing_file_says_what_writes_one(tmp_path):
    with pytest.raises(ValueError, match="python -m benchmarks report"):
        store.load(tmp_path / "none.json")


def test_the_fixtures_time_own_data_with_every_library(tmp_path):
    # What benchmarks/README.md tells users to write, run by a pytest of its own.
    pytest.importorskip(
        "pytest_benchmark", reason="pytest-benchmark is not installed: pip install '.[bench]'"
    )
    readme = (race.ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    example = readme.split("```python\n")[1].split("```")[0]
    random = np.random.default_rng(0)
    np.save(tmp_path / "X.npy", random.normal(size=(60, 5)))
    np.save(tmp_path / "y.npy", random.integers(3, size=60))
    (tmp_path / "test_mine.py").write_text(example)
    fixtures = "import benchmarks.ceiling\nfrom benchmarks.conftest import *\n"
    limits = {"sgemm_1": 1.0, "sgemm_all": 1.0, "l1": 1.0, "memory": 1.0, "last_cache_bytes": 1.0}
    quick = f"benchmarks.ceiling.measure = lambda: {limits}\n"
    (tmp_path / "conftest.py").write_text(fixtures + quick)
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--benchmark-json={figures}",
            "test_mine.py",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(race.ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    stored = json.loads(figures.read_text())
    assert [b["extra_info"]["library"] for b in stored["benchmarks"]] == ["fastnn", "scikit-learn"]
    for figure in ("samples_per_second", "gflops", "share_of_limit", "threads", "dtype"):
        assert all(figure in b["extra_info"] for b in stored["benchmarks"])
    assert stored["ceiling"] == limits


def test_benchmarks_of_kernels_call_the_kernels_that_there_are():
    files = sorted(str(path) for path in (race.ROOT / "benchmarks").glob("test_kernels*.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-disable", *files]
    done = subprocess.run(command, cwd=race.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_a_library_can_be_held_to_a_number_of_threads():
    assert race.libraries_for(DIGITS, ["fastnn@1", "FASTNN@2", "onnx runtime"]) == ["fastnn@1", "fastnn@2"]
    with pytest.raises(ValueError, match="NAME@THREADS, such as fastnn@2; got 'jax@0'"):
        race.libraries_for(DIGITS, ["jax@0"])
    tiny = problems.Problem("tiny", (8, 4, 3), 64, 16, check_epochs=1)
    row = race.race(tiny, ["NumPy@2"], race.Rules(repeats=1, seconds=0.001))["rows"][0]
    assert (row["library"], row["threads"]) == ("NumPy@2", 2)


def test_targets_are_judged_by_the_measured_ratio():
    def entry(name, own, other):
        rows = [("fastnn", own), ("JAX", other), ("scikit-learn", 10 * other)]
        return {"name": name, "rows": [{"library": n, "seconds": [s], "status": "ok"} for n, s in rows]}

    stored = [entry("digits-sgd", 1, 3), entry("digits-full", 1, 3), entry("wide", 1, 1.5)]
    stored.append(entry("digits-sgd@float64", 1, 2))
    verdicts = {row[:2]: row[-1] for row in targets.judge({"rivals": stored})}
    assert verdicts["digits-sgd", "JAX"] == "must"
    assert verdicts["digits-full", "JAX"] == "MISSED"
    assert verdicts["wide", "best rival"] == "aim"
    assert verdicts["deep-20", "best rival"] == "not measured"
    assert verdicts["digits-sgd@float64", "scikit-learn"] == "MISSED"


def test_every_target_names_a_problem_and_a_library():
    for target in targets.TARGETS:
        assert target.problem in problems.PROBLEMS
        assert target.rival == targets.BEST or target.rival in RIVALS
        assert target.must < target.aim


@pytest.mark.parametrize(
    ("option", "rule"),
    [
        ("--threads", "an integer >= 1"),
        ("--repeats", "an integer >= 1"),
        ("--seconds", "a number > 0"),
        ("--timeout", "a number > 0"),
    ],
)
def test_a_race_without_time_or_threads_is_refused(option, rule, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["rivals", option, "0"])
    assert f"argument {option}: must be {rule}; got '0'" in capsys.readouterr().err
