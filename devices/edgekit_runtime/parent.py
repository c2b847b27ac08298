"""Children that must not outlive the process that started them."""

from __future__ import annotations

import ctypes
import os
import signal

_PDEATHSIG = 1  # PR_SET_PDEATHSIG, prctl(2); of the thread that started the child


def die_with(parent: int) -> None:
    """Be killed when `parent` ends, whatever this process is doing by then; end at once where it has ended already.

    Args:
        parent: Number of the process that started this one.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
