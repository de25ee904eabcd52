"""`python -m benchmarks`: ceiling, rivals, report, compare."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import ceiling, console, problems, race, rivals, store
from benchmarks.quantities import rate


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    limits = commands.add_parser("ceiling", help="measure the limits of this machine")
    limits.set_defaults(run=run_ceiling)
    add_rivals(commands)
    return top


def add_rivals(commands: Any) -> None:
    sub = commands.add_parser("rivals", help="the same work by every library, side by side")
    sub.add_argument(
        "--only", metavar="NAMES", help=f"problems, with commas: {', '.join(problems.PROBLEMS)}; NAME@float64"
    )
    sub.add_argument(
        "--libraries", metavar="NAMES", help=f"libraries, with commas: {', '.join(rivals.RIVALS)}"
    )
    sub.add_argument("--repeats", type=int, default=5, help="repetitions, interleaved (default 5)")
    sub.add_argument("--seconds", type=float, default=0.25, help="of one repetition (default 0.25)")
    sub.add_argument("--timeout", type=float, default=120.0, help="of one answer of a library (default 120)")
    sub.add_argument("--threads", type=int, help="threads for every library (default: the best of 1 and all)")
    sub.add_argument(
        "--json", type=Path, metavar="FILE", help="add the figures to FILE, or replace them there"
    )
    sub.set_defaults(run=run_rivals)


def run_ceiling(options: argparse.Namespace) -> int:
    """Print the limits."""
    for name, value in ceiling.measure().items():
        unit = "FLOP/s" if "gemm" in name else "B/s" if name in ("memory", "l1") else ""
        print(f"{name:<17} {rate(value) if unit else value}{unit}")
    return 0


def run_rivals(options: argparse.Namespace) -> int:
    """Race, print each table as soon as it is there, and keep the figures."""
    names = options.only.split(",") if options.only else list(problems.PROBLEMS)
    chosen = [problems.get(name) for name in names]
    libraries = options.libraries.split(",") if options.libraries else None
    if options.repeats < 1:
        raise ValueError(f"--repeats must be at least 1; got {options.repeats}.")
    for library in libraries or ():
        rivals.get(library)
    fresh = options.json is None or not options.json.exists()
    document = store.new("rivals") if fresh else store.load(options.json)
    document["ceiling"] = ceiling.measure()
    rules = race.Rules(options.repeats, options.seconds, options.timeout, options.threads)
    progress = console.Progress(sys.stderr, len(chosen))
    try:
        for result in race.races(chosen, libraries, rules, progress.say):
            progress.close()
            progress.advance()
            print(console.race_table(result, document["ceiling"]) + "\n", flush=True)
            store.put(document, "rivals", result)
            if options.json:
                store.save(document, options.json)
    except KeyboardInterrupt:
        progress.close()
        print("interrupted; what was measured is kept", file=sys.stderr)
        return 130
    if not options.json:
        print(json.dumps({"sgemm_1": document["ceiling"]["sgemm_1"], "load": document["machine"]}))
    return 0
