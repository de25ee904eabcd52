"""The six ways to train that `compare` puts side by side, and the score each data set is timed to."""

from __future__ import annotations

from dataclasses import dataclass

from fastnn.datasets import Task

#: Held-out scores that a network of 100 hidden units reaches on the data sets known by name.
GOALS = {"iris": 0.93, "wine": 0.95, "breast_cancer": 0.95, "digits": 0.96, "diabetes": 0.40}

# Learning rates of (plain steps, Adam) that neither crawl nor diverge on standardised columns. Regression
# takes smaller steps, because its noise would be learnt too.
_RATES = {
    ("classification", "full batch"): (0.3, 0.01),
    ("classification", "mini-batch"): (0.05, 0.002),
    ("classification", "SGD"): (0.005, 0.0005),
    ("regression", "full batch"): (0.1, 0.003),
    ("regression", "mini-batch"): (0.01, 0.0005),
    ("regression", "SGD"): (0.0005, 0.0001),
}


@dataclass(frozen=True)
class Recipe:
    """How to train: rows a step, the kind of step and its rate, times through the data."""

    way: str
    adam: bool
    batch_size: int
    learning_rate: float
    epochs: int

    @property
    def steps(self) -> str:
        return "Adam" if self.adam else "plain"

    @property
    def batches(self) -> str:
        return {"mini-batch": f"mini-batch {self.batch_size}", "SGD": "SGD (1 row)"}.get(self.way, self.way)

    def __str__(self) -> str:
        return f"{self.batches}, {self.steps}"


def recipes(rows: int, task: Task, *, batch_size: int = 32, epochs: int | None = None) -> list[Recipe]:
    """Full batch, mini-batches and single rows, each with plain steps and with Adam, for `rows` rows.

    >>> [str(recipe) for recipe in recipes(1347, "classification")][:3]
    ['full batch, plain', 'full batch, Adam', 'mini-batch 32, plain']
    """
    batch_size = min(batch_size, rows)
    # Enough steps for each way to arrive, not more: the fewer rows a step takes, the fewer epochs.
    lengths = {
        "full batch": 300 if task == "classification" else 100,
        "mini-batch": min(max(1500 * batch_size // rows, 20), 100),
        "SGD": min(max(10_000 // rows, 5), 50),
    }
    sizes = {"full batch": rows, "mini-batch": batch_size, "SGD": 1}
    return [
        Recipe(way, adam, sizes[way], _RATES[task, way][adam], epochs or lengths[way])
        for way in sizes
        for adam in (False, True)
    ]
