"""Ctrl-C while LLVM makes machine code, or takes it from disk."""

import contextlib
import signal
import threading


@contextlib.contextmanager
def interrupts_held():
    """Ctrl-C counts at the end of the block. LLVM calls Python while it works: an exception raised there is
    lost, and the code with it.
    """
    handler, held = signal.getsignal(signal.SIGINT), []
    # Python's handlers run in the main thread alone; others are not ours to replace.
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    signal.signal(signal.SIGINT, lambda *arrived: held.append(arrived))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if held:
            handler(*held[-1])
