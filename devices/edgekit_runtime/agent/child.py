"""A child process that can be stopped early."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from typing import Optional

_LOOK = 0.1  # seconds between looks at whether it shall stop


class Stopped(Exception):
    """What was being done was given up; nobody waits for what it came to."""


def run(
    command: list[str], stop: threading.Event, *, given: bytes = b"", timeout: Optional[float] = None
) -> tuple[int, bytes, str]:
    """Exit code, standard output, and what it said on standard error; killed when it shall stop or takes too long.

    Args:
        command: Its words.
        stop: When it shall stop.
        given: Its standard input, at most what a pipe holds (64 KiB).
        timeout: Seconds that it may take.

    Raises:
        Stopped: It was killed because `stop` was set.
        TimeoutError: It was killed after `timeout` seconds.
        OSError: It could not be started.
    """
    until = None if timeout is None else time.monotonic() + timeout
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        try:
            # not by communicate: before Python 3.13 it forgets the rest of its input when it is called again
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(given)  # type: ignore[union-attr]
                child.stdin.close()  # type: ignore[union-attr]
            child.stdin = None
            while not stop.is_set():
                left = _LOOK if until is None else until - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                with contextlib.suppress(subprocess.TimeoutExpired):
                    out, said = child.communicate(timeout=min(_LOOK, left))
                    return child.returncode, out, said.decode("utf-8", "replace")
            raise Stopped
        finally:
            if child.poll() is None:
                child.kill()
