"""Our server and its peers: each in an environment and a process of its own, on the same ONNX file."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import network

HERE = Path(__file__).parent
TOKEN = "a-token-of-some-length"  # noqa: S105


@dataclass(frozen=True)
class Served:
    """Where a server listens."""

    http: str
    grpc: str

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        """Status and JSON of an HTTP answer; its text where it is none."""
        connection = http.client.HTTPConnection(self.http, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            try:
                return answer.status, json.loads(content)
            except ValueError:
                return answer.status, content.decode()
        finally:
            connection.close()


def python_of(peer: str) -> str:
    """The interpreter that the tox environment `peers` made for a peer."""
    folder = os.environ.get("EDGEKIT_PEERS")
    if not folder:
        pytest.skip("EDGEKIT_PEERS does not point to the peers' environments (tox run -e peers makes them)")
    return str(Path(folder) / peer / "bin" / "python")


@contextmanager
def running(words: list[str], log: Path, **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that is stopped at the end; what it wrote is shown where it fails."""
    with log.open("w") as errors:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True, **settings)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()


def until_ready(process: subprocess.Popen[str], served: Served, path: str, log: Path) -> None:
    """Return once the path answers 200."""
    end = time.monotonic() + 90
    while True:
        assert time.monotonic() < end and process.poll() is None, log.read_text()[-3000:]
        try:
            if served.ask("GET", path)[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file."""
    path = tmp_path_factory.mktemp("model") / "shapes.onnx"
    path.write_bytes(network.onnx_model())
    return path


@pytest.fixture(scope="session")
def ours(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """edgekit-runtime with the model as a bundle."""
    folder = tmp_path_factory.mktemp("ours")
    network.bundle(folder / "shapes.edgekit", model.read_bytes())
    words = [sys.executable, "-m", "edgekit_runtime", "serve", "shapes.edgekit", "--json"]
    environment = {**os.environ, "EDGEKIT_SERVE_TOKEN": TOKEN}
    log = folder / "log"
    with running([*words, "--port", "0", "--grpc-port", "0"], log, cwd=folder, env=environment) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        served = Served(said["listening"][len("http://") :], said["grpc"])
        until_ready(process, served, "/v2/health/ready", log)
        yield served


@pytest.fixture(scope="session")
def mlserver(model: Path, ours: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """MLServer with the same file, told our metadata."""
    folder = tmp_path_factory.mktemp("mlserver")
    ports = []
    for _ in range(3):  # MLServer takes no free port by itself
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
    settings = dict(zip(("http_port", "grpc_port", "metrics_port"), ports), host="127.0.0.1", parallel_workers=0)
    (folder / "settings.json").write_text(json.dumps(settings))
    about = ours.ask("GET", f"/v2/models/{network.NAME}")[1]
    described = {
        "name": network.NAME,
        "implementation": "mlserver_runtime.OnnxModel",
        "parameters": {"uri": str(model), "version": "1"},
        "platform": about["platform"],
        "versions": about["versions"],
        "inputs": about["inputs"],
        "outputs": about["outputs"],
    }
    (folder / "model-settings.json").write_text(json.dumps(described))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": str(HERE)}
    words = [python_of("mlserver"), "-c", "import sys; from mlserver.cli import main; sys.argv[0] = 'mlserver'; main()"]
    log = folder / "log"
    with running([*words, "start", str(folder)], log, env=environment) as process:
        served = Served(f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}")
        until_ready(process, served, f"/v2/models/{network.NAME}/ready", log)
        yield served
