"""The gate between old figures and new ones: real losses fail, noise does not."""

import copy
import random
import sys

import pytest

from benchmarks import cli, gate, problems, race, statistics, store

FULL_SPEED = 1e11


def figures(slowdown=1.0, noise=0.02, busy=1.0, repeats=7, seed=0):
    """A document with one work; `busy` slows the machine, ceiling and all, `slowdown` only fastnn."""
    draws = random.Random(seed)
    result = race.describe(problems.get("digits-32-adam"))
    seconds, peaks = [], []
    for _ in range(repeats):
        load = busy * draws.uniform(1, 1 + 10 * noise)
        seconds.append(0.001 * slowdown * load * draws.uniform(1 - noise, 1 + noise))
        peaks.append(FULL_SPEED / load)
    row = {"library": "fastnn", "status": "ok", "seconds": seconds, "loss": 0.3, "threads": 1}
    document = store.new("rivals")
    document["rivals"] = [{**result, "rows": [row], "peaks": peaks}]
    return document


def verdict(old, new, **more):
    return gate.compare(old, new, **more)[0]


def test_a_kernel_slowed_by_a_quarter_is_caught():
    found = verdict(figures(), figures(slowdown=1.25, seed=1))
    assert found.word == "slower"
    assert found.failed
    assert found.ratio.high < 0.9


def test_a_machine_half_as_fast_is_no_loss():
    found = verdict(figures(), figures(busy=2.0, seed=1))
    assert found.word == "same"
    assert not found.failed


@pytest.mark.parametrize("seed", range(20))
def test_a_noisy_run_is_not_a_loss(seed):
    assert not verdict(figures(seed=seed), figures(noise=0.3, seed=seed + 100)).failed


def test_a_loss_inside_the_threshold_passes():
    assert not verdict(figures(), figures(slowdown=1.05, seed=1)).failed
    assert verdict(figures(noise=0.001), figures(slowdown=1.05, noise=0.001, seed=1), threshold=0.02).failed


def test_a_loss_hidden_by_noise_is_called_unclear():
    assert verdict(figures(noise=0.4), figures(slowdown=1.2, noise=0.4, seed=1)).word == "unclear"


def test_a_gain_is_called_faster():
    assert verdict(figures(), figures(slowdown=0.7, seed=1)).word == "faster"


def test_one_repetition_is_not_enough_to_fail():
    assert not verdict(figures(repeats=1), figures(slowdown=3, repeats=1)).failed


def test_a_work_that_crashes_now_is_lost():
    new = figures()
    new["rivals"][0]["rows"][0].update(status="crashed", seconds=[], detail="exit code -11: it said nothing")
    found = verdict(figures(), new)
    assert (found.word, found.failed) == ("lost", True)


def test_works_of_one_run_alone_are_not_compared():
    old = figures()
    old["rivals"][0]["name"] = "another"
    assert gate.compare(old, figures()) == []


def test_a_work_whose_definition_changed_is_not_compared():
    new = figures(slowdown=2)
    new["rivals"][0]["problem"]["learning_rate"] *= 10
    assert gate.compare(figures(), new) == []


def run_cli(tmp_path, old, new, *more):
    store.save(old, tmp_path / "old.json")
    store.save(new, tmp_path / "new.json")
    return cli.main(["compare", str(tmp_path / "old.json"), str(tmp_path / "new.json"), *more])


def test_the_command_fails_on_a_loss_and_passes_without(tmp_path, capsys):
    assert run_cli(tmp_path, figures(), figures(slowdown=2, seed=1)) == 1
    assert "1 of 1 lost more than 10%" in capsys.readouterr().out
    assert run_cli(tmp_path, figures(), figures(seed=1)) == 0
    assert "same" in capsys.readouterr().out


def test_the_command_answers_nonsense_with_one_error(tmp_path, capsys):
    assert run_cli(tmp_path, figures(), figures(), "--threshold", "3") == 2
    assert "--threshold must be between 0 and 1; got 3.0" in capsys.readouterr().err
    assert cli.main(["compare", str(tmp_path / "no.json"), str(tmp_path / "no.json")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_real_run_slowed_by_sleeping_is_caught():
    # Two real races of the NumPy loop; the second sleeps for as long as a repetition takes.
    tiny = problems.Problem("tiny", (16, 32, 4), 256, 32, "adam", check_epochs=1)
    rules = race.Rules(repeats=6, seconds=0.02, timeout=60.0, threads=1)
    sleepy = (
        "from time import sleep; from benchmarks.rivals import with_numpy, worker; fast = with_numpy.run\n"
        "def run(job, epochs): fast(job, epochs); sleep(0.02 * epochs)\n"
        "with_numpy.run = run; worker.main()"
    )
    slowed = race.Rules(**{**rules.__dict__, "command": (sys.executable, "-c", sleepy)})
    old, new = store.new("rivals"), store.new("rivals")
    old["rivals"].append(race.race(tiny, ["NumPy"], rules))
    new["rivals"].append(race.race(tiny, ["NumPy"], slowed))
    found = gate.compare(old, new, library="NumPy")[0]
    assert found.word == "slower", (old["rivals"], new["rivals"])
    assert gate.compare(old, copy.deepcopy(old), library="NumPy")[0].failed is False


def test_the_interval_covers_95_percent_of_true_ratios():
    draws = random.Random(3)
    covered = 0
    for _ in range(400):
        new, old = ([draws.lognormvariate(0, 0.2) for _ in range(7)] for _ in range(2))
        found = statistics.ratio(new, old)
        covered += found.low <= 1 <= found.high
    assert covered >= 0.93 * 400
