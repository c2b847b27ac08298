"""A real server on loopback, asked by Triton's own client."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from edgekit_runtime import Bundle, Runtime
from edgekit_runtime.cli import main
from edgekit_runtime.serve import server

from ..conftest import X

TOKEN = "a-token-of-some-length"  # noqa: S105


@pytest.fixture
def needs_uvicorn(needs_backend) -> None:
    needs_backend("litert")
    pytest.importorskip("uvicorn", reason="serving needs uvicorn, not installed in this environment")


@contextmanager
def process(*options: str, also: str = "listening") -> Iterator[Any]:
    """A server of its own process; its URL, or what else it says of itself, once it is ready."""
    words = [sys.executable, "-m", "edgekit_runtime", "serve", "--json", *options]
    running = subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env={**os.environ, server.TOKEN_VARIABLE: TOKEN}
    )
    try:
        assert running.stdout is not None
        said = json.loads(running.stdout.readline())
        where = said["listening"]
        said["pid"] = where, running.pid
        until = time.monotonic() + 60
        while ask(where, "GET", "/v2/health/ready")[0] != 200:
            assert time.monotonic() < until and running.poll() is None
        yield said[also]
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


class _Unix(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


def ask(where: str, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    if where.startswith("unix:"):
        connection = _Unix(where[len("unix:") :])
        connection.host = where[len("unix:") :]
    else:
        connection = http.client.HTTPConnection(where[len("http://") :], timeout=30)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {TOKEN}", "Host": "localhost"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_tritons_client_works_unchanged(double, needs_uvicorn):
    triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient, not installed in this environment")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with Runtime.open(double) as runtime:
        expected = runtime.run({"x": X})["y"]
    with process(str(double), "--port", "0") as where, triton.InferenceServerClient(where[len("http://") :]) as client:
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("double", "1", headers=headers)
        assert not client.is_model_ready("triple", headers=headers)
        assert "binary_tensor_data" in client.get_server_metadata(headers=headers)["extensions"]
        assert client.get_model_metadata("double", headers=headers)["inputs"][0]["datatype"] == "FP32"
        assert client.get_model_config("double", headers=headers)["input"][0]["data_type"] == "TYPE_FP32"
        for binary_in in (True, False):
            given = triton.InferInput("x", list(X.shape), "FP32")
            given.set_data_from_numpy(X, binary_data=binary_in)
            for outputs in (
                None,
                [triton.InferRequestedOutput("y", binary_data=True)],
                [triton.InferRequestedOutput("y", binary_data=False)],
            ):
                for packing in (None, "gzip", "deflate"):
                    found = client.infer(
                        "double",
                        [given],
                        outputs=outputs,
                        request_id="one",
                        headers=dict(headers),  # the client adds to it
                        request_compression_algorithm=packing,
                        response_compression_algorithm=packing,
                    )
                    assert np.array_equal(found.as_numpy("y"), expected)
                    assert found.get_response()["id"] == "one"
        with pytest.raises(triton.InferenceServerException, match="takes x, but was given z"):
            client.infer("double", [given_z(triton)], headers=headers)
        stats = client.get_inference_statistics("double", headers=headers)["model_stats"][0]
        assert stats["inference_stats"]["success"]["count"] == 18
        client.unload_model("double", headers=headers)
        assert client.get_model_repository_index(headers=headers)[0]["state"] == "UNAVAILABLE"
        client.load_model("double", headers=headers)
        assert client.is_model_ready("double", headers=headers)


def given_z(triton):
    given = triton.InferInput("z", [1, 4], "FP32")
    given.set_data_from_numpy(X[:1])
    return given


def test_a_unix_socket_is_for_its_owner_alone_and_goes_with_the_server(double, tmp_path, needs_uvicorn):
    path = tmp_path / "s"
    with process(str(double), "--socket", str(path)) as where:
        assert where == f"unix:{path}" and path.stat().st_mode & 0o077 == 0
        body = json.dumps({"instances": X.tolist()}).encode()
        assert json.loads(ask(where, "POST", "/v1/models/double:predict", body)[1])["predictions"] == (2 * X).tolist()
    assert not path.exists()


def test_a_store_is_served_with_every_option_and_its_slot_loaded_anew(double, tmp_path, needs_uvicorn):
    with Bundle.open(double) as bundle:
        digest = bundle.digest
    store = tmp_path / "store"
    (store / "bundles").mkdir(parents=True)
    (store / "slots").mkdir()
    (store / "bundles" / f"{digest}.edgekit").write_bytes(double.read_bytes())
    (store / "slots" / "double.json").write_text(json.dumps({"current": digest, "previous": None}))
    options = ("--max-batch", "8", "--batch-delay", "1", "--stuck-after", "5", "--restarts", "2", "--window", "60")
    with process("--store", str(store), "--port", "0", *options) as where:
        body = json.dumps({"instances": X.tolist()}).encode()
        assert json.loads(ask(where, "POST", "/v1/models/double:predict", body)[1])["predictions"] == (2 * X).tolist()
        said = json.loads(ask(where, "GET", "/v2/models/double")[1])
        assert said["parameters"]["digest"] == digest
        assert ask(where, "POST", "/v2/repository/models/double/load")[0] == 200
        assert json.loads(ask(where, "POST", "/v1/models/double:predict", body)[1])["predictions"] == (2 * X).tolist()
        # the process before tells its last figures when it ends, a moment after the swap
        calls, begin = f'edgekit_calls_total{{model="double",digest="{digest[:16]}"}} 4', time.monotonic()
        while calls not in (metrics := ask(where, "GET", "/metrics")[1].decode()):
            assert time.monotonic() - begin < 30, metrics
        assert "edgekit_device_memory_bytes" in metrics
    with process("--store", str(store), "--port", "0", "--no-monitor") as where:
        assert "edgekit_calls_total" not in ask(where, "GET", "/metrics")[1].decode()


def test_what_is_fastest_here_is_served_when_asked_for(double, tmp_path, monkeypatch, needs_uvicorn, needs_backend):
    needs_backend("onnx")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEKIT_VARIANT", "onnx-fp32")  # what wins is chance; what is forced competes alone
    with process(str(double), "--port", "0", "--choose") as where:
        body = json.dumps({"instances": X.tolist()}).encode()
        assert json.loads(ask(where, "POST", "/v1/models/double:predict", body)[1])["predictions"] == (2 * X).tolist()
        assert "onnx-fp32 on onnx" in ask(where, "GET", "/v2/models/double")[1].decode()
    assert list((tmp_path / "cache/choices").glob("*.json"))


def test_the_service_manager_hears_that_the_server_is_up_and_alive(double, tmp_path, monkeypatch, needs_uvicorn):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        with process(str(double), "--port", "0"):
            heard: list[str] = []
            while "READY=1" not in heard:
                heard.append(manager.recv(4096).decode())
            assert "WATCHDOG=1" in heard
            while "STATUS=double is ready" not in heard:
                heard.append(manager.recv(4096).decode())
            heard.clear()
            while heard.count("WATCHDOG=1") < 3:
                heard.append(manager.recv(4096).decode())


def stopped(capsys, *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(["serve", *words])
    return stop.value.code, capsys.readouterr().err


@pytest.mark.tool("promtool")
def test_promtool_finds_nothing_to_say_about_the_served_page(double, needs_uvicorn):
    with process(str(double), "--port", "0") as where:
        for body in (json.dumps({"instances": X.tolist()}).encode(), b"{}"):
            ask(where, "POST", "/v1/models/double:predict", body)
        status, page = ask(where, "GET", "/metrics")
    assert status == 200 and b'status="200"} 1' in page and b'status="400"} 1' in page
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_wrong_usage_is_one_sentence(double, tmp_path, capsys, needs_uvicorn):
    short = tmp_path / "token"
    short.write_text("abc\n")
    taken = socket.create_server(("127.0.0.1", 0))
    for words, code, said in (
        ([str(double), "--host", "0.0.0.0"], 2, "there is no token"),  # noqa: S104
        ([str(double), "--token-file", str(short)], 2, "not one word of 16"),
        ([str(double), "--token-file", str(tmp_path / "none")], 2, "cannot read the token"),
        ([str(double), "--port", "65536"], 2, "--port 65536 is not between"),
        ([str(double), "--max-body", "0"], 2, "--max-body 0 is not between"),
        ([str(double), "--max-batch", "0"], 2, "--max-batch 0 is not between"),
        ([str(double), "--stuck-after", "nan"], 2, "--stuck-after nan is not between"),
        ([str(double), "--key", str(tmp_path / "none")], 2, "none"),
        ([], 2, "nothing to serve: give bundles or --store"),
        (["--store", str(tmp_path / "none")], 2, "there is no store"),
        ([str(double), str(double)], 2, "both called"),
        ([str(short)], 1, "not an edgekit bundle"),
        ([str(double), "--port", str(taken.getsockname()[1])], 1, "in use"),
        ([str(double), "--socket", str(tmp_path / "no" / "s")], 1, "cannot listen on"),
    ):
        found = stopped(capsys, *words)
        assert found[0] == code and said in found[1] and found[1].count("\n") == 1, found
        assert "abc" not in found[1]
    taken.close()


def test_without_uvicorn_the_line_that_installs_it(double, capsys, monkeypatch):
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    code, said = stopped(capsys, str(double))
    assert code == 4 and 'pip install "edgekit-runtime[serve]"' in said
