"""The command line: what each command prints, and that a mistake takes one line and code 2."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from fastnn import Network
from fastnn.cli import COMMANDS, contenders, main
from fastnn.cli.compare import _goal
from fastnn.cli.contenders import Settings, Terms, sklearn_terms, train_fastnn, train_sklearn
from fastnn.cli.info import describe_cache
from fastnn.cli.picture import draw_comparison
from fastnn.cli.progress import Progress
from fastnn.cli.recipes import recipes
from fastnn.cli.record import Record, Recorder
from fastnn.cli.table import notes, render
from fastnn.cli.warm_up import warm_up
from fastnn.cli.work import prepare
from fastnn.datasets import KNOWN, load

ONE_THREAD = Settings(n_threads=1)


def unseen(record):
    pass


@pytest.fixture(scope="module")
def iris():
    return prepare(load("iris"))


@pytest.fixture(scope="module")
def recipe():
    return recipes(112, "classification", epochs=3)[2]


def record_of(recipe, library="fastnn", *, seconds=(1.0, 2.0), scores=(0.5, 0.9), **changes):
    record = Record(
        library, recipe, 100, list(seconds), [1.0 / (i + 1) for i in range(len(seconds))], list(scores)
    )
    return replace(record, **changes)


def test_help_names_every_command_with_examples(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)
    assert "python -m fastnn compare digits" in text


def test_no_command_is_answered_with_the_help(capsys):
    assert main([]) == 0
    assert "usage: python -m fastnn" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"python -m fastnn {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian", "iris"], "unknown command 'trian'; did you mean 'train'? Known: compare, train, info."),
        (["train", "irsi"], "unknown data set 'irsi'; did you mean 'iris'?"),
        (["compare"], "required: DATASET"),
        (["compare", "missing.csv", "--target", "y"], "no file 'missing.csv'"),
        (["compare", "iris", "--plot", "no/such/folder.png"], "no folder 'no/such'"),
        (["compare", "iris", "--plot", "picture.docx"], "--plot must end in one of"),
        (["train", "iris", "--hidden", "0"], "--hidden: must be an integer >= 1; got '0'"),
        (["train", "iris", "--batch-size", "some"], "--batch-size: must be an integer >= 1; got 'some'"),
        (["train", "iris", "--learning-rate", "-1"], "--learning-rate: must be a number > 0; got '-1'"),
        (["train", "iris", "--alpha", "nan"], "--alpha: must be a number >= 0; got 'nan'"),
        (["train", "iris", "--steps", "lbfgs"], "invalid choice: 'lbfgs'"),
        (["compare", "iris", "--goal", "2"], "--goal: must be a score, a finite number <= 1; got '2'"),
        (["compare", "iris", "--goal", "high"], "--goal: must be a score, a finite number <= 1; got 'high'"),
        (["compare", "iris", "--goal=-inf"], "--goal: must be a score, a finite number <= 1; got '-inf'"),
        (["compare", "iris", "--seed", "-1"], "--seed: must be an integer in [0, 2**32); got '-1'"),
    ],
)
def test_a_mistake_takes_one_line_and_code_2(arguments, message, capsys):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert message in shown.err


def test_a_data_set_too_small_to_split_is_refused(tmp_path, capsys):
    path = tmp_path / "tiny.csv"
    path.write_text("a,y\n1,2.5\n2,3.5\n")
    assert main(["train", str(path), "--target", "y"]) == 2
    assert "tiny is too small to hold a quarter out" in capsys.readouterr().err


def test_the_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "fastnn", "nope"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "fastnn: unknown command 'nope'. Known: compare, train, info.\n"


def test_info_prints_machine_versions_and_cache(capsys):
    assert main(["info"]) == 0
    facts = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert {
        "fastnn",
        "python",
        "numpy",
        "numba",
        "llvmlite",
        "scikit-learn",
        "cpu",
        "threads",
        "cache",
    } <= set(facts)
    assert facts["vectors"].split()[0] in ("128", "256", "512")


def test_info_counts_the_compiled_kernels(tmp_path):
    (tmp_path / "one").write_bytes(b"0" * 2**20)
    assert describe_cache(tmp_path).endswith("(1 compiled kernels, 1.0 MB)")
    assert "FASTNN_CACHE_DIR" in describe_cache(None)


def test_train_prints_the_held_out_score(capsys):
    assert main(["train", "iris", "--threads", "1"]) == 0
    shown = capsys.readouterr()
    score = float(shown.out.split("held-out accuracy ")[1].split()[0])
    assert score >= 0.93
    assert "112 rows to train on, 38 held out" in shown.err


@pytest.mark.parametrize("dataset", [name for name in KNOWN if name != "linnerud"])
def test_the_defaults_reach_the_goal_of_each_data_set(dataset, capsys):
    goals = {"iris": 0.93, "wine": 0.95, "breast_cancer": 0.95, "digits": 0.96, "diabetes": 0.40}
    assert main(["train", dataset, "--threads", "1"]) == 0
    assert float(capsys.readouterr().out.split()[2]) >= goals[dataset]


def test_train_reads_a_csv_file(tmp_path, capsys):
    x = np.linspace(-1, 1, 40)
    path = tmp_path / "line.csv"
    path.write_text("x,y\n" + "".join(f"{a},{2 * a + 1}\n" for a in x))
    arguments = [
        "train",
        str(path),
        "--target",
        "y",
        "--hidden",
        "--epochs",
        "200",
        "--learning-rate",
        "0.05",
    ]
    assert main([*arguments, "--threads", "1"]) == 0
    assert float(capsys.readouterr().out.split("held-out R2 ")[1].split()[0]) > 0.99


def test_a_diverging_run_says_so_and_fails(capsys):
    arguments = ["train", "diabetes", "--steps", "sgd", "--learning-rate", "1e6", "--threads", "1"]
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "diverged; take a smaller --learning-rate" in shown.err


def test_compare_prints_one_table_and_saves_the_picture(tmp_path, capsys):
    picture = tmp_path / "iris.png"
    arguments = [
        "compare",
        "iris",
        "--epochs",
        "2",
        "--seconds",
        "0.2",
        "--threads",
        "1",
        "--plot",
        str(picture),
    ]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    rows = [line for line in shown.out.splitlines() if line.startswith(("full batch", "mini-batch", "SGD"))]
    assert len(rows) == 6
    assert all("x " in row for row in rows)
    assert "accuracy 0.93" in shown.out
    assert shown.err.count("scikit-learn") == 6
    pixels = imread(picture)
    assert min(pixels.shape[:2]) > 500
    assert pixels[..., :3].std() > 0.02


@pytest.mark.parametrize("dataset", ["iris", "breast_cancer", "linnerud"])
@pytest.mark.parametrize("which", range(6))
def test_both_libraries_do_the_same_work(dataset, which):
    work = prepare(load(dataset))
    recipe = recipes(len(work.X_train), work.task, epochs=3)[which]
    ours = train_fastnn(work, recipe, ONE_THREAD, unseen)
    theirs = train_sklearn(work, recipe, ONE_THREAD, unseen, Terms(1, len(work.X_train)))
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-3)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=0.03)


def test_scikit_learn_gets_part_of_the_rows_where_an_epoch_takes_too_long(iris, recipe):
    record = train_sklearn(iris, recipe, ONE_THREAD, unseen, Terms(1, 64))
    assert (record.rows, record.epochs, record.share) == (64, 1, 64 / 112)
    assert sklearn_terms(iris, recipe, ONE_THREAD).rows == 112


def test_a_run_ends_when_its_time_is_spent(iris, recipe):
    settings = replace(ONE_THREAD, limit=1e-9)
    for record in (
        train_fastnn(iris, recipe, settings, unseen),
        train_sklearn(iris, recipe, settings, unseen, Terms(1, 112)),
    ):
        assert (record.epochs, record.ending) == (1, "out of time")


def interrupt(record):
    raise KeyboardInterrupt


def test_ctrl_c_ends_a_run_of_either_library(iris, recipe):
    with pytest.raises(contenders.Interrupted):
        train_fastnn(iris, recipe, ONE_THREAD, interrupt)
    with pytest.raises(contenders.Interrupted):
        train_sklearn(iris, recipe, ONE_THREAD, interrupt, Terms(1, 112))


def test_interrupted_commands_keep_what_was_measured(monkeypatch, capsys):
    def stop(*arguments):
        raise contenders.Interrupted

    monkeypatch.setattr("fastnn.cli.compare.train_sklearn", stop)
    assert main(["compare", "iris", "--epochs", "1", "--threads", "1"]) == 130
    shown = capsys.readouterr()
    assert "interrupted during comparison 1 of 6" in shown.err
    assert shown.out.count("full batch") == 1


def test_the_clock_stands_still_while_an_epoch_is_scored(monkeypatch, recipe):
    times = iter([0.0, 1.0, 4.0, 9.0, 9.5, 100.0])
    monkeypatch.setattr("fastnn.cli.record.perf_counter", lambda: next(times))
    recorder = Recorder(Record("fastnn", recipe, 10), limit=10.0, show=unseen)  # 0: made
    recorder.start()  # 1: started; 4: first epoch done; 9: scored; 9.5: second epoch done
    assert not recorder.epoch(lambda: 1.0, lambda: 0.5)
    assert not recorder.epoch(lambda: 0.5, lambda: 0.6)
    assert recorder.record.seconds == [3.0, 3.5]
    assert recorder.record.rows_a_second == 20 / 3.5


def test_time_to_a_goal_is_that_of_the_first_epoch_that_reaches_it(recipe):
    record = record_of(recipe, seconds=(1.0, 2.0, 3.0), scores=(0.5, 0.9, 0.8))
    assert record.seconds_to(0.7) == 2.0
    assert record.seconds_to(0.95) is None


def test_the_table_says_where_scikit_learn_wins(recipe):
    pair = record_of(recipe), record_of(recipe, "scikit-learn", seconds=(0.5, 1.0))
    assert "0.50x" in render([pair], goal=0.9, score_name="accuracy")
    text = " ".join(notes([pair], goal=0.9, limit=4).split())
    assert f"scikit-learn wins by rows a second: {recipe}." in text
    assert f"scikit-learn wins by seconds to 0.9: {recipe}." in text


def test_the_table_marks_a_goal_that_was_not_reached_in_time(recipe):
    theirs = record_of(recipe, "scikit-learn", seconds=(8.0,), scores=(0.1,), ending="out of time")
    row = render([(record_of(recipe), theirs)], goal=0.9, score_name="accuracy").splitlines()[-1]
    assert ">8" in row
    assert ">4.0x" in row
    assert "ran out of it" in notes([(record_of(recipe), theirs)], goal=0.9, limit=8)


def test_the_table_survives_runs_without_an_epoch(recipe):
    nothing = Record("scikit-learn", recipe, 100, ending="diverged")
    for theirs in (None, nothing):
        assert (
            render([(record_of(recipe), theirs)], goal=0.9, score_name="R2").splitlines()[-1].count(" -") >= 3
        )


def test_an_unknown_data_set_gets_the_goal_that_half_of_the_runs_reach(iris, recipe):
    work = replace(iris, name="mine")
    pairs = [(record_of(recipe, scores=(0.1, best)), None) for best in (0.5, 0.789, 0.9)]
    assert _goal(work, pairs) == 0.78


def test_a_picture_leaves_out_losses_that_are_not_finite(recipe, tmp_path):
    broken = record_of(recipe, ending="diverged", losses=[1.0, float("nan")])
    draw_comparison([(broken, None)], str(tmp_path / "gap.png"), title="gap")
    assert imread(tmp_path / "gap.png").size > 0


def test_what_goes_wrong_while_warming_up_is_raised(iris, recipe, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no compiler")

    monkeypatch.setattr("fastnn.cli.warm_up.train_fastnn", fail)
    stream = io.StringIO()
    with pytest.raises(RuntimeError, match="no compiler"):
        warm_up(iris, [recipe], ONE_THREAD, Progress(stream, runs=1, score_name="accuracy"))
    assert stream.getvalue() == "warm-up: compiling the kernels, or loading them where an earlier run has\n"


def test_batches_are_whole_while_warming_up(iris, recipe, monkeypatch):
    """Which loops have to be compiled depends on them."""
    seen = []
    monkeypatch.setattr("fastnn.cli.warm_up.FEWEST_ROWS", 10)
    monkeypatch.setattr("fastnn.cli.warm_up.train_fastnn", lambda work, *_: seen.append(len(work.X_train)))
    ways = [replace(recipe, batch_size=size) for size in (1, 100, len(iris.X_train))]
    warm_up(iris, ways, ONE_THREAD, Progress(io.StringIO(), runs=1, score_name="accuracy"))
    assert seen == [10, 100, len(iris.X_train)]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_rewrites_one_line_in_a_terminal_and_wipes_it(recipe):
    stream = Terminal()
    progress = Progress(stream, runs=2, score_name="accuracy")
    progress.epoch(record_of(recipe))
    assert stream.getvalue().startswith("\r[1/2] fastnn")
    assert "\n" not in stream.getvalue()
    progress.clear()
    assert stream.getvalue().endswith(" \r")


def test_progress_writes_one_line_a_run_into_a_log(recipe):
    stream = io.StringIO()
    progress = Progress(stream, runs=2, score_name="accuracy")
    for _ in range(2):
        progress.epoch(record_of(recipe))
        progress.finish(record_of(recipe))
    lines = stream.getvalue().splitlines()
    assert [line[:5] for line in lines] == ["[1/2]", "[2/2]"]
    assert "accuracy 0.900" in lines[0]


def test_both_libraries_start_from_the_same_network(iris):
    network = Network.initialize(contenders.architecture(iris, ONE_THREAD), seed=0)
    draws = np.random.RandomState(0)
    bound = np.sqrt(6 / (4 + 100))
    np.testing.assert_array_equal(
        network.weights[0], draws.uniform(-bound, bound, (4, 100)).astype(np.float32)
    )
