"""The engine with Numba's bounds checks, which every index outside its array fails. In a process of its own.

Explicit vectors are not checked by Numba: their tests put guard zones around every buffer.
`NUMBA_BOUNDSCHECK=1 pytest` runs all tests so.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECKED = dict(os.environ) | {"NUMBA_BOUNDSCHECK": "1"}
OUTSIDE = """
import numpy as np
from fastnn.kernels.jit import kernel

@kernel
def read(values, i):
    return values[i]

try:
    read(np.zeros(3, np.float32), 3)
except IndexError:
    print("noticed")
"""
RUNS = [
    *(
        f"tests/test_training.py::test_a_run_takes_the_steps_of_the_oracle[{name}-{batch}-float32]"
        for name in ("plain", "momentum", "nesterov", "adam")
        for batch in (1, 17, "full")
    ),
    "tests/test_training.py::test_training_is_the_same_to_the_bit_for_any_number_of_threads[shards-adam-float32]",
    "tests/test_training.py::test_training_is_the_same_to_the_bit_for_any_number_of_threads[tiles-adam-float32]",
    "tests/test_sample.py::test_networks_of_every_width_learn_one_by_one[plain-float32]",
    "tests/test_sample.py::test_penalty_of_any_size_is_a_factor_or_a_step[26.0-float32]",
    "tests/test_idle.py::test_gradient_with_idle_inputs_is_that_of_the_oracle[(130, 40, 33, 2)-float32]",
    "tests/test_zeros.py::test_gradient_of_data_with_many_zeros_is_that_of_the_oracle[(130, 50, 3)-float32]",
    "tests/test_network.py::test_forward_of_every_width_is_that_of_the_oracle[65-float32]",
]


def test_an_index_outside_its_array_is_noticed(tmp_path):
    # From a file: Numba compiles no function that it has no source of.
    script = tmp_path / "outside.py"
    script.write_text(OUTSIDE, encoding="utf-8")
    settings = CHECKED | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], env=settings, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "noticed", done.stderr


@pytest.mark.skipif(os.environ.get("NUMBA_BOUNDSCHECK") == "1", reason="all tests run with bounds checks")
def test_no_kernel_of_the_engine_leaves_its_arrays():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *RUNS]
    done = subprocess.run(command, env=CHECKED, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"{len(RUNS)} passed" in done.stdout
