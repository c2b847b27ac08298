"""To the fleet server: requests of `protocol` over HTTPS, and downloads that go on where they broke off."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import ssl
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional, TypeVar

from edgekit_runtime.agent.protocol import MAX_MESSAGE, ProtocolError, from_json, to_json
from edgekit_runtime.errors import EdgekitError, UsageError

T = TypeVar("T")

_BLOCK = 64 * 1024
_RESERVE = 16 * 2**20  # bytes that a download leaves free
_LONGEST = 300


class Unreachable(EdgekitError):
    """The server cannot be reached, or broke off; trying again may help.

    Attributes:
        after: Seconds that the server wants to be left alone; 0 where it does not say.
    """

    after: float = 0.0


class Refusal(EdgekitError):
    """The server refused.

    Attributes:
        status: HTTP status.
    """

    status: int = 0


class Link:
    """One fleet server.

    Args:
        url: ``https://HOST[:PORT][/PATH]``; ``http`` is for this machine alone, unless `insecure`.
        ca: PEM file of the authorities to believe; the system's by default.
        insecure: Whether ``http`` to another machine is taken all the same.
        timeout: Seconds without a byte after which the server is taken to be gone.

    Raises:
        UsageError: The address is none, or not safe.
    """

    def __init__(self, url: str, *, ca: Optional[str] = None, insecure: bool = False, timeout: float = 30.0) -> None:
        parts = urllib.parse.urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise UsageError(f"{url!r:.120} is not an address ({error})") from error
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or parts.username:
            raise UsageError(f"{url!r:.120} is not the address of a server", "give https://HOST[:PORT]")
        local = host == "localhost" or _loopback(host)
        if parts.scheme == "http" and not local and not insecure:
            raise UsageError(f"{url} would carry secrets in the clear", "give https, or --insecure-http")
        self.url = url
        self._host, self._port, self._base, self._timeout = host, port, parts.path.rstrip("/"), timeout
        self._tls: Optional[ssl.SSLContext] = None
        if parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=ca)
            except (OSError, ssl.SSLError) as error:
                raise UsageError(f"cannot read the authorities in {ca} ({error})") from error

    def call(self, path: str, message: object, kind: type[T], authorization: str) -> T:
        """Send a message and read the reply.

        Args:
            path: Of the call, as ``/api/v1/poll``.
            message: Of `protocol`.
            kind: Of the reply.
            authorization: What comes after ``Bearer``.

        Raises:
            Unreachable: No answer, 5xx or 429.
            Refusal: Another status than 200.
            ProtocolError: The reply is not one.
        """
        body = to_json(message)
        head = {"Content-Type": "application/json", "Authorization": f"Bearer {authorization}"}
        connection = self._connect()
        try:
            connection.request("POST", self._base + path, body, head)
            response = connection.getresponse()
            content = self._whole(response)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.url} does not answer ({_why(error)})") from error
        finally:
            connection.close()
        self._check(response, content)
        return from_json(kind, content)

    def download(
        self,
        path: str,
        target: Path,
        size: int,
        authorization: str,
        progress: Callable[[float], None],
        stopped: Callable[[], bool],
    ) -> None:
        """Have the whole file in `target`, beginning with what is in it already.

        Args:
            path: Of the file.
            target: Where it goes; what is there is taken for its beginning.
            size: Bytes that it has.
            authorization: What comes after ``Bearer``.
            progress: Called with the share that is there.
            stopped: Asked between blocks; True gives it up.

        Raises:
            Unreachable: It broke off, or was stopped; what came is kept.
            Refusal: The server does not give it, or more or less than it said.
            EdgekitError: There is no room for it, or it cannot be written.
        """
        have = target.stat().st_size if target.exists() else 0
        if have > size:
            target.unlink()
            have = 0
        disk = os.statvfs(target.parent)
        free = disk.f_bavail * disk.f_frsize
        if size - have + _RESERVE > free:
            raise EdgekitError(
                f"{size - have:,} bytes are to come and {free:,} are free in {target.parent}", "make room on the device"
            )
        if have == size:
            return
        head = {"Authorization": f"Bearer {authorization}", "Range": f"bytes={have}-"}
        connection = self._connect()
        try:
            connection.request("GET", self._base + path, None, head)
            response = connection.getresponse()
            if response.status not in (200, 206):
                self._check(response, self._whole(response))
            if response.status == 200:  # from the beginning again
                have = 0
            elif not (response.getheader("Content-Range") or "").startswith(f"bytes {have}-"):
                raise Refusal(f"{self.url} sends another part of {path} than was asked for")
            with _writing(target):
                out = target.open("r+b" if target.exists() else "wb")
            with out:
                with _writing(target):
                    out.truncate(have)
                    out.seek(have)
                while block := response.read1(min(_BLOCK, size - have + 1)):  # what is there, so that it can be stopped
                    have += len(block)
                    if have > size:
                        raise Refusal(f"{self.url} sends more than {size:,} bytes for {path}")
                    with _writing(target):
                        out.write(block)
                    progress(have / size)
                    if stopped():
                        raise Unreachable("the download was given up")
                with _writing(target):
                    out.flush()
                    os.fsync(out.fileno())
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.url} broke off ({_why(error)})") from error
        finally:
            connection.close()
        if have < size:
            raise Unreachable(f"{self.url} broke off after {have:,} of {size:,} bytes")

    def _whole(self, response: http.client.HTTPResponse) -> bytes:
        """The reply; a server that sends it byte by byte is not waited for without end."""
        until, content = time.monotonic() + 2 * self._timeout, b""
        while len(content) <= MAX_MESSAGE and (block := response.read1(_BLOCK)):
            content += block
            if time.monotonic() > until:
                raise TimeoutError(f"its reply took longer than {2 * self._timeout:g} s")
        return content

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _check(self, response: http.client.HTTPResponse, content: bytes) -> None:
        if response.status == 200 and len(content) <= MAX_MESSAGE:
            return
        said = _sentence(content)
        if response.status >= 500 or response.status in (408, 429):
            gone = Unreachable(f"{self.url} answers {response.status}{said}")
            after = response.getheader("Retry-After") or ""
            gone.after = float(after) if after.isdigit() and len(after) < 6 else 0.0
            raise gone
        # a server that moved is not followed: the secret would go with it
        refusal = Refusal(f"{self.url} answers {response.status}{said}")
        refusal.status = response.status
        raise refusal


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """What goes wrong in here is the disk's fault, not the network's."""
    try:
        yield
    except OSError as error:
        raise EdgekitError(f"cannot write {target} ({error.strerror or error})", "make room on the device") from error


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:_LONGEST]


def _sentence(content: bytes) -> str:
    """What a refusal says, if it says it as the protocol does."""
    import json

    try:
        said = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f": {' '.join(str(said).split())[:_LONGEST]}"


__all__ = ["Link", "ProtocolError", "Refusal", "Unreachable"]
