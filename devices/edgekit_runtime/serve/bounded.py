"""uvicorn's HTTP protocols with an end to what comes before a body: nobody has shown a token by then.

uvicorn bounds the header under h11 (64 KiB) but not under httptools, where a client that never ends its header takes
all memory; and under neither is there a time by which it must have come.
"""

from __future__ import annotations

import importlib.util
from typing import Any

HEADER_BYTES = 2**16
"""Bytes of request line and header from which a request is refused (as h11's bound, give or take one read)."""

HEADER_SECONDS = 60.0
"""A connection that has had no request begin or run for so long, once or twice over, is closed."""


def protocol() -> Any:
    """The protocol class for ``uvicorn.Config(http=…)``: on httptools where it is installed, else on h11."""
    if importlib.util.find_spec("httptools") is None:
        from uvicorn.protocols.http.h11_impl import H11Protocol

        return _punctual(H11Protocol)
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    return _punctual(_short(HttpToolsProtocol))


def _punctual(base: Any) -> Any:
    class Punctual(base):  # type: ignore[misc]
        _seen: Any = None  # uvicorn's object for the last request that was begun
        _watch: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch = self.loop.call_later(HEADER_SECONDS, self._look)

        def connection_lost(self, exc: Any) -> None:
            self._watch.cancel()
            super().connection_lost(exc)

        def _look(self) -> None:
            idle = self.cycle is None or self.cycle.response_complete
            if idle and self.cycle is self._seen:
                self.transport.close()
                return
            self._seen = self.cycle
            self._watch = self.loop.call_later(HEADER_SECONDS, self._look)

    return Punctual


def _short(base: Any) -> Any:
    class Short(base):  # type: ignore[misc]
        _heading = False  # between the first byte of a request and the end of its header
        _length = 0

        def data_received(self, data: bytes) -> None:
            before = self._heading
            super().data_received(data)
            if before and self._heading and not self.transport.is_closing():
                self._length += len(data)
                if self._length > HEADER_BYTES:
                    self.send_400_response("The request's header is too long.")

        def on_message_begin(self) -> None:
            self._heading, self._length = True, 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._heading = False
            super().on_headers_complete()

    return Short
