"""`compare`: the same network trained six ways by fastnn, and by scikit-learn beside it."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from statistics import median

from fastnn.cli.contenders import Interrupted, Settings, train_fastnn, train_sklearn, warm_up
from fastnn.cli.picture import check_drawable, draw_comparison
from fastnn.cli.progress import Progress
from fastnn.cli.recipes import GOALS, Recipe, recipes
from fastnn.cli.table import Pair, notes, render
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
        progress.say(warm_up(work, ways, settings))
        _measure(work, ways, settings, progress, pairs)
    except (Interrupted, KeyboardInterrupt):
        interrupted = True
    progress.clear()
    if interrupted:
        print(f"fastnn: interrupted after {len(pairs)} of {len(ways)} comparisons", file=sys.stderr)
    if pairs:
        goal = _goal(work, pairs) if options.goal is None else options.goal
        print(render(pairs, goal=goal, score_name=work.score_name))
        print()
        print(notes(pairs, goal=goal, limit=settings.limit))
    if options.plot and pairs:
        draw_comparison(pairs, options.plot, title=work.describe())
        print(f"Loss against time: {options.plot}")
    return 130 if interrupted else 0


def _measure(
    work: Work, ways: Sequence[Recipe], settings: Settings, progress: Progress, pairs: list[Pair]
) -> None:
    """Every recipe by both libraries, one after the other, so that a busy minute on the machine hits both."""
    for recipe in ways:
        ours, _ = train_fastnn(work, recipe, settings, progress.epoch)
        pairs.append((ours, None))
        progress.finish(ours)
        theirs = train_sklearn(work, recipe, settings, progress.epoch)
        pairs[-1] = (ours, theirs)
        progress.finish(theirs)


def _goal(work: Work, pairs: Sequence[Pair]) -> float:
    """The known goal of a data set; for others the score that half of fastnn's runs get to."""
    if work.name in GOALS:
        return GOALS[work.name]
    best = median(max((s for s in ours.scores if not math.isnan(s)), default=-math.inf) for ours, _ in pairs)
    return math.floor(100 * best) / 100 if math.isfinite(best) else best
