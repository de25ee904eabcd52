"""Peak memory of training against rows, each number of rows in a fresh process.

`python -m benchmarks.memory ROWS` is that process: it prints the bytes of the data, and by how much the most
memory that it ever had exceeds what it had before the data existed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import forget_peak, peak_memory

INPUTS = 32
ROWS = {"quick": (100_000, 1_000_000), "full": (10_000, 100_000, 300_000, 1_000_000)}
TIMEOUT = 120.0


def measure(rows: int) -> dict[str, Any]:
    """The figures of a fresh process, or the reason why there are none."""
    entry: dict[str, Any] = {
        "name": str(rows),
        "rows": rows,
        "title": f"full batch on {rows:,} x {INPUTS}, one epoch",
    }
    command = [sys.executable, "-m", "benchmarks.memory", str(rows)]
    root = Path(__file__).parents[1]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return {**entry, "status": "timed out"}
    if done.returncode:
        return {**entry, "status": "crashed", "detail": done.stderr.strip().splitlines()[-1:]}
    return {**entry, "status": "ok", **json.loads(done.stdout)}


def train(rows: int) -> dict[str, int]:
    """Train one epoch by full batch; bytes of the data and of the peak beyond what came before them."""
    from fastnn import SGD, Architecture, Network, Trainer

    def fit(X: Any, y: Any) -> None:
        network = Network.initialize(Architecture((INPUTS, 64, 1)), seed=0)
        Trainer(network, SGD(0.01), batch_size="full", random_state=0).run(X, y, epochs=1)

    random = np.random.default_rng(0)
    fit(random.random((1000, INPUTS), dtype=np.float32), random.random((1000, 1), dtype=np.float32))
    forget_peak()
    before = peak_memory()
    X = random.random((rows, INPUTS), dtype=np.float32)
    y = random.random((rows, 1), dtype=np.float32)
    fit(X, y)
    return {"data_bytes": X.nbytes + y.nbytes, "peak_bytes": peak_memory() - before}


if __name__ == "__main__":
    print(json.dumps(train(int(sys.argv[1]))))
