"""Open Inference Protocol v2 over gRPC, beside the HTTP server and in its event loop (extra ``grpc``).

Every call is put to the ASGI application as the HTTP request that means the same, so that queues, deadlines, the token,
limits and counts are the same ones.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import socket
from collections.abc import Awaitable, MutableMapping
from typing import Any, Callable, Optional

from edgekit_runtime.errors import EdgekitError, MissingRequirement
from edgekit_runtime.serve import grpc_translation as translation
from edgekit_runtime.serve.grpc_schema import SERVICE, message, methods
from edgekit_runtime.serve.http import Refused, Reply

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]

CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    415: "INVALID_ARGUMENT",
    422: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""HTTP status to gRPC's."""

_GRACE = 10  # seconds for calls that run when the server is told to stop
_ENVELOPE = 2**20  # bytes of a message beside its tensors
_MAX_SAID = 1000  # gRPC sends the sentence in a header, which may not be long


class Endpoint:
    """Where gRPC listens: an application around another, that serves both.

    Args:
        host: Name or number of an interface.
        port: TCP port, 0 for a free one.
        max_body: Most bytes of a call's tensors.

    Attributes:
        where: Host and port.
        problem: Why it could not listen; empty if it could.

    Raises:
        MissingRequirement: grpcio or protobuf is not installed.
        EdgekitError: The address cannot be had.
    """

    def __init__(self, host: str, port: int, max_body: int) -> None:
        if not all(importlib.util.find_spec(n) for n in ("grpc", "google")):
            raise MissingRequirement("gRPC is not installed", 'pip install "edgekit-runtime[grpc]"')
        self.where = _free(host, port)
        self.problem = ""
        self._max_body = max_body
        self._server: Any = None

    def around(self, application: Application) -> Application:
        """The application with gRPC beside it for as long as it runs."""

        async def both(scope: Any, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await self._lifespan(application, scope, receive, send)
            else:
                await application(scope, receive, send)

        return both

    async def _lifespan(self, application: Application, scope: Any, receive: Receive, send: Send) -> None:
        begun = False

        async def hear() -> MutableMapping[str, Any]:
            nonlocal begun
            if not begun:
                begun = True
                return startup
            heard = await receive()
            if heard["type"] == "lifespan.shutdown":
                await self._server.stop(_GRACE)
            return heard

        startup = await receive()
        try:
            await self._start(application)
        except RuntimeError as error:  # what grpc gives for an address that it cannot have
            self.problem = f"cannot listen for gRPC on {self.where} ({error})"
            await send({"type": "lifespan.startup.failed", "message": self.problem})
            return
        await application(scope, hear, send)

    async def _start(self, application: Application) -> None:
        import grpc

        service = _Service(application, self._max_body)
        handlers = {
            # without a deserializer: grpc answers what it cannot read with UNKNOWN, and logs a traceback for each
            name: grpc.unary_unary_rpc_method_handler(service.handler(name, asked))
            for name, (asked, _) in methods().items()
        }
        options = [
            ("grpc.max_receive_message_length", self._max_body + _ENVELOPE),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # or a second server would share the port in silence
        ]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self._server.add_insecure_port(self.where)
        await self._server.start()


class _Service:
    """The service's methods, by name."""

    def __init__(self, application: Application, max_body: int) -> None:
        self._application = application
        self._max_body = max_body
        self._running: set[asyncio.Task[Reply]] = set()

    def handler(self, name: str, asked: Any) -> Callable[[bytes, Any], Awaitable[Any]]:
        """What answers calls of one method, from bytes to bytes."""
        import grpc
        from google.protobuf.message import DecodeError

        work = getattr(self, name)

        async def answer(content: bytes, context: Any) -> Any:
            try:
                try:
                    request = asked.FromString(content)
                except DecodeError as error:
                    raise Refused(400, f"the message is not a {asked.DESCRIPTOR.name}") from error
                return (await work(request, context)).SerializeToString()
            except Refused as error:
                code = getattr(grpc.StatusCode, CODES.get(error.status, "INTERNAL"))
                await context.abort(code, str(error)[:_MAX_SAID])

        return answer

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the protocol, here and below
        reply = await self._ask(context, "GET", "/v2/health/live")
        return message("ServerLiveResponse")(live=reply.status == 200)

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        reply = await self._ask(context, "GET", "/v2/health/ready")
        return message("ServerReadyResponse")(ready=reply.status == 200)

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        reply = await self._ask(context, "GET", translation.model_path(request.name, request.version, "ready"))
        if reply.status != 503:
            _require(reply)
        return message("ModelReadyResponse")(ready=reply.status == 200)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        said = _require(await self._ask(context, "GET", "/v2"))
        return message("ServerMetadataResponse")(**said)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        said = _require(await self._ask(context, "GET", translation.model_path(request.name, request.version)))
        said.pop("parameters", None)
        return message("ModelMetadataResponse")(**said)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        body, length = translation.infer_request(request, self._max_body)
        path = translation.model_path(request.model_name, request.model_version, "infer")
        reply = await self._ask(context, "POST", path, body, {translation.LENGTH_HEADER: str(length)})
        if reply.status != 200:
            _require(reply)
        return translation.infer_response(reply)

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        asked = json.dumps({"ready": request.ready}).encode()
        said = _require(await self._ask(context, "POST", "/v2/repository/index", asked))
        return message("RepositoryIndexResponse")(models=said)

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._change(request, context, "load")
        return message("RepositoryModelLoadResponse")()

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._change(request, context, "unload")
        return message("RepositoryModelUnloadResponse")()

    async def _change(self, request: Any, context: Any, verb: str) -> None:
        asked = {"parameters": dict.fromkeys(request.parameters, True)} if verb == "load" else {}
        model = translation.model_path(request.model_name, "").replace("/v2/", "/v2/repository/", 1)
        _require(await self._ask(context, "POST", f"{model}/{verb}", json.dumps(asked).encode()))

    async def _ask(
        self, context: Any, method: str, path: str, body: bytes = b"", headers: Optional[dict[str, str]] = None
    ) -> Reply:
        """The application's answer; a call that is cancelled is, to the application, a client that went."""
        lines = [(n.encode(), v.encode()) for n, v in (headers or {}).items()]
        lines.append((b"content-length", str(len(body)).encode()))
        for name, value in context.invocation_metadata() or ():
            if name == "authorization":
                lines.append((b"authorization", value.encode() if isinstance(value, str) else value))
        left = context.time_remaining()
        if left is not None and left < 1e9:
            lines.append((b"request-timeout-ms", str(max(int(left * 1000), 0)).encode()))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "2",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": lines,
            "client": None,
            "server": None,
        }
        gone = asyncio.Event()
        task = asyncio.ensure_future(_called(self._application, scope, body, gone))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            gone.set()
            raise


