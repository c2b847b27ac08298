"""Converters that cannot share a process run in a child of their own behind the same function call.

The child is started once and kept, since importing TensorFlow costs more than most conversions. The two processes are
both ours and talk over pipes; what the frameworks print goes to a log whose last lines are shown on failure.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

from edgekit_converters.errors import ConversionError, MissingRequirement
from edgekit_runtime.errors import EdgekitError

_TAIL = 8


class Worker:
    """A child process that runs functions by name.

    Args:
        package: Package that must be installed for it.
        extra: The ``edgekit[...]`` extra that brings it.
        environment: Variables to set in the child.

    Raises:
        MissingRequirement: The package is not installed.
    """

    def __init__(self, package: str, extra: str, environment: dict[str, str] | None = None) -> None:
        if importlib.util.find_spec(package) is None:
            raise MissingRequirement(f"{package} is not installed", f'pip install "edgekit[{extra}]"')
        self._log = tempfile.NamedTemporaryFile(prefix="edgekit-log-", suffix=".txt", delete=False)  # noqa: SIM115
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_ENABLE_ONEDNN_OPTS": "0"}
        # -P: a tensorflow.py or keras.py in the user's folder is not the package
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "edgekit_converters.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **quiet, **(environment or {})},
        )
        self._keep_log = False
        self._end = weakref.finalize(self, _kill, self._child)  # also at exit, where nobody closed it

    def call(self, function: str, **arguments: Any) -> Any:
        """Run ``module:function`` with keyword arguments in the child.

        Raises:
            EdgekitError: What the function raised, or a `ConversionError` with the log's last lines if it died.
        """
        assert self._child.stdin is not None and self._child.stdout is not None  # noqa: S101 - opened as pipes
        try:
            send(self._child.stdin, (function, arguments))
            kind, value = receive(self._child.stdout)
        except (BrokenPipeError, EOFError):
            code = self._child.wait()
            how = f"was killed by signal {-code}, as for want of memory," if code < 0 else f"ended with code {code}"
            raise ConversionError(
                f"the converter's process {how} in {function.split(':')[1]}", self._log_words()
            ) from None
        if kind == "error":
            message, hint, exit_code = value
            error = ConversionError(message, hint)
            error.exit_code = exit_code
            raise error
        if kind == "crash":
            raise ConversionError(f"the converter failed in {function.split(':')[1]} ({value})", self._log_words())
        return value

    def _log_words(self) -> str:
        self._keep_log = True
        return f"its log {self._log.name} ends with: {self.tail()}"

    def tail(self) -> str:
        """Last lines of the log."""
        lines = Path(self._log.name).read_text("utf-8", "replace").strip().splitlines()
        return " | ".join(line.strip() for line in lines[-_TAIL:]) or "nothing"

    def close(self) -> None:
        """End the child and remove the log, unless it tells of a failure."""
        self._end()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self._log.close()
        if not self._keep_log:
            Path(self._log.name).unlink(missing_ok=True)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _kill(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.kill()
    child.wait()


def send(pipe: Any, message: Any) -> None:
    """One message: its length in eight bytes, then the pickle."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    pipe.write(struct.pack("<Q", len(data)))
    pipe.write(data)
    pipe.flush()


def receive(pipe: Any) -> Any:
    """Read one message.

    Raises:
        EOFError: The other side is gone.
    """
    head = pipe.read(8)
    if len(head) < 8:
        raise EOFError
    (size,) = struct.unpack("<Q", head)
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)  # noqa: S301 - both processes are ours, the pipe is private


def failure(error: EdgekitError) -> tuple[str, tuple[str, str, int]]:
    """An error as a message."""
    return "error", (error.message, error.hint, error.exit_code)
