"""``edgekit-runtime serve`` that does not outlive the agent that started it.

An agent that was killed would else find its socket taken by a server that nobody watches, with every model in memory
twice. ``python -m edgekit_runtime.agent.server_child PARENT WORDS…``; PARENT is the agent's process number.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, prctl(2); of the thread that started it, which is the agent's main one


def main() -> None:
    """Entry point of the child."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):  # it was gone before this one was heard
        sys.exit(1)
    from edgekit_runtime.cli import main as runtime

    runtime(["serve", *sys.argv[2:]])


if __name__ == "__main__":
    main()
