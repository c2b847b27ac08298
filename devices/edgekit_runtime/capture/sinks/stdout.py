"""JSON lines on standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit_runtime.capture.sinks.base import About, Gone, Sender, Sink


class _Sender(Sender):
    def send(self, messages: Sequence[tuple[str, bytes]]) -> int:
        content = memoryview(b"".join(body + b"\n" for _, body in messages))
        try:
            out = sys.stdout.fileno()
            while content:
                content = content[os.write(out, content) :]
        except (OSError, ValueError) as error:
            raise Gone(f"standard output was closed ({error})") from error
        return len(messages)


@dataclass(frozen=True)
class Stdout(Sink):
    """One JSON object a line."""

    def open(self, about: About) -> Sender:
        return _Sender()
