"""The server as one raw-ASGI callable: routes, token, limits, deadlines, cancellation."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Mapping, MutableMapping
from typing import Any, Callable, Optional
from urllib.parse import unquote_to_bytes

from edgekit_runtime import __version__
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.monitor.device import Device
from edgekit_runtime.monitor.prometheus import CONTENT_TYPE, Family, exposition, of_device
from edgekit_runtime.serve import about
from edgekit_runtime.serve.datatypes import VERSION
from edgekit_runtime.serve.http import (
    Refused,
    Reply,
    deadline,
    error_reply,
    header,
    json_reply,
    load_json,
    too_large,
    unpack,
    whole_number,
)
from edgekit_runtime.serve.metrics import Counters
from edgekit_runtime.serve.model import Model
from edgekit_runtime.serve.models import Repository
from edgekit_runtime.serve.process import Job

_LOG = logging.getLogger("edgekit_runtime")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Regularly = Callable[[Repository], None]

BODY_SECONDS = 60.0
"""A body that is not there after this long is given up."""

EXTENSIONS = ("binary_tensor_data", "model_repository", "model_configuration", "statistics")
_SCRAPE = 1.0  # a scrape does not wait longer for a process that is busy: it gets what that told last
_FORWARDED = ("content-type", "content-encoding", "accept-encoding", "inference-header-content-length")
_LONGEST = 200  # no value of these means anything beyond so many characters
_LOOK = 0.01  # seconds after which it is worth looking whether the client is still there
_BODIES = 4  # so many of the largest bodies may be held at once, those of requests that wait for a model included
_LATER = (("Retry-After", "1"),)
_GONE = 499  # nginx's number for a client that closed the connection


class _ClientGone(Exception):
    """Nobody waits for the answer."""


class Application:
    """Open Inference Protocol v2, TensorFlow Serving's REST prediction, raw samples and metrics.

    Args:
        repository: The models.
        token: What requests must bring as ``Authorization: Bearer TOKEN``, but for health; None for nothing.
        device: Reads the board's health for ``/metrics``; None for none of it.
        regularly: Called with the repository every `beat` seconds while the event loop turns, and at once when every
            model is ready or has failed: where a service manager is told.
        beat: Seconds between such calls, and between looks at what the models' monitors have closed.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        token: Optional[str] = None,
        device: Optional[Device] = None,
        regularly: Optional[Regularly] = None,
        beat: float = 5.0,
    ) -> None:
        self.repository = repository
        self.counters = Counters()
        self._token = None if token is None else f"Bearer {token}".encode()
        self._max_body = repository.opening.max_body
        self._room, self._held = _BODIES * self._max_body, 0
        self._device, self._regularly, self._pause = device, regularly, beat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":  # a WebSocket
            await send({"type": "websocket.close", "code": 1003})
            return
        try:
            reply = await self._reply(scope, receive)
        except _ClientGone:
            return
        except Refused as error:
            reply = error_reply(error, error.status)
        except EdgekitError as error:
            reply = error_reply(error, 422)
        except Exception:
            _LOG.exception("%s %s failed", scope["method"], scope["path"])
            reply = json_reply({"error": "the server failed; its log says why"}, 500)
        await _send(reply, scope["method"], send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.repository.start()
                beat = asyncio.get_running_loop().create_task(self._beat())
                await send({"type": "lifespan.startup.complete"})
            else:
                beat.cancel()
                await self.repository.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _beat(self) -> None:
        """What is done every few seconds, and at once when every model is ready or has failed."""
        loaded = asyncio.get_running_loop().create_task(self.repository.loaded())
        while True:
            if self._regularly is not None:
                self._regularly(self.repository)
            if loaded.done():
                await asyncio.sleep(self._pause)
            else:
                await asyncio.wait([loaded], timeout=self._pause)
            await asyncio.gather(*(m.snapshot(_SCRAPE, anyway=False) for m in self.repository))

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        headers = dict(scope["headers"])
        parts = _parts(scope)
        method = scope["method"]
        if parts[:2] == ("v2", "health"):
            return self._health(method, parts[2:])
        if self._token is not None and not hmac.compare_digest(headers.get(b"authorization", b""), self._token):
            raise Refused(
                401, "this server wants a token", "send Authorization: Bearer TOKEN", (("WWW-Authenticate", "Bearer"),)
            )
        if parts == ("metrics",):
            _only("GET", method)
            return Reply(200, (await self._metrics()).encode(), CONTENT_TYPE)
        if parts == ("v2",):
            _only("GET", method)
            return json_reply({"name": "edgekit-runtime", "version": __version__, "extensions": EXTENSIONS})
        if parts[:2] == ("v2", "repository"):
            return await self._repository(method, parts[2:], headers, receive)
        if parts == ("v2", "models", "stats"):
            _only("GET", method)
            return json_reply({"model_stats": [about.statistics(m) for m in self.repository]})
        if parts[:2] == ("v2", "models") and len(parts) > 2:
            model, action = self._model(parts[2:])
            if action in ("infer", "predict"):
                _only("POST", method)
                return await self._infer(model, action, headers, receive)
            if action == "windows":
                _only("GET", method)
                await model.snapshot(_SCRAPE)
                return json_reply(model.watch.windows(_query(scope, "since")))
            return _about(model, action, method)
        if parts[:2] == ("v1", "models") and len(parts) > 2:
            name, colon, verb = parts[-1].rpartition(":")
            model, action = self._model((*parts[2:-1], name) if colon else parts[2:])
            if colon and verb == "predict" and not action:
                _only("POST", method)
                return await self._infer(model, "tensorflow", headers, receive)
            if not colon and not action:
                _only("GET", method)
                return json_reply(about.status(model))
        raise _nothing_here()

    def _health(self, method: str, rest: tuple[str, ...]) -> Reply:
        _only("GET", method)
        if rest == ("live",):
            return json_reply({"live": True})
        if rest != ("ready",):
            raise _nothing_here()
        if self.repository.ready:
            return json_reply({"ready": True, "degraded": self.repository.degraded})
        reasons = {m.name: m.reason for m in self.repository if m.reason and not m.unloaded}
        said = "; ".join(f"model {n!r} is not ready ({r})" for n, r in reasons.items())
        said_too = {"reasons": reasons, "degraded": self.repository.degraded}
        return json_reply({"ready": False, "error": said, **said_too}, 503)

    async def _metrics(self) -> str:
        """The server's own counters, what the models' monitors have counted, and the device's health."""
        models = list(self.repository)
        await asyncio.gather(*(m.snapshot(_SCRAPE) for m in models))
        degraded = Family("edgekit_degraded", "gauge", "1 where a model answers but not as it should.")
        restarts = Family("edgekit_restarts_total", "counter", "Restarts of a model's process after it was lost.")
        lost = Family("edgekit_windows_lost_total", "counter", "Monitoring windows that nobody took.")
        families = [degraded, restarts, lost]
        for model in models:
            degraded.add(bool(model.degraded), {"model": model.name})
            restarts.add(model.restarts, {"model": model.name})
            lost.add(model.watch.lost, {"model": model.name})
            families += model.watch.families(model.name)
        if self._device is not None:
            families += of_device(await asyncio.to_thread(self._device.read), {})
        return self.counters.text() + exposition(families)

    def _model(self, rest: tuple[str, ...]) -> tuple[Model, str]:
        """Model and what is wanted of it, from ``NAME[/versions/V][/ACTION]``."""
        model = self.repository[rest[0]]
        tail = rest[1:]
        if tail[:1] in (("versions",), ("labels",)) and len(tail) > 1:
            if tail[:2] != ("versions", VERSION):
                raise Refused(404, f"model {rest[0]!r} has no version {tail[1][:40]!r}", f"it has version {VERSION}")
            tail = tail[2:]
        if len(tail) > 1:
            raise _nothing_here()
        return model, tail[0] if tail else ""

    async def _infer(self, model: Model, action: str, headers: Mapping[bytes, bytes], receive: Receive) -> Reply:
        seen = model.statistics
        arrived, status, size = time.monotonic(), 500, 0
        try:
            parts, size = await self._body(headers, receive)
            arrived = time.monotonic()
            until = deadline(headers, arrived)
            forwarded = {n: v.decode("latin-1")[:_LONGEST] for n in _FORWARDED if (v := headers.get(n.encode()))}
            length = forwarded.get("inference-header-content-length", "")
            lead = min(int(length), size) if length.isdecimal() and len(length) < 10 else 0
            job = Job(action, forwarded, parts, size, lead, arrived, until)
            reply: Reply = await _first(model.submit(job), receive, until)
            status = reply.status
            return reply
        except _ClientGone:
            status = _GONE
            raise
        except EdgekitError as error:
            status = error.status if isinstance(error, Refused) else 422
            raise
        finally:
            self._held -= size
            seconds = time.monotonic() - arrived
            self.counters.record(model.name, status, seconds)
            seen.last = int(time.time() * 1000)
            (seen.success if status == 200 else seen.fail).add(int(seconds * 1e9))

    async def _repository(
        self, method: str, rest: tuple[str, ...], headers: Mapping[bytes, bytes], receive: Receive
    ) -> Reply:
        known = rest == ("index",) or (len(rest) == 3 and rest[0] == "models" and rest[2] in ("load", "unload"))
        if not known:
            raise _nothing_here()
        _only("POST", method)
        parts, size = await self._body(headers, receive)
        self._held -= size
        content = unpack(b"".join(parts), header(headers, "content-encoding"), self._max_body)
        asked = load_json(content) if content.strip() else {}
        if not isinstance(asked, dict):
            raise Refused(400, "the request is not a JSON object")
        if rest == ("index",):
            return json_reply(about.index(self.repository, asked.get("ready") is True))
        if rest[2] == "unload":
            self.repository.unload(rest[1])
            return json_reply({})
        if asked.get("parameters"):
            raise Refused(400, "a bundle brings its own configuration", "load it without parameters")
        await self.repository.load(rest[1])
        return json_reply({})

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> tuple[list[bytes], int]:
        stated = whole_number(header(headers, "content-length"), "Content-Length")
        if stated is not None and stated > self._max_body:
            raise too_large(self._max_body)
        task, expired = asyncio.current_task(), False

        def expire() -> None:  # a timer costs a tenth of what asyncio.wait_for does
            nonlocal expired
            expired = True
            if task is not None:
                task.cancel()

        timer = asyncio.get_running_loop().call_later(BODY_SECONDS, expire)
        try:
            return await self._read(receive)
        except asyncio.CancelledError:
            if not expired:
                raise
            if task is not None and hasattr(task, "uncancel"):
                task.uncancel()
            raise Refused(408, f"the body did not arrive within {BODY_SECONDS:g} seconds") from None
        finally:
            timer.cancel()

    async def _read(self, receive: Receive) -> tuple[list[bytes], int]:
        """The body and its size, which is held against all bodies' room until the caller takes it off."""
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _ClientGone
                part = message.get("body", b"")
                size += len(part)
                self._held += len(part)
                if size > self._max_body:
                    raise too_large(self._max_body)
                if self._held > self._room:
                    room = f"{self._room / 2**20:g} MiB"
                    raise Refused(503, f"requests hold {room} already", "try again a little later", _LATER)
                if part:
                    parts.append(part)
                if not message.get("more_body", False):
                    return parts, size
        except BaseException:
            self._held -= size
            raise


async def _first(answer: asyncio.Future[Any], receive: Receive, deadline: Optional[float]) -> Any:
    """The answer, unless the deadline passes or the client goes; then its job is dropped if it has not begun."""
    loop = asyncio.get_running_loop()
    watch: Optional[asyncio.Future[Any]] = None

    def look() -> None:  # only where it takes a while: a task for each request would cost more than most models
        nonlocal watch
        watch = asyncio.ensure_future(receive())
        watch.add_done_callback(lambda _: answer.cancel())

    def late() -> None:
        if not answer.done():
            answer.set_exception(Refused(504, "the deadline passed before there was an answer"))

    timers = [loop.call_later(_LOOK, look)]
    if deadline is not None:
        timers.append(loop.call_later(max(0.0, deadline - time.monotonic()), late))
    try:
        return await answer
    except asyncio.CancelledError:
        if watch is not None and watch.done():
            raise _ClientGone from None
        raise
    finally:
        for timer in timers:
            timer.cancel()
        answer.cancel()
        if watch is not None:
            watch.cancel()


def _parts(scope: Scope) -> tuple[str, ...]:
    """The path between its slashes; from the raw path where there is one, so that a name may hold a slash."""
    path = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    return tuple(unquote_to_bytes(p).decode("utf-8", "replace") for p in path.strip(b"/").split(b"/"))


def _query(scope: Scope, name: str) -> str:
    """The value of a name in the query; empty where it is missing."""
    for part in scope.get("query_string", b"").split(b"&"):
        key, _, value = part.partition(b"=")
        if key == name.encode():
            return unquote_to_bytes(value).decode("latin-1")
    return ""


def _about(model: Model, action: str, method: str) -> Reply:
    if action not in ("", "ready", "stats", "config"):
        raise _nothing_here()
    _only("GET", method)
    if action == "stats":
        return json_reply({"model_stats": [about.statistics(model)]})
    if action == "ready":
        if not model.reason:
            return json_reply({"name": model.name, "ready": True})
        said = f"model {model.name!r} is not ready ({model.reason})"
        return json_reply({"name": model.name, "ready": False, "error": said}, 503)
    return json_reply(about.configuration(model) if action == "config" else about.metadata(model))


def _only(wanted: str, method: str) -> None:
    if method != wanted and not (method == "HEAD" and wanted == "GET"):
        raise Refused(405, f"{method[:20]} does not work here", f"use {wanted}", (("Allow", wanted),))


def _nothing_here() -> Refused:
    return Refused(404, "there is nothing under this path", "docs/guide/serving.md lists the paths")


async def _send(reply: Reply, method: str, send: Send) -> None:
    headers = [(b"content-length", str(len(reply.body)).encode())]
    if reply.content_type:
        headers.append((b"content-type", reply.content_type.encode()))
    headers += [(n.lower().encode(), v.encode()) for n, v in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else reply.body})
