"""HTTP: the protocol's calls for devices, and the operator's under ``/api/v1/fleet``."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from edgekit.fleet.errors import FleetError
from edgekit.fleet.operations import Create
from edgekit.fleet.options import ENROLMENT, OPERATOR
from edgekit.fleet.service import Service
from edgekit_runtime.agent import protocol
from edgekit_runtime.agent.protocol import MAX_MESSAGE, ProtocolError, from_json, to_json
from edgekit_runtime.errors import EdgekitError

T = TypeVar("T", bound=Any)

SIGNATURE_HEADER = "edgekit-signature"
"""Header of an upload that holds the file beside the bundle, in base64."""

_LOG = logging.getLogger("edgekit.fleet")
_SWEEP_SECONDS = 15.0
_PATIENCE = 60.0  # seconds without a byte of a body


def application(service: Service) -> Starlette:
    """The server as an ASGI application; it closes `service` in the end."""

    @contextlib.asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep(service))
        try:
            yield
        finally:
            sweeping.cancel()
            await run_in_threadpool(service.close)

    calls = _Calls(service)
    fleet = "/api/v1/fleet"
    routes = [
        Route("/api/v1/enroll", calls.enroll, methods=["POST"]),
        Route("/api/v1/poll", calls.poll, methods=["POST"]),
        Route("/api/v1/reports", calls.reports, methods=["POST"]),
        Route("/api/v1/bundles/{digest}", calls.download, methods=["GET"]),
        Route(f"{fleet}/bundles", calls.upload, methods=["POST"]),
        Route(f"{fleet}/devices", calls.operator(lambda r: service.devices(r.query_params.get("group")))),
        Route(f"{fleet}/devices/{{device}}", calls.operator(lambda r: service.remove(r.path_params["device"])),
              methods=["DELETE"]),
        Route(f"{fleet}/status", calls.operator(lambda _: service.status())),
        Route(f"{fleet}/rollouts", calls.operator(lambda _: service.rollouts())),
        Route(f"{fleet}/rollouts", calls.create, methods=["POST"]),
        Route(f"{fleet}/rollouts/{{number:int}}", calls.operator(lambda r: service.rollout(r.path_params["number"]))),
        Route(f"{fleet}/rollouts/{{number:int}}/undo", calls.operator(lambda r: service.undo(r.path_params["number"])),
              methods=["POST"]),
    ]  # fmt: skip
    handlers: dict[Any, Any] = {
        FleetError: _refuse,
        EdgekitError: _refuse,
        HTTPException: _refuse,
        OperationalError: _unable,
        ClientDisconnect: _refuse,
        Exception: _failed,
    }
    return Starlette(routes=routes, exception_handlers=handlers, lifespan=life)


class _Calls:
    """One method for each call that has a body of its own."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def enroll(self, request: Request) -> Response:
        token = _bearer(request)
        await run_in_threadpool(self._service.admit, ENROLMENT, token)
        asked = _message(protocol.Enroll, await _body(request))
        return _reply(await run_in_threadpool(self._service.enroll, asked))

    async def poll(self, request: Request) -> Response:
        return await self._heard(request, protocol.Poll, self._service.poll)

    async def reports(self, request: Request) -> Response:
        return await self._heard(request, protocol.Reports, self._service.reports)

    async def _heard(self, request: Request, kind: type[T], answer: Callable[[T], object]) -> Response:
        secret = _bearer(request)
        name = await run_in_threadpool(self._service.recognise, secret)  # before a byte of the body is read
        said = _message(kind, await _body(request))
        if said.device != name:
            raise FleetError(403, f"{name} cannot speak for {said.device}")
        return _reply(await run_in_threadpool(answer, said))

    async def download(self, request: Request) -> Response:
        await run_in_threadpool(self._service.recognise, _bearer(request))
        digest = request.path_params["digest"]
        try:
            protocol.check_digest(digest, "the digest")
        except ValueError as error:
            raise FleetError(404, str(error)) from error
        path = self._service.library.path(digest)
        if not path.is_file():
            raise FleetError(404, f"there is no bundle {digest[:16]} here")
        return FileResponse(path, media_type="application/octet-stream")

    async def upload(self, request: Request) -> Response:
        await self._admit(request)
        signature = request.headers.get(SIGNATURE_HEADER)
        try:
            beside = None if signature is None else base64.b64decode(signature, validate=True)
        except (ValueError, binascii.Error) as error:
            raise FleetError(400, f"{SIGNATURE_HEADER} is not in base64") from error
        coming = self._service.library.incoming()
        try:
            async for block in _blocks(request):
                await run_in_threadpool(coming.write, block)
            came = await run_in_threadpool(coming.finish, beside)
            return JSONResponse(await run_in_threadpool(self._service.take, came))
        finally:
            coming.close()

    async def create(self, request: Request) -> Response:
        await self._admit(request)
        asked = _message(Create, await _body(request))
        return JSONResponse(await run_in_threadpool(self._service.create, asked))

    def operator(self, answer: Callable[[Request], dict[str, Any]]) -> Callable[[Request], Awaitable[Response]]:
        """A call of the operator's without a body."""

        async def call(request: Request) -> Response:
            await self._admit(request)
            return JSONResponse(await run_in_threadpool(answer, request))

        return call

    async def _admit(self, request: Request) -> None:
        await run_in_threadpool(self._service.admit, OPERATOR, _bearer(request))


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise FleetError(401, "there is no Authorization: Bearer …")
    return token.strip()


