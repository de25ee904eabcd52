"""`compare`: the same network trained six ways by fastnn, and by scikit-learn beside it."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from fastnn.cli.contenders import Interrupted, Settings, sklearn_terms, train_fastnn, train_sklearn
from fastnn.cli.picture import check_drawable, draw_comparison
from fastnn.cli.progress import Progress
from fastnn.cli.recipes import GOALS, Recipe, recipes
from fastnn.cli.record import Record
from fastnn.cli.table import SHORT_RUN, Pair, notes, render
from fastnn.cli.warm_up import warm_up
from fastnn.cli.work import Work, prepare
from fastnn.datasets import load


def run(options: argparse.Namespace) -> int:
    """Print the table, save the picture; 130 if Ctrl-C cut it short."""
    if options.plot:
        check_drawable(options.plot)
    work = prepare(load(options.dataset, options.target, task=options.task))
    settings = Settings(
        hidden=tuple(options.hidden),
        activation=options.activation,
        seed=options.seed,
        n_threads=options.threads,
        limit=options.seconds,
    )
    ways = recipes(len(work.X_train), work.task, batch_size=options.batch_size, epochs=options.epochs)
    pairs: list[Pair] = []
    progress = Progress(sys.stderr, runs=2 * len(ways), score_name=work.score_name)
    interrupted = False
    try:
        progress.say(f"{work.describe()}; hidden layers {options.hidden}, seed {options.seed}")
        warm_up(work, ways, settings, progress)
        _measure(work, ways, settings, progress, pairs)
    except (Interrupted, KeyboardInterrupt):
        interrupted = True
    progress.clear()
    if interrupted:
        print(f"fastnn: interrupted during comparison {max(len(pairs), 1)} of {len(ways)}", file=sys.stderr)
    if pairs:
        _report(work, pairs, options)
    return 130 if interrupted else 0


def _report(work: Work, pairs: Sequence[Pair], options: argparse.Namespace) -> None:
    goal = _goal(work, pairs) if options.goal is None else options.goal
    print(render(pairs, goal=goal, score_name=work.score_name))
    print()
    print(notes(pairs, goal=goal, limit=options.seconds))
    if options.plot:
        draw_comparison(pairs, options.plot, title=work.describe())
        print(f"Loss against time: {options.plot}")


def _measure(
    work: Work, ways: Sequence[Recipe], settings: Settings, progress: Progress, pairs: list[Pair]
) -> None:
    """Every recipe by both libraries, one after the other, so that a busy minute on the machine hits both."""
    for recipe in ways:
        ours = _typical(partial(train_fastnn, work, recipe, settings, progress.epoch))
        pairs.append((ours, None))
        progress.finish(ours)
        terms = sklearn_terms(work, recipe, settings)
        theirs = _typical(partial(train_sklearn, work, recipe, settings, progress.epoch, terms))
        pairs[-1] = (ours, theirs)
        progress.finish(theirs)


def _typical(train: Callable[[], Record]) -> Record:
    """A run, or the median of five if a single one is too short to stand for others on a busy machine."""
    records = [train()]
    while len(records) < 5 and records[0].elapsed < SHORT_RUN:
        records.append(train())
    return sorted(records, key=lambda record: record.elapsed)[len(records) // 2]


def _goal(work: Work, pairs: Sequence[Pair]) -> float:
    """The known goal of a data set; for others the score that half of fastnn's runs get to."""
    if work.name in GOALS:
        return GOALS[work.name]
    best = median(max((s for s in ours.scores if not math.isnan(s)), default=-math.inf) for ours, _ in pairs)
    return math.floor(100 * best) / 100 if math.isfinite(best) else best
