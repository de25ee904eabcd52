"""Ctrl-C while LLVM makes machine code, or takes it from disk."""

import contextlib
import signal


@contextlib.contextmanager
def interrupts_held():
    """Ctrl-C counts at the end of the block. LLVM calls Python while it works: an exception raised there is
    lost, and the code with it.
    """
    handler, held = signal.getsignal(signal.SIGINT), []
    # One that isn't Python's is not ours to replace.
    if not callable(handler) or not has_handler(lambda *arrived: held.append(arrived)):
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        for arrived in held:
            handler(*arrived)


def has_handler(handler):
    """Whether Ctrl-C comes to `handler` from now on: only the main thread may set one, and only there Python
    calls them.
    """
    try:
        signal.signal(signal.SIGINT, handler)
    except ValueError:
        return False
    return True
