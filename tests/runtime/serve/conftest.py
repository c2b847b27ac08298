"""The application driven in this process: no socket, no server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgekit_runtime.serve.app import Application
from edgekit_runtime.serve.models import Opening, Repository

from ..conftest import double_manifest


class Response:
    """What came back."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: Application, method: str, path: str, body: bytes = b"", headers: Any = (), parts: Any = None, gone: Any = None
) -> Response:
    """One request; `parts` are the chunks of its body, `gone` an event at which the client leaves."""
    chunks = [body] if parts is None else list(parts)
    messages = [{"type": "http.request", "body": c, "more_body": True} for c in chunks]
    messages[-1]["more_body"] = False
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "headers": [(n.lower().encode(), v.encode()) for n, v in dict(headers).items()],
    }
    await asyncio.wait_for(app(scope, receive, send), 60)
    if not sent:
        return Response(0, {}, b"")
    return Response(
        sent[0]["status"],
        {n.decode(): v.decode() for n, v in sent[0]["headers"]},
        b"".join(m.get("body", b"") for m in sent[1:]),
    )


class Client:
    """Asks one application after the other request, each in a loop of its own."""

    def __init__(self, app: Application) -> None:
        self.app = app

    def __call__(self, method: str, path: str, body: Any = b"", **more: Any) -> Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return asyncio.run(ask(self.app, method, path, content, **more))


@contextmanager
def served(paths: list[Path], opening: Opening | None = None, **settings: Any) -> Iterator[Client]:
    repository = Repository(paths, opening)
    repository.start()
    asyncio.run(repository.loaded())
    try:
        yield Client(Application(repository, **settings))
    finally:
        repository.close()


@pytest.fixture
def serving() -> Callable[..., Any]:
    return served


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """``2 * x`` as model ``double``, on whichever interpreter is here."""
    from edgekit_runtime.backends import backend
    from edgekit_runtime.bundle import write_bundle

    if not any(backend(n).version() for n in ("litert", "tflite", "onnx")):
        pytest.skip("no interpreter is installed in this environment")
    path = tmp_path_factory.mktemp("served") / "double.edgekit"
    write_bundle(path, *double_manifest())
    with served([path], max_body=100_000) as it:
        yield it
