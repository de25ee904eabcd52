"""Numbers of a command line: what an option takes, or a message that says what it must be."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

_Number = TypeVar("_Number", int, float)


def count(text: str) -> int:
    return checked(text, int, lambda value: value >= 1, "an integer >= 1")


def seed(text: str) -> int:
    return checked(text, int, lambda value: 0 <= value < 2**32, "an integer in [0, 2**32)")


def positive(text: str) -> float:
    return checked(text, float, lambda value: 0 < value < float("inf"), "a number > 0")


def not_negative(text: str) -> float:
    return checked(text, float, lambda value: 0 <= value < float("inf"), "a number >= 0")


def score(text: str) -> float:
    return checked(text, float, lambda value: -float("inf") < value <= 1, "a score, a finite number <= 1")


def batch_size(text: str) -> int | str:
    return text if text == "full" else count(text)


def checked(text: str, kind: type[_Number], holds: Callable[[_Number], bool], rule: str) -> _Number:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not holds(value):
        raise argparse.ArgumentTypeError(f"must be {rule}; got {text!r}")
    return value
