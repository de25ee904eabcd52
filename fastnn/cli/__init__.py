"""The command line: `compare`, `train`, `info`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

from fastnn.cli import numbers

COMMANDS = ("compare", "train", "info")

_DATASET = "iris, wine, breast_cancer, digits, diabetes, linnerud, or a CSV file with --target COLUMN"
_EXAMPLES = """examples:
  python -m fastnn compare digits
  python -m fastnn compare digits --plot digits.png
  python -m fastnn compare houses.csv --target price --hidden 64 64
  python -m fastnn train wine --batch-size full
  python -m fastnn info
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        print(f"fastnn: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 for done, 2 for a mistake in what was asked, 130 for Ctrl-C.

    >>> main(["no-such-command"])
    2
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        return _fail(_unknown_command(arguments[0]))
    try:
        options = _parser().parse_args(arguments or ["--help"])
        # A command is imported when it runs: --help answers without waiting for scikit-learn or Numba.
        code: int = import_module(f"fastnn.cli.{options.command}").run(options)
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print("fastnn: interrupted", file=sys.stderr)
        return 130
    except MemoryError as error:
        return _fail(f"there is not enough memory for this network: {error}")
    except (ValueError, OSError, ModuleNotFoundError) as error:
        return _fail(str(error))
    return code


def _fail(message: str) -> int:
    print("fastnn: " + " ".join(message.split()), file=sys.stderr)
    return 2


def _unknown_command(name: str) -> str:
    close = get_close_matches(name, COMMANDS, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else "."
    return f"unknown command {name!r}{guess} Known: {', '.join(COMMANDS)}."


def _parser() -> argparse.ArgumentParser:
    from fastnn import __version__

    parser = _Parser(
        prog="python -m fastnn",
        description="Train small neural networks on real data, and see how long it takes.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastnn {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    _add_compare(commands)
    _add_train(commands)
    commands.add_parser("info", help="print processor, vector width, threads, versions, cache folder")
    return parser


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser(
        "compare",
        help="train one network six ways, beside scikit-learn's",
        description="Train the same network by full batch, mini-batches and SGD (one row a step), with plain "
        "steps and with Adam, by fastnn and by scikit-learn, and print one table.",
    )
    _add_data(compare)
    compare.add_argument("--plot", metavar="FILE.png", help="save loss against time for all runs")
    compare.add_argument(
        "--batch-size", type=numbers.count, default=32, metavar="ROWS", help="of the mini-batches (32)"
    )
    compare.add_argument(
        "--goal", type=numbers.score, metavar="SCORE", help="held-out score to measure the time to"
    )
    compare.add_argument(
        "--epochs", type=numbers.count, metavar="N", help="for every run, instead of each way's own"
    )
    compare.add_argument(
        "--seconds",
        type=numbers.positive,
        default=4.0,
        metavar="S",
        help="training time at which a run stops (4)",
    )


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train one model and print its held-out score",
        description="Train one network on three quarters of a data set and print its score on the rest.",
    )
    _add_data(train)
    train.add_argument("--steps", choices=("adam", "sgd"), default="adam", help="kind of step (adam)")
    train.add_argument(
        "--batch-size",
        type=numbers.batch_size,
        default=32,
        metavar="ROWS",
        help="of a step; 'full' for all (32)",
    )
    train.add_argument("--learning-rate", type=numbers.positive, metavar="RATE", help="size of a step")
    train.add_argument("--epochs", type=numbers.count, metavar="N", help="times through the data")
    train.add_argument(
        "--alpha", type=numbers.not_negative, default=1e-4, metavar="A", help="L2 penalty (0.0001)"
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help=_DATASET)
    parser.add_argument("--target", metavar="COLUMN", help="column of the CSV file to predict")
    parser.add_argument(
        "--task", choices=("classification", "regression"), help="of a CSV file, where the guess is wrong"
    )
    parser.add_argument(
        "--hidden",
        type=numbers.count,
        nargs="*",
        default=[100],
        metavar="UNITS",
        help="of each hidden layer (100)",
    )
    parser.add_argument("--activation", choices=("relu", "tanh", "logistic", "identity"), default="relu")
    parser.add_argument(
        "--seed", type=numbers.seed, default=0, metavar="N", help="of the weights and the shuffles (0)"
    )
    parser.add_argument(
        "--threads", type=numbers.count, metavar="N", help="for fastnn (as many as the work is worth)"
    )
