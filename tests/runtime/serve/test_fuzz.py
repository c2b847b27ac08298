"""Malformed requests against a real server: never a 500, never silence, never more memory, and good answers after each."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import random
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.serve import bounded

from ..conftest import X, double_manifest
from .test_server import TOKEN, process

INFER = "/v2/models/double/infer"
SECONDS = 20  # without an answer for so long, a request counts as hanging
ANSWER = {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": X.ravel().tolist()}]}
MANY = settings(deadline=None, max_examples=250, suppress_health_check=list(HealthCheck))


class Server:
    """A server's address, and a connection to it that is made anew when it closes."""

    def __init__(self, where: str, pid: int) -> None:
        host, _, port = where[len("http://") :].rpartition(":")
        self.address, self.pid = (host, int(port)), pid
        self.connection = self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self.address, timeout=SECONDS)

    def ask(self, method: str, path: str, body: bytes = b"", headers: Any = ()) -> tuple[int, bytes]:
        """One request with exactly these headers, the token and a length beside."""
        given = {"Host": "localhost", "Authorization": f"Bearer {TOKEN}", "Content-Length": str(len(body))}
        given.update(headers)
        try:
            self.connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                self.connection.putheader(name, value)
            try:
                self.connection.endheaders(body or None)
            except (BrokenPipeError, ConnectionResetError):  # the server answers before it has read everything
                pass
            answer = self.connection.getresponse()
            found = answer.status, answer.read()
        except (http.client.RemoteDisconnected, ConnectionError):
            found = 0, b""
        except TimeoutError:
            pytest.fail(f"{method} {path[:60]} with {body[:60]!r} got no answer")
        if found[0] == 0 or answer.will_close:
            self.connection.close()
            self.connection = self._connect()
        return found

    def raw(self, content: bytes) -> bytes:
        """Bytes as they are on a connection of their own; everything that comes back until it closes."""
        with closing(socket.create_connection(self.address, timeout=SECONDS)) as line:
            try:
                line.sendall(content)
                if b"Connection: close" not in content:
                    line.shutdown(socket.SHUT_WR)
                found = b""
                while part := line.recv(65536):
                    found += part
            except TimeoutError:
                pytest.fail(f"{content[:60]!r} is held for ever")
            except OSError:  # the server closed before it had read everything
                return b""
            return found

    def well(self) -> None:
        """Whether a good request is answered as ever."""
        status, body = self.ask("POST", INFER, json.dumps(ANSWER).encode())
        assert status == 200, body
        assert json.loads(body)["outputs"][0]["data"] == (2 * X).ravel().tolist()

    def memory(self) -> int:
        """Resident bytes of the server and what it has started."""
        parents = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                try:
                    parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:  # ended meanwhile
                    continue
        family = {self.pid}
        while more := {p for p, parent in parents.items() if parent in family} - family:
            family |= more
        pages = sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in family)
        return pages * os.sysconf("SC_PAGESIZE")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from edgekit_runtime.backends import backend

    pytest.importorskip("uvicorn", reason="serving needs uvicorn, not installed in this environment")
    if not backend("litert").version():
        pytest.skip("the litert back end needs ai-edge-litert, not installed in this environment")
    path = tmp_path_factory.mktemp("fuzz") / "double.edgekit"
    write_bundle(path, *double_manifest())
    with process(str(path), "--port", "0", "--max-body", "1", also="pid") as (where, pid):
        yield Server(where, pid)


def refused(found: tuple[int, bytes]) -> bool:
    """Whether an answer is a refusal of one sentence that is the client's matter; a connection may close instead."""
    status, body = found
    if status in (0, 200):
        return True
    assert 400 <= status < 500 or status == 504, found
    if body.startswith(b"{"):
        said = json.loads(body)["error"]
        assert said and "\n" not in said and "Traceback" not in said and len(said) < 1000, said
    return True


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["FP32", "BYTES", "UINT8", "x", "y", "1e999", "\ud800", 10**400, [10**18] * 3, [-1, 4], [0], []])
)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
KEYS = ["inputs", "outputs", "parameters", "id", "name", "shape", "datatype", "data", "binary_data_size", "instances"]


@st.composite
def documents(draw: Any) -> Any:
    """A good request with a few of its parts replaced, added or left out."""
    entry: dict[str, Any] = {**ANSWER["inputs"][0]}
    if draw(st.booleans()):
        entry["parameters"] = {"binary_data_size": draw(scalars)}
    whole: dict[str, Any] = {"inputs": [entry], "outputs": [{"name": "y"}], "parameters": {}, "id": "1"}
    if draw(st.booleans()):
        whole = {"instances": X.tolist(), "signature_name": "serving_default"}
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from([whole, entry]))
        key = draw(st.sampled_from(KEYS) | st.text(max_size=5))
        if draw(st.booleans()):
            place[key] = draw(junk)
        else:
            place.pop(key, None)
    return draw(st.just(whole) | junk) if draw(st.integers(0, 9)) == 0 else whole


