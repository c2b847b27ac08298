"""Asks a server over TCP or its Unix socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from typing import Any, Optional
from urllib.parse import urlsplit

from edgekit_runtime.errors import EdgekitError, UsageError

_SECONDS = 5.0
_LARGEST = 16 * 2**20


class Unreachable(EdgekitError):
    """The server cannot be asked, or its answer is of no use."""


class Link:
    """One server.

    Args:
        url: ``http://host:port`` or ``https://…``; None where there is a socket.
        path: Its Unix socket.
        token: What it wants to be told.

    Raises:
        UsageError: The URL is not one of a server.
    """

    def __init__(self, url: Optional[str], path: Optional[str] = None, token: Optional[str] = None) -> None:
        self._path, self._headers = path, {} if token is None else {"Authorization": f"Bearer {token}"}
        self._host, self._port, self._secure = "localhost", None, False  # type: tuple[str, Optional[int], bool]
        self.name = f"unix:{path}"
        if path is None:
            try:
                parts = urlsplit(url or "")
                self._port = parts.port
            except ValueError as error:
                raise UsageError(f"{url!r:.80} is not a URL") from error
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
                raise UsageError(f"{url!r:.80} is not the URL of a server", "write http://HOST:PORT")
            self._host, self._secure = parts.hostname, parts.scheme == "https"
            self.name = (url or "").rstrip("/")

    def json(self, method: str, path: str, *, also: tuple[int, ...] = ()) -> Any:
        """An answer as JSON data; `also` names further statuses that have one."""
        content = self.text(method, path, also=also)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Unreachable(f"{self.name}{path} answers with no JSON") from error

    def text(self, method: str, path: str, *, also: tuple[int, ...] = ()) -> str:
        """An answer as text.

        Raises:
            Unreachable: There is no answer, none in time, or a refusal.
        """
        asked = self._connection()
        try:
            asked.request(method, path, headers=self._headers)
            answer = asked.getresponse()
            content = answer.read(_LARGEST + 1)
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or " ".join(repr(error)[:80].split())
            raise Unreachable(
                f"{self.name} does not answer ({why})", "is the server up, and is this its address?"
            ) from (error)
        finally:
            with contextlib.suppress(OSError):
                asked.close()
        if answer.status == 401:
            raise Unreachable(f"{self.name} wants a token, or another one", "give --token-file")
        if answer.status not in (200, *also) or len(content) > _LARGEST:
            raise Unreachable(f"{self.name}{path} answers {answer.status}", "is it an edgekit-runtime server?")
        return content.decode("utf-8", "replace")

    def _connection(self) -> http.client.HTTPConnection:
        if self._path is not None:
            return _Unix(self._path)
        if self._secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=_SECONDS)
        return http.client.HTTPConnection(self._host, self._port, timeout=_SECONDS)


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._where = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self._where)