async def _called(application: Application, scope: Any, body: bytes, gone: asyncio.Event) -> Reply:
    given = False
    status, headers, parts = 499, [], []

    async def receive() -> MutableMapping[str, Any]:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(part: MutableMapping[str, Any]) -> None:
        nonlocal status, headers
        if part["type"] == "http.response.start":
            status, headers = part["status"], part["headers"]
        else:
            parts.append(part.get("body", b""))

    await application(scope, receive, send)
    found = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in headers)
    return Reply(status, parts[0] if len(parts) == 1 else b"".join(parts), headers=found)


def _require(reply: Reply) -> Any:
    """What a reply of JSON says.

    Raises:
        Refused: It is a refusal.
    """
    said = json.loads(reply.body or b"{}")
    if reply.status != 200:
        raise Refused(reply.status, said.get("error", "") if isinstance(said, dict) else "")
    return said


def _free(host: str, port: int) -> str:
    """Host and port as gRPC takes them; grpc itself says only that it failed, and takes a port that is in use."""
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(name)
            taken = probe.getsockname()
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise EdgekitError(f"cannot listen for gRPC on {host} port {port} ({why})") from error
    return f"[{taken[0]}]:{taken[1]}" if family == socket.AF_INET6 else f"{taken[0]}:{taken[1]}"
