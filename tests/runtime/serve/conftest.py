"""The application driven in this process: no socket, no server."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.manifest import Binding, Expectation, Tolerance, Variant
from edgekit_runtime.samples import array_bytes
from edgekit_runtime.serve.app import Application
from edgekit_runtime.serve.models import Opening, Repository

from ..conftest import X, double_manifest

T = TypeVar("T")


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
        "path": path.partition("?")[0],
        "raw_path": path.partition("?")[0].encode(),
        "query_string": path.partition("?")[2].encode(),
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
    """Asks one application one request after the other, on one event loop that stands still between them."""

    def __init__(self, app: Application, loop: asyncio.AbstractEventLoop) -> None:
        self.app, self.loop = app, loop

    def __call__(self, method: str, path: str, body: Any = b"", **more: Any) -> Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.run(ask(self.app, method, path, content, **more))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)


@contextmanager
def served(
    paths: list[Path], opening: Opening | None = None, store: Path | None = None, **settings: Any
) -> Iterator[Client]:
    loop = asyncio.new_event_loop()
    repository = Repository(paths, opening, store)

    async def start() -> None:
        repository.start()
        await repository.loaded()

    async def end() -> None:
        await repository.close()
        await loop.shutdown_default_executor()

    try:
        loop.run_until_complete(start())
        yield Client(Application(repository, **settings), loop)
    finally:
        loop.run_until_complete(end())
        loop.close()


@pytest.fixture
def serving() -> Callable[..., Any]:
    return served


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """``2 * x`` as model ``double``, on whichever interpreter is here."""
    from edgekit_runtime.backends import backend

    if not any(backend(n).version() for n in ("litert", "tflite", "onnx")):
        pytest.skip("no interpreter is installed in this environment")
    path = tmp_path_factory.mktemp("served") / "double.edgekit"
    write_bundle(path, *double_manifest())
    with served([path], Opening(max_body=100_000)) as it:
        yield it


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in back end, installed as another package's plug-in would be."""
    folder = tmp_path / "site"
    information = folder / "edgekit_standin-1.dist-info"
    information.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("standin.py"), folder / "edgekit_standin.py")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: edgekit-standin\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[edgekit_runtime.backends]\nstandin = edgekit_standin:BACKEND\n")
    monkeypatch.syspath_prepend(str(folder))


def standin_bundle(path: Path, scale: float = 2.0, *, expected: float | None = None, **said: Any) -> str:
    """A bundle for the stand-in that multiplies by `scale`; its digest."""
    manifest, _ = double_manifest()
    ends = {"inputs": (Binding("x", "x", (-1, 4)),), "outputs": (Binding("y", "y", (-1, 4)),)}
    if not said.setdefault("batches", True):
        ends = {"inputs": (Binding("x", "x", (1, 4)),), "outputs": (Binding("y", "y", (1, 4)),)}
    variant = Variant("standin", "standin", "fp32", "models/m.json", backends=("standin",), **ends)
    manifest = manifest.replace(
        variants=(variant,),
        chosen="standin",
        golden=dataclasses.replace(
            manifest.golden,
            expected=(Expectation("standin", "standin", "1", "any", {"y": "golden/expected.npy"}),),
            same_backend={"standin": Tolerance(0.0)},
            other_backend={},
        ),
    )
    members = {
        "models/m.json": json.dumps({"scale": scale, **said}).encode(),
        "golden/expected.npy": array_bytes(X * np.float32(scale if expected is None else expected)),
        **{f"golden/{i}.npy": array_bytes(row) for i, row in enumerate(X)},
    }
    return write_bundle(path, manifest, members, overwrite=True)


def row(first: float) -> bytes:
    """An ``/infer`` request of one sample."""
    entry = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [first, 1.0, 2.0, 3.0]}
    return json.dumps({"inputs": [entry]}).encode()


@pytest.fixture
def bundle(tmp_path: Path, plugin: None) -> Path:
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "double.edgekit"
    standin_bundle(path, pipe=str(tmp_path / "pipe"), broken=str(tmp_path / "broken"))
    return path


def first(found) -> float:
    assert found.status == 200, found.body
    return found.json["outputs"][0]["data"][0]


def alive(process: int) -> bool:
    return Path(f"/proc/{process}/cmdline").exists() and Path(f"/proc/{process}/cmdline").read_bytes() != b""
