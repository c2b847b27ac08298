"""JSON by POST."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional
from urllib.parse import urlsplit

from edgekit_runtime.capture.settings import path_field, secret
from edgekit_runtime.capture.sinks.base import About, Away, Sender, Sink


class _Sender(Sender):
    def __init__(self, url: str, headers: Mapping[str, str], timeout: float, context: Optional[ssl.SSLContext]) -> None:
        parts = urlsplit(url)
        self._where = f"{parts.scheme}://{parts.netloc}"
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {"Content-Type": "application/json", **headers}
        host, port = parts.hostname or "", parts.port
        self._connection: http.client.HTTPConnection
        if context is not None:
            self._connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=timeout)

    def send(self, messages: Sequence[tuple[str, bytes]]) -> int:
        done = 0
        for _, body in messages:
            try:
                fresh = self._connection.sock is None
                try:
                    status = self._post(body)
                except (http.client.BadStatusLine, ConnectionError):
                    self._connection.close()
                    if fresh:
                        raise
                    status = self._post(body)  # the other side may close a connection that it kept, at any time
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if done:
                    return done
                raise Away(f"cannot reach {self._where} ({error or type(error).__name__})") from error
            if status >= 500 or status in (401, 403, 404, 408, 425, 429):
                if done:
                    return done
                raise Away(f"{self._where} answered {status}")
            if status >= 300:
                self.refused += 1
                self.why = f"{self._where} answered {status}"
            done += 1
        return done

    def _post(self, body: bytes) -> int:
        self._connection.request("POST", self._target, body, self._headers)
        with self._connection.getresponse() as response:
            response.read(2**20)
            return response.status

    def close(self, state: Optional[str] = None) -> None:
        self._connection.close()


@dataclass(frozen=True)
class Http(Sink):
    """An URL that takes one JSON object a request.

    While it cannot be reached, or answers 5xx, 401, 403, 404, 408, 425 or 429, messages wait; another 3xx or 4xx
    refuses the message for good.

    Attributes:
        url: ``http://…`` or ``https://…``.
        token_file: File with a token, sent as ``Authorization: Bearer``.
        token_env: Environment variable with it.
        headers: Further headers.
        ca_file: Certificates to trust; the system's by default.
        timeout: Seconds for one request.
        room: Messages that may wait in memory.
        outbox: File in which messages wait while the other side is away.
        keep: Messages that may wait there; the oldest are dropped.
    """

    url: str
    token_file: str = path_field("")
    token_env: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_file: str = path_field("")
    timeout: float = 10.0
    room: int = 1000
    outbox: str = path_field("")
    keep: int = 10_000

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must be http://HOST/… or https://HOST/…")
        if parts.username or parts.password:
            raise ValueError("url holds a user or password; put a token in a file and name it with token_file")
        if self.timeout <= 0 or self.room < 1 or self.keep < 1:
            raise ValueError("timeout must be over 0, room and keep 1 or more")

    def open(self, about: About) -> Sender:
        token = secret(self.token_file, self.token_env, "[[sink]] token")
        headers = {**self.headers, **({"Authorization": f"Bearer {token}"} if token else {})}
        context = trusting(self.ca_file) if self.url.startswith("https") else None
        return _Sender(self.url, headers, self.timeout, context)


def trusting(ca_file: str, certificate: str = "", key: str = "") -> ssl.SSLContext:
    """A context for a client.

    Raises:
        UsageError: A file cannot be read, or is not what it should be.
    """
    from edgekit_runtime.errors import UsageError

    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        if certificate:
            context.load_cert_chain(certificate, key or None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"[[sink]]: the certificates cannot be read ({error})") from error
    return context
