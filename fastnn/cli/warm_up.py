"""Compiling before anything is timed, beside the main thread: LLVM takes no interrupts, Ctrl-C is heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Thread
from time import perf_counter

from fastnn.cli.contenders import Settings, train_fastnn, unseen
from fastnn.cli.progress import Progress
from fastnn.cli.recipes import Recipe
from fastnn.cli.work import Work

FEWEST_ROWS = 256
_TICK_SECONDS = 0.1


def warm_up(work: Work, ways: Sequence[Recipe], settings: Settings, progress: Progress) -> None:
    """One short run by each recipe, so that none pays for compilation later."""
    started = perf_counter()
    failures: list[BaseException] = []

    def train_briefly() -> None:
        try:
            for recipe in ways:
                # Which loops are compiled depends on the batch: it has to be whole.
                few = work.first(max(FEWEST_ROWS, recipe.batch_size))
                train_fastnn(few, replace(recipe, epochs=1), settings, unseen)
        except BaseException as error:
            failures.append(error)

    compiling = Thread(target=train_briefly, daemon=True)
    compiling.start()
    progress.say("warm-up: compiling the kernels, or loading them where an earlier run has")
    while compiling.is_alive():
        compiling.join(_TICK_SECONDS)
        progress.tick(f"warm-up: {perf_counter() - started:.0f} s")
    if failures:
        raise failures[0]
    progress.say(f"warm-up: done in {perf_counter() - started:.1f} s, not counted below")
