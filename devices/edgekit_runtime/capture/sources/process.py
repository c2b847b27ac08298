"""Samples from another program's standard output: it can be waited for with a limit, and ended at any time."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Optional

from edgekit_runtime.capture.sources.base import SourceLost
from edgekit_runtime.errors import MissingRequirement


class Program:
    """A child process whose standard output is read in whole pieces."""

    def __init__(
        self, command: Sequence[str], where: str, missing: str, environment: Optional[Mapping[str, str]] = None
    ) -> None:
        """Start it.

        Raises:
            MissingRequirement: There is no such program; `missing` says how to get it.
        """
        found = shutil.which(command[0])
        if found is None:
            raise MissingRequirement(f"{where} needs the program {command[0]}", missing)
        self._where = where
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the program; a pipe could fill and block it
        self._child = subprocess.Popen(
            [found, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=dict(os.environ if environment is None else environment),
            start_new_session=True,  # the terminal's Ctrl-C is for us; we end it
        )
        assert self._child.stdout is not None  # noqa: S101 - narrows the type
        self._out = self._child.stdout.fileno()

    def read(self, size: int, seconds: float) -> bytearray:
        """Exactly `size` bytes.

        Raises:
            SourceLost: The program ended (with the last line that it said), or nothing came for `seconds`.
        """
        content = bytearray(size)
        view, done = memoryview(content), 0
        limit = time.monotonic() + seconds
        while done < size:
            ready = select.select([self._out], [], [], max(0.0, limit - time.monotonic()))[0]
            if not ready:
                raise SourceLost(f"{self._where} gave nothing for {seconds:g} s")
            count = os.readv(self._out, [view[done:]])
            if not count:
                raise SourceLost(f"{self._where} ended{self._last_words()}")
            done += count
            limit = time.monotonic() + seconds
        return content

    def _last_words(self) -> str:
        try:
            code = self._child.wait(2)
        except subprocess.TimeoutExpired:
            return ""
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - 2000))
        lines = [line.strip() for line in self._said.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return f" with code {code}" + (f" ({lines[-1][:200]})" if lines else "")

    @property
    def ended_well(self) -> bool:
        """Whether it has ended with code 0."""
        return self._child.poll() == 0

    def close(self) -> None:
        """End it, if need be by force."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(2)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