paths = st.sampled_from(
    [INFER, "/v2/models/double/versions/1/infer", "/v1/models/double:predict", "/v2/models/double/predict",
     "/v2/repository/index", "/v2/repository/models/none/load", "/v2/models/none/infer", "/v2/models/double"]
)  # fmt: skip


@MANY
@given(paths, documents(), st.binary(max_size=40), st.sampled_from(["application/json", "text/plain", "", "image/png"]))
def test_wrong_documents(server, path, document, tail, kind):
    body = json.dumps(document).encode("utf-8", "surrogatepass") + tail
    headers = {"Content-Type": kind}
    if tail:
        headers["Inference-Header-Content-Length"] = str(len(body) - len(tail))
    assert refused(server.ask("POST", path, body, headers))
    server.well()


@MANY
@given(
    st.sampled_from(["FP32", "FP16", "INT8", "UINT64", "BOOL", "BYTES", "FP64"]),
    st.lists(st.integers(0, 2**63) | st.integers(0, 5), max_size=6),
    st.integers(0, 2**63) | st.integers(0, 64),
    st.binary(max_size=64) | st.lists(st.integers(0, 2**32 - 1), max_size=6).map(lambda v: struct.pack(f"<{len(v)}I", *v)),
    st.none() | st.integers(0, 500) | st.text("0123456789-+. eE", max_size=20),
    st.sampled_from([None, "x", "z"]),
)  # fmt: skip
def test_wrong_binary_tensors(server, datatype, shape, size, content, length, name):
    entry = {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head) if length is None else length)}
    assert refused(server.ask("POST", INFER, head + content, headers))
    server.well()


@MANY
@given(
    st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "br", "x-gzip", "identity, gzip", "\xff"]), st.data()
)
def test_wrong_compression(server, noise, encoding, data):
    good = json.dumps(ANSWER).encode()
    packed = gzip.compress(good) if encoding != "deflate" else zlib.compress(good)
    cut = data.draw(st.integers(0, len(packed)))
    body = data.draw(st.sampled_from([noise, packed[:cut] + noise, packed[:cut] + noise + packed[cut:]]))
    assert refused(server.ask("POST", INFER, body, {"Content-Encoding": encoding}))
    server.well()


printable = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30)


@MANY
@given(
    st.sampled_from(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW", "POST"]),
    st.lists(st.sampled_from(["v1", "v2", "models", "double", "infer", "..", "%2e", "%00", "%ff", "", "metrics", "ready"])
             | st.text("abc%/:?#;@&=", max_size=8), max_size=8),
    st.dictionaries(
        st.sampled_from(["Request-Timeout-Ms", "Content-Encoding", "Accept-Encoding", "Authorization", "Content-Type",
                         "Inference-Header-Content-Length", "Expect", "Upgrade", "Connection", "X-Other"]),
        printable.map(str.strip), max_size=5),
)  # fmt: skip
def test_wrong_methods_paths_and_headers(server, method, parts, headers):
    path = "/" + "/".join(parts)
    assert refused(server.ask(method, path, b"{}", headers))
    server.well()


TOKEN_LINE = f"Authorization: Bearer {TOKEN}\r\n".encode()
START = b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: a\r\n" + TOKEN_LINE
GOOD = json.dumps(ANSWER).encode()
WHOLE = START + f"Content-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD
LINES = {
    "nothing": b"",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(30),
    "zeros": bytes(100_000),
    "a line without end": b"GET /" + b"a" * 300_000,
    "a very long path": b"GET /" + b"a" * 50_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "many headers": START + b"".join(b"X-%d: y\r\n" % i for i in range(3000)) + b"Content-Length: 0\r\n\r\n",
    "a header flood": START + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 100) for i in range(30_000)),
    "two lengths": START + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "a negative length": START + b"Content-Length: -1\r\n\r\n",
    "a huge length": START + b"Content-Length: 99999999999999999999999\r\n\r\nabc",
    "a length too large": START + b"Content-Length: 2000000\r\n\r\nabc",
    "length and chunks": START + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a wrong chunk": START + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n0\r\n\r\n",
    "a chunk of 2**64": START + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc",
    "chunks beyond the limit": START + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + bytes(65536) + b"\r\n10000\r\n" * 1,
    "a truncated body": START + b"Content-Length: 500\r\n\r\n" + GOOD,
    "a wrong version": b"GET / HTTP/9.9\r\n\r\n",
    "a space in the name": START + b"X Y: z\r\n\r\n",
    "a folded header": START + b"X: y\r\n z\r\n\r\n",
    "a zero in a header": START + b"X: \0\r\n\r\n",
    "bare line feeds": START.replace(b"\r\n", b"\n") + b"\n",
    "an upgrade": START + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\n\r\n",
    "garbage behind a good request": WHOLE + b"\xff\xfe GET nonsense\r\n\r\n\0\0\0",
    "two hundred at once": WHOLE * 199 + WHOLE.replace(b"Host: a", b"Host: a\r\nConnection: close"),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_what_is_hardly_http(server, name):
    found = server.raw(LINES[name])
    assert not found.startswith(b"HTTP/1.1 5") and b" 500 " not in found.partition(b"\r\n")[0], found[:200]
    if name == "two hundred at once":
        assert found.count(b"HTTP/1.1 200") + found.count(b"HTTP/1.1 429") == 200
    server.well()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 900_000,
        b'{"inputs":' * 90_000,
        b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"id":' + b"9" * 900_000 + b"}",
        b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1e' + b"9" * 4000 + b",1,1,1]}]}",
        b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"INT64","data":[' + b"9" * 5000 + b",1,1,1]}]}",
        b'{"instances":' + b"[" * 3000 + b"1" + b"]" * 3000 + b"}",
        b'{"inputs":[' + b"{}," * 200_000 + b"{}]}",
        b'{"inputs":[{"name":"' + b"n" * 800_000 + b'","shape":[1],"datatype":"FP32","data":[1]}]}',
        b'{"inputs":[{"name":"x","shape":[' + b"1," * 300_000 + b'1],"datatype":"FP32","data":[1]}]}',
    ],
    ids=lambda b: b[:20].decode(),
)
@pytest.mark.parametrize("path", [INFER, "/v1/models/double:predict"])
def test_documents_that_are_large_in_one_direction(server, path, body):
    assert refused(server.ask("POST", path, body))
    server.well()


