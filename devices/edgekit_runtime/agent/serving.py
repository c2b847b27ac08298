"""To the process that answers: what it runs, how it fares, and that it shall load another bundle."""

from __future__ import annotations

import http.client
import json
import re
import socket
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from edgekit_runtime.agent.machine import Figures
from edgekit_runtime.agent.protocol import Running
from edgekit_runtime.errors import EdgekitError

_LARGEST = 16 * 2**20
_SAMPLE = re.compile(r"(\w+)\{((?:[^\"{}]|\"(?:[^\"\\]|\\.)*\")*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class ServingError(EdgekitError):
    """The serving process does not answer, or not as it should.

    Attributes:
        status: HTTP status; 0 where there was no answer.
    """

    status: int = 0


@dataclass(frozen=True)
class Counts:
    """What a model's requests came to, since the server began.

    Attributes:
        requests: All that the server is answerable for: answered, or failed by its fault.
        errors: Those that failed by its fault (5xx).
        buckets: Upper bound in seconds to requests that took at most so long.
    """

    requests: int = 0
    errors: int = 0
    buckets: Mapping[float, float] = field(default_factory=dict)

    def since(self, before: Counts) -> Counts:
        """What came after `before`; all of it where the server began anew."""
        if self.requests < before.requests:
            return self
        return Counts(
            self.requests - before.requests,
            self.errors - before.errors,
            {bound: n - before.buckets.get(bound, 0.0) for bound, n in self.buckets.items()},
        )

    def percentile(self, share: float) -> float:
        """Latency in seconds that `share` of the requests stay below, linear within a bucket; 0 for no requests."""
        buckets = sorted(self.buckets.items())
        if not buckets or not buckets[-1][1]:
            return 0.0
        wanted, low, below = share * buckets[-1][1], 0.0, 0.0
        for bound, count in buckets:
            if count >= wanted:
                return low if bound == float("inf") else low + (bound - low) * (wanted - below) / (count - below)
            low, below = bound, count
        return low


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Serving:
    """The serving process on this device.

    Args:
        path: Its Unix socket; or
        port: its port on the loopback interface.
        token: What its requests must bring; None for nothing.
        timeout: Seconds to wait for an answer.
    """

    def __init__(
        self, *, path: Optional[Path] = None, port: int = 0, token: Optional[str] = None, timeout: float = 10.0
    ) -> None:
        self._path, self._port, self._timeout = path, port, timeout
        self._head = {} if token is None else {"Authorization": f"Bearer {token}"}

    def alive(self) -> bool:
        """Whether it answers at all."""
        try:
            return bool(self._json("GET", "/v2/health/live").get("live"))
        except ServingError:
            return False

    def load(self, name: str, timeout: float) -> None:
        """Have it load what the slot names now; it answers when the bundle has taken over.

        Raises:
            ServingError: It did not; what answered before answers on.
        """
        self._json("POST", f"/v2/repository/models/{_quoted(name)}/load", timeout)

    def unload(self, name: str) -> None:
        """Have it stop to answer under a name.

        Raises:
            ServingError: It did not.
        """
        self._json("POST", f"/v2/repository/models/{_quoted(name)}/unload")

    def running(self) -> dict[str, Running]:
        """What answers, by slot; `Running.previous` is not known to it.

        Raises:
            ServingError: It does not answer.
        """
        degraded = self._json("GET", "/v2/health/ready", allowed=(503,)).get("degraded") or {}
        found = {}
        for entry in self._json("POST", "/v2/repository/index"):
            name = str(entry["name"])
            said = self._json("GET", f"/v2/models/{_quoted(name)}", allowed=(503,)).get("parameters") or {}
            state = entry.get("state")
            found[name] = Running(
                digest=str(said.get("digest", "")),
                variant=str(said.get("running", "")),
                ready=state == "READY",
                degraded=str(degraded.get(name) or (entry.get("reason") if state == "UNAVAILABLE" else "") or ""),
            )
        return found

    def counts(self) -> dict[str, Counts]:
        """What came of requests, by slot.

        Raises:
            ServingError: It does not answer.
        """
        return read_counts(self._answer("GET", "/metrics").decode("utf-8", "replace"))

    def windows(self, name: str, since: str) -> tuple[list[Mapping[str, Any]], str]:
        """Closed monitoring windows of a model since a cursor, and the next cursor.

        Raises:
            ServingError: It does not answer.
        """
        said = self._json("GET", f"/v2/models/{_quoted(name)}/windows?since={urllib.parse.quote(since)}")
        return list(said["windows"]), str(said["cursor"])

    def _json(self, method: str, path: str, timeout: Optional[float] = None, allowed: tuple[int, ...] = ()) -> Any:
        content = self._answer(method, path, timeout, allowed)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ServingError(f"the serving process answers {path} with something that is no JSON") from error

    def _answer(self, method: str, path: str, timeout: Optional[float] = None, allowed: tuple[int, ...] = ()) -> bytes:
        seconds = timeout or self._timeout
        connection: http.client.HTTPConnection
        if self._path is not None:
            connection = _UnixConnection(self._path, seconds)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=seconds)
        try:
            connection.request(method, path, b"" if method == "POST" else None, self._head)
            response = connection.getresponse()
            content = response.read(_LARGEST)
        except (OSError, http.client.HTTPException) as error:
            raise ServingError(f"the serving process does not answer ({error or type(error).__name__})") from error
        finally:
            connection.close()
        if response.status != 200 and response.status not in allowed:
            raise _refused(response.status, content)
        return content


def figures(running: Optional[Running], counts: Counts) -> Figures:
    """How a slot fares, for `Machine.observed`."""
    if running is None:
        return Figures("", False)
    p99 = counts.percentile(0.99)
    return Figures(running.digest, running.ready, running.degraded, counts.requests, counts.errors, p99)


def read_counts(text: str) -> dict[str, Counts]:
    """Requests by slot, from the server's page for Prometheus."""
    requests: dict[str, int] = {}
    errors: dict[str, int] = {}
    buckets: dict[str, dict[float, float]] = {}
    for name, labels, value in _SAMPLE.findall(text):
        if name not in ("edgekit_requests_total", "edgekit_request_seconds_bucket"):
            continue
        known = {key: re.sub(r"\\(.)", _unescaped, said) for key, said in _LABEL.findall(labels)}
        model = known.get("model", "")
        if name == "edgekit_request_seconds_bucket":
            buckets.setdefault(model, {})[float(known["le"])] = float(value)
        elif known.get("status") == "200" or known.get("status", "").startswith("5"):
            requests[model] = requests.get(model, 0) + int(float(value))
            if known["status"] != "200":
                errors[model] = errors.get(model, 0) + int(float(value))
    return {m: Counts(requests.get(m, 0), errors.get(m, 0), buckets.get(m, {})) for m in {*requests, *buckets}}


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found.group(1) == "n" else found.group(1)


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _refused(status: int, content: bytes) -> ServingError:
    try:
        said = str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        said = f"it answers {status}"
    refused = ServingError(" ".join(said.split()))
    refused.status = status
    return refused
