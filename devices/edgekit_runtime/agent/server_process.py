"""The serving process as the agent's child: started, watched, started again."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, Optional

_LOG = logging.getLogger("edgekit_runtime")
_LONGEST_WAIT = 60.0
_STEADY = 60.0  # seconds after which a start counts as a good one


class ServerProcess:
    """``edgekit-runtime serve`` on the agent's store.

    Args:
        store: The store's folder.
        arguments: Further arguments: where it listens, for one.
        clock: Seconds, monotonic.
    """

    def __init__(self, store: Path, arguments: Sequence[str], clock: Callable[[], float]) -> None:
        self._command = [sys.executable, "-m", "edgekit_runtime.agent.server_child", str(os.getpid())]
        self._command += ["--store", str(store), *arguments]
        self._clock = clock
        self._child: Optional[subprocess.Popen[bytes]] = None
        self._started = 0.0
        self._wait, self._not_before = 1.0, 0.0

    def watch(self) -> None:
        """Start it where it does not run; not more often than each time twice as long after it died at once."""
        now = self._clock()
        if self._child is not None:
            code = self._child.poll()
            if code is None:
                return
            self._wait = 1.0 if now - self._started > _STEADY else min(2 * self._wait, _LONGEST_WAIT)
            self._not_before = now + self._wait
            _LOG.error("the serving process ended with %d; it is started again in %g s", code, self._wait)
            self._child = None
        if now < self._not_before:
            return
        try:
            self._child = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        except OSError as error:
            _LOG.error("the serving process cannot be started (%s)", error)
            self._not_before = now + self._wait
            return
        self._started = now

    def close(self) -> None:
        """End it."""
        if self._child is None or self._child.poll() is not None:
            return
        self._child.terminate()
        try:
            self._child.wait(15)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
