"""FASTNN_TEST_VECTOR_BITS=512 runs the tests with vectors of that width, whatever the processor has."""

import os

from fastnn.kernels import simd

# Before any test imports the layout, which takes its paddings from it.
simd.VECTOR_BITS = int(os.environ.get("FASTNN_TEST_VECTOR_BITS", simd.VECTOR_BITS))
