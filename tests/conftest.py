"""FASTNN_TEST_VECTOR_BITS=512 runs the tests with vectors of that width, whatever the processor has."""

import os
import signal

from fastnn.kernels import simd

# Before any test imports the layout, which takes its paddings from it.
simd.VECTOR_BITS = int(os.environ.get("FASTNN_TEST_VECTOR_BITS", simd.VECTOR_BITS))

# A shell lets what it starts in the background ignore Ctrl-C, which some tests send to themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
