"""One core for each thread of a team.

The scheduler wakes a thread where it slept, or next to whoever woke it, and takes milliseconds to see that
two threads share a core while another one idles: a fit of 20 ms could be over before. Only Linux says on
which core a thread runs and lets it leave; elsewhere nothing is done.
"""

import contextlib
import ctypes
import os
import sys

if sys.platform == "linux":
    _library = ctypes.CDLL(None)

    def leave_shared_core(taken):
        """Append the calling thread's core to the list `taken`; if it is there already, move first.

        The thread's affinity is narrowed for the length of the move and then as before: the scheduler stays
        free to move it again.
        """
        core = _library.sched_getcpu()
        # Where a process may not choose its cores, it works where it is.
        with contextlib.suppress(OSError):
            if core in taken:
                core = _move(os.sched_getaffinity(0), taken)
        taken.append(core)

    def _move(allowed, taken):
        """Go to another one of the allowed cores, if there is one; returns the core."""
        free = allowed.difference(taken)
        if free:
            os.sched_setaffinity(0, free)
        try:
            return _library.sched_getcpu()
        finally:
            os.sched_setaffinity(0, allowed)

else:

    def leave_shared_core(taken):
        """Nothing that could be done on this system."""
