"""The child of `isolated.Worker`: reads calls, runs them, sends answers. Its real standard output is the pipe."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback

from edgekit_converters.isolated import failure, receive, send
from edgekit_runtime.errors import EdgekitError


def main() -> None:
    """Serve until the parent is gone."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches both processes of a terminal; the parent ends this one
    pipe_in = os.fdopen(os.dup(0), "rb")
    pipe_out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever frameworks print goes to the log
    sys.stdout = sys.stderr
    while True:
        try:
            function, arguments = receive(pipe_in)
        except EOFError:
            return
        module, name = function.split(":")
        try:
            answer = ("value", getattr(importlib.import_module(module), name)(**arguments))
        except EdgekitError as error:
            answer = failure(error)
        except Exception as error:
            traceback.print_exc()
            first = (str(error).strip().splitlines() or [""])[0][:300]
            answer = ("crash", f"{type(error).__name__}: {first}")
        send(pipe_out, answer)


if __name__ == "__main__":
    main()
