"""MLServer beside our server, and both over gRPC: what `serving.py --mlserver PYTHON` times."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgekit_runtime.bundle import Bundle
from edgekit_runtime.serve import grpc_schema

RUNTIME = Path(__file__).parents[1] / "tests/peers"
START = "import sys; from mlserver.cli import main; sys.argv[0] = 'mlserver'; main()"


def start(python: str, bundle: Path, folder: Path) -> tuple[subprocess.Popen, int, int]:
    """MLServer without worker processes on the bundle's ONNX file; the process, its HTTP and its gRPC port."""
    home = folder / "mlserver"
    home.mkdir()
    with Bundle.open(bundle) as opened:
        (home / "sum.onnx").write_bytes(opened.read("models/sum.onnx"))
    ports = []
    for _ in range(3):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
    settings = dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True), host="127.0.0.1")
    (home / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0, "debug": False}))
    model = {"name": "sum", "implementation": "mlserver_runtime.OnnxModel", "parameters": {"uri": f"{home}/sum.onnx"}}
    (home / "model-settings.json").write_text(json.dumps(model))
    process = subprocess.Popen(
        [python, "-c", START, "start", str(home)],
        env={**os.environ, "PYTHONPATH": str(RUNTIME)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return process, ports[0], ports[1]


def timed(where: str, cpu_ms: Callable[[], float], picture: np.ndarray, seconds: float) -> float:
    """CPU ms per call of one kept connection, the picture in `raw_input_contents`."""
    import grpc

    request = grpc_schema.message("ModelInferRequest")(model_name="sum", raw_input_contents=[picture.tobytes()])
    request.inputs.add(name="x", datatype="UINT8", shape=picture.shape)
    content = request.SerializeToString()
    count, begin, end = 0, 0.0, 0.0
    with grpc.insecure_channel(where) as channel:
        call = channel.unary_unary(f"/{grpc_schema.SERVICE}/ModelInfer")
        while count < 20 or time.monotonic() < end:
            if count == 10:
                begin, end = cpu_ms(), time.monotonic() + seconds
            call(content, timeout=60)
            count += 1
        return (cpu_ms() - begin) / (count - 10)