async def _blocks(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes; a client that sends nothing for a while is let go."""
    stream = request.stream().__aiter__()
    while True:
        try:
            yield await asyncio.wait_for(anext(stream), _PATIENCE)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise FleetError(408, "the rest of the request did not come") from error


async def _body(request: Request) -> bytes:
    length = request.headers.get("content-length", "0")
    found = bytearray()
    if not (length.isascii() and length.isdigit()) or int(length[:20]) > MAX_MESSAGE:
        raise FleetError(413, f"a message may have {MAX_MESSAGE:,} bytes")
    async for block in _blocks(request):
        found += block
        if len(found) > MAX_MESSAGE:
            raise FleetError(413, f"a message may have {MAX_MESSAGE:,} bytes")
    return bytes(found)


def _message(kind: type[T], body: bytes) -> T:
    """A message, of this version, that can be stored as text."""
    try:
        made = from_json(kind, body)
    except ProtocolError as error:
        _check_version(body)
        raise FleetError(400, str(error)) from error
    if getattr(made, "protocol", protocol.VERSION) != protocol.VERSION:
        raise FleetError(426, f"this server speaks version {protocol.VERSION} of the protocol, not {made.protocol}")
    if b"\\u" in body or b"\\U" in body:
        try:
            json.dumps(json.loads(body), ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise FleetError(400, "a message may not hold halves of characters") from error
    return made


def _check_version(body: bytes) -> None:
    """What cannot be read may be of another version."""
    try:
        spoken = json.loads(body)["protocol"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    if isinstance(spoken, int) and spoken != protocol.VERSION:
        raise FleetError(426, f"this server speaks version {protocol.VERSION} of the protocol, not {spoken}")


def _reply(message: object) -> Response:
    return Response(to_json(message), media_type="application/json")


async def _refuse(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return _error(error.status_code, str(error.detail), error.headers)
    return _error(getattr(error, "status", 400), str(error) or type(error).__name__)


async def _unable(request: Request, error: Exception) -> Response:
    _LOG.error("the database cannot be used (%s)", getattr(error, "orig", error))
    return _error(503, "the server's database cannot be used now: its disk may be full")


async def _failed(request: Request, error: Exception) -> Response:
    # starlette raises it again after this, and uvicorn writes the traceback to the log
    return _error(500, "the server failed; its log says why")


def _error(status: int, sentence: str, headers: Any = None) -> Response:
    said = sentence.encode("utf-8", "replace").decode()
    return JSONResponse({"error": said}, status, headers=headers)


async def _sweep(service: Service) -> None:
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        try:
            await run_in_threadpool(service.sweep)
        except Exception:
            _LOG.exception("looking after the fleet failed; it is tried again")