def test_bombs_are_refused_before_they_unpack(server):
    for wrap in (gzip.compress, zlib.compress):
        bomb = wrap(bytes(200_000_000), 9)
        before = server.memory()
        for _ in range(5):
            status, body = server.ask("POST", INFER, bomb, {"Content-Encoding": "gzip"})
            assert status == 413, body
        assert server.memory() - before < 16 * 2**20
    server.well()


def test_slow_clients_hold_nobody_up(server):
    with ExitStack() as held:
        for number in range(60):
            line = held.enter_context(closing(socket.create_connection(server.address, timeout=SECONDS)))
            line.sendall(START + (b"Content-Length: 500\r\n\r\n{" if number % 2 else b"X-Slow: "))
        for _ in range(20):
            server.well()
    server.well()


def test_thousands_of_bad_requests_leave_no_memory_behind(server):
    dice = random.Random(4)
    tensor = json.dumps(
        {"inputs": [{"name": "x", "shape": [9, 9], "datatype": "FP32", "data": [0.5] * 30_000}]}
    ).encode()
    text = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["w" * 300_000]}]}).encode()
    kinds = (tensor, text, tensor[:-7], b"[" * 100_000, dice.randbytes(200_000), gzip.compress(bytes(5_000_000)))

    def storm(count: int) -> None:
        for number in range(count):
            body = kinds[number % len(kinds)]
            encoding = {"Content-Encoding": "gzip"} if body is kinds[-1] else {}
            path = f"{INFER}/{dice.random()}" if number % 7 == 0 else INFER
            assert refused(server.ask("POST", path, body, encoding))

    storm(600)  # allocators and caches have what they want
    before = server.memory()
    storm(2400)
    server.well()
    grown = server.memory() - before
    assert grown < 16 * 2**20, f"{grown / 2**20:.1f} MiB more after 2400 bad requests"


@pytest.mark.parametrize("start", [START, START + b"X: ", b"GET /", b"\r\n" * 9])
def test_a_header_without_end_is_cut_off(server, start):
    before, sent = server.memory(), 0
    part = (b"X-a: " + b"y" * 200 + b"\r\n" if start == START else b"y" * 200) * 100
    with closing(socket.create_connection(server.address, timeout=SECONDS)) as line, suppress(OSError):
        line.sendall(start)
        while sent < 30_000_000:
            line.sendall(part)
            sent += len(part)
    assert sent < 30_000_000
    assert server.memory() - before < 4 * 2**20
    server.well()


def test_connections_that_never_ask_are_closed(monkeypatch):
    uvicorn = pytest.importorskip("uvicorn", reason="serving needs uvicorn, not installed in this environment")
    monkeypatch.setattr(bounded, "HEADER_SECONDS", 0.3)

    async def app(scope, receive, send):
        await receive()
        if scope["path"] == "/slow":
            await asyncio.sleep(1)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    config = uvicorn.Config(app, http=bounded.protocol(), lifespan="off", log_config=None)
    running = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=lambda: running.run(sockets=[listening]))
        thread.start()
        try:
            address = listening.getsockname()
            for begin in (b"", b"GET / HTTP/1.1\r\nHost: a\r\nX: "):
                with closing(socket.create_connection(address, timeout=SECONDS)) as line:
                    line.sendall(begin)
                    assert line.recv(100) == b"", "closed without a word"
            with closing(socket.create_connection(address, timeout=SECONDS)) as line:
                line.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert line.recv(100).startswith(b"HTTP/1.1 200"), "a request that runs is left alone"
        finally:
            running.should_exit = True
            thread.join(30)
