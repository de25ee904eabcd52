"""`python -m benchmarks`: ceiling, rivals, report, compare, targets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import ceiling, collect, console, gate, problems, race, rivals, store, targets
from benchmarks.quantities import rate
from benchmarks.report import html, markdown, tables
from fastnn.cli import numbers


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    limits = commands.add_parser("ceiling", help="measure the limits of this machine")
    limits.set_defaults(run=run_ceiling)
    add_rivals(commands)
    add_report(commands)
    add_compare(commands)
    goals = commands.add_parser("targets", help="stored figures against the project's targets")
    goals.add_argument("file", type=Path)
    goals.set_defaults(run=run_targets)
    return top


def add_rivals(commands: Any) -> None:
    sub = commands.add_parser("rivals", help="the same work by every library, side by side")
    sub.add_argument(
        "--only", metavar="NAMES", help=f"problems, with commas: {', '.join(problems.PROBLEMS)}; NAME@float64"
    )
    sub.add_argument(
        "--libraries",
        metavar="NAMES",
        help=f"libraries, with commas: {', '.join(rivals.RIVALS)}; NAME@THREADS",
    )
    sub.add_argument("--repeats", type=numbers.count, default=5, help="repetitions, interleaved (default 5)")
    sub.add_argument(
        "--seconds", type=numbers.positive, default=0.25, help="of one repetition (default 0.25)"
    )
    sub.add_argument(
        "--timeout", type=numbers.positive, default=120.0, help="of one answer of a library (default 120)"
    )
    sub.add_argument(
        "--threads", type=numbers.count, help="threads for every library (default: the best of 1 and all)"
    )
    sub.add_argument(
        "--json", type=Path, metavar="FILE", help="add the figures to FILE, or replace them there"
    )
    sub.set_defaults(run=run_rivals)


def add_report(commands: Any) -> None:
    sub = commands.add_parser("report", help="measure, and write a page, Markdown and JSON")
    size = sub.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="in three minutes (default)")
    size.add_argument("--full", action="store_true", help="everything, more repetitions: an hour or two")
    size.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="no measuring: from a stored JSON"
    )
    sub.add_argument(
        "--out",
        type=Path,
        default=Path("benchmark-report"),
        metavar="FOLDER",
        help="default: benchmark-report",
    )
    sub.add_argument("--readme", type=Path, metavar="FILE", help="also put the table between FILE's markers")
    sub.set_defaults(run=run_report)


def add_compare(commands: Any) -> None:
    sub = commands.add_parser(
        "compare", help="old figures against new ones; fails if fastnn has become slower"
    )
    sub.add_argument("old", type=Path)
    sub.add_argument("new", type=Path)
    sub.add_argument(
        "--threshold",
        type=float,
        default=gate.THRESHOLD,
        help=f"loss that fails, if the interval leaves no doubt (default {gate.THRESHOLD})",
    )
    sub.set_defaults(run=run_compare)


def run_report(options: argparse.Namespace) -> int:
    """Measure or load, then write report.html, report.md and report.json."""
    stored = options.out / "report.json"
    if options.readme:  # before an hour of measurements, not after it
        markdown.check_readme(options.readme)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.source:
        document = store.load(options.source)
        store.save(document, stored)
    else:
        plan = collect.PLANS["full" if options.full else "quick"]
        document = collect.collect(plan, stored, console.Progress(sys.stderr, collect.count(plan)))
    (options.out / "report.html").write_text(html.page(document), encoding="utf-8")
    (options.out / "report.md").write_text(markdown.page(document), encoding="utf-8")
    if options.readme:
        markdown.update_readme(document, options.readme)
    print(
        "\n".join(
            [*tables.summary(document), f"written: {options.out / 'report.html'}, report.md, report.json"]
        )
    )
    return 0 if document["complete"] else 130


def run_compare(options: argparse.Namespace) -> int:
    """Print the ratios; 1 if a loss is certain."""
    if not 0 < options.threshold < 1:
        raise ValueError(f"--threshold must be between 0 and 1; got {options.threshold}.")
    verdicts = gate.compare(store.load(options.old), store.load(options.new), options.threshold)
    if not verdicts:
        raise ValueError(f"{options.old} and {options.new} have no work in common.")
    print("Speed as a share of the ceiling measured beside it, new over old, with its 95 % interval\n")
    print(console.table(("Work", "new / old", "interval", "verdict"), gate.rows(verdicts)))
    failed = [verdict for verdict in verdicts if verdict.failed]
    print(f"\n{len(failed)} of {len(verdicts)} lost more than {options.threshold:.0%}.")
    return 1 if failed else 0


def run_targets(options: argparse.Namespace) -> int:
    """Print each target with what was reached; 1 if a 'must' was missed."""
    rows = targets.judge(store.load(options.file))
    print(console.table(targets.HEADER, rows))
    return 1 if any(row[-1] == "MISSED" for row in rows) else 0


def run_ceiling(options: argparse.Namespace) -> int:
    """Print the limits."""
    for name, value in ceiling.measure().items():
        unit = "FLOP/s" if "gemm" in name else "B/s" if name in ("memory", "l1") else ""
        print(f"{name:<17} {rate(value) if unit else value}{unit}")
    return 0


def listed(names: str | None) -> list[str] | None:
    """Names with commas between them, as a list."""
    return [name.strip() for name in names.split(",")] if names else None


def run_rivals(options: argparse.Namespace) -> int:
    """Race, print each table as soon as it is there, and keep the figures."""
    chosen = [problems.get(name) for name in listed(options.only) or problems.PROBLEMS]
    libraries = listed(options.libraries)
    for problem in chosen:
        race.libraries_for(problem, libraries)
    document = store.new("rivals")
    if options.json and options.json.exists():
        document = store.load_to_add(options.json, document)
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
    except KeyboardInterrupt as stop:
        progress.close()
        store.keep(document, stop)
        if options.json:
            store.save(document, options.json)
        print("interrupted; what was measured is kept", file=sys.stderr)
        return 130
    return 0
