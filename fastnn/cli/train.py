"""`train`: one model on one data set."""

from __future__ import annotations

import argparse
import sys

from fastnn.cli.contenders import Interrupted, Settings, train_fastnn
from fastnn.cli.progress import Progress
from fastnn.cli.recipes import Recipe, recipes
from fastnn.cli.record import Record
from fastnn.cli.warm_up import warm_up
from fastnn.cli.work import Work, prepare
from fastnn.datasets import load


def run(options: argparse.Namespace) -> int:
    """Train by the chosen recipe and print the held-out score."""
    work = prepare(load(options.dataset, options.target, task=options.task))
    settings = Settings(
        hidden=tuple(options.hidden),
        activation=options.activation,
        alpha=options.alpha,
        seed=options.seed,
        n_threads=options.threads,
    )
    recipe = choose_recipe(work, options)
    progress = Progress(sys.stderr, runs=1, score_name=work.score_name)
    progress.say(f"{work.describe()}; {recipe}, learning rate {recipe.learning_rate:g}")
    last: list[Record] = []

    def show(record: Record) -> None:
        last[:] = [record]
        progress.epoch(record)

    try:
        warm_up(work, [recipe], settings, progress)
        train_fastnn(work, recipe, settings, show)
    except (Interrupted, KeyboardInterrupt):
        progress.clear()
        done = last[0].epochs if last else 0
        print(f"fastnn: interrupted after {done} of {recipe.epochs} epochs", file=sys.stderr)
        return _report(work, last, 130)
    progress.clear()
    return _report(work, last, 0)


def _report(work: Work, last: list[Record], code: int) -> int:
    if not last:
        return code
    record = last[0]
    if record.ending == "diverged":
        print("fastnn: training diverged; take a smaller --learning-rate", file=sys.stderr)
        return 1
    print(
        f"held-out {work.score_name} {record.scores[-1]:.3f} after {record.epochs} epochs in "
        f"{record.seconds[-1]:.3f} s, {record.rows_a_second:,.0f} rows a second"
    )
    return code


def choose_recipe(work: Work, options: argparse.Namespace) -> Recipe:
    """The recipe that `compare` would use for these batches, with the rate and the epochs the caller gave."""
    rows = len(work.X_train)
    batch_size = rows if options.batch_size == "full" else min(options.batch_size, rows)
    way = {1: "SGD", rows: "full batch"}.get(batch_size, "mini-batch")
    adam = options.steps == "adam"
    like = next(
        each
        for each in recipes(rows, work.task, batch_size=batch_size)
        if (each.way, each.adam) == (way, adam)
    )
    rate = options.learning_rate or like.learning_rate
    return Recipe(way, adam, batch_size, rate, options.epochs or like.epochs)
