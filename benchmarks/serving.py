"""CPU time of the server's processes together per request: a 224x224x3 picture, one process, one kept-alive connection.

python benchmarks/serving.py [--seconds 3] [--peer PYTHON] [--mlserver PYTHON]

The model is the smallest there is (its output is one sum), so that what is timed is serving. `PYTHON` is an
interpreter of another environment with fastapi, uvicorn and numpy: the same answer from a bare FastAPI server is timed
in the same run, turn about. What is installed beside uvicorn here (httptools, uvloop, orjson) is used, and printed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import mlserver_peer
import numpy as np

SHAPE = (1, 224, 224, 3)
PICTURE = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)

PEER = """
import json, sys
import numpy as np, uvicorn
from fastapi import FastAPI, Request, Response

app = FastAPI()

@app.get("/v2/health/ready")
def ready():
    return {}

@app.post("/v2/models/sum/infer")
async def infer(request: Request):
    body = await request.body()
    length = int(request.headers.get("inference-header-content-length", len(body)))
    head = json.loads(body[:length])
    entry = head["inputs"][0]
    if "data" in entry:
        array = np.array(entry["data"], np.uint8)
    else:
        array = np.frombuffer(body[length:], np.uint8)
    total = array.reshape(entry["shape"]).astype(np.float32).sum(axis=(1, 2, 3))
    said = {"model_name": "sum", "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": total.tolist()}]}
    return Response(json.dumps(said), media_type="application/json")

uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
"""


def bundle(folder: Path, note: str = "") -> Path:
    """A bundle whose model adds up a picture; a note makes it another one."""
    import onnx
    from onnx import TensorProto, helper

    from edgekit_runtime.bundle import write_bundle
    from edgekit_runtime.manifest import (
        SCHEMA,
        Binding,
        Expectation,
        Golden,
        GoldenSample,
        Manifest,
        SourceInfo,
        SpecificationData,
        TensorInfo,
        Tolerance,
        Variant,
    )
    from edgekit_runtime.samples import array_bytes

    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["f", "axes"], ["y"], keepdims=0),
        ],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    total = PICTURE.astype(np.float32).sum(axis=(1, 2, 3))
    manifest = Manifest(
        schema=SCHEMA,
        name="sum",
        target="generic-cpu",
        task="none",
        inputs=(TensorInfo("x", SHAPE, "uint8"),),
        outputs=(TensorInfo("y", (1,)),),
        specification=SpecificationData("tensor"),
        variants=(
            Variant(
                "onnx-fp32",
                "onnx",
                "fp32",
                "models/sum.onnx",
                (Binding("x", "x", SHAPE, "uint8"),),
                (Binding("y", "y", (1,)),),
                ("onnx",),
            ),
        ),
        chosen="onnx-fp32",
        notes=(note,) if note else (),
        source=SourceInfo("onnx", "sum.onnx", "0" * 64),
        golden=Golden(
            samples=(GoldenSample("golden/0.npy"),),
            expected=(Expectation("onnx-fp32", "onnx", "1", "x86_64", {"y": "golden/y.npy"}),),
            same_backend={"onnx-fp32": Tolerance(0.0, 1e-5)},
        ),
    )
    members = {
        "models/sum.onnx": model.SerializeToString(),
        "golden/0.npy": array_bytes(PICTURE[0]),
        "golden/y.npy": array_bytes(total),
    }
    path = folder / "sum.edgekit"
    write_bundle(path, manifest, members, overwrite=True)
    return path


def requests() -> dict[str, tuple[bytes, dict[str, str]]]:
    """Kind to body and headers."""
    entry = {"name": "x", "shape": list(SHAPE), "datatype": "UINT8"}
    head = json.dumps({"inputs": [{**entry, "parameters": {"binary_data_size": PICTURE.size}}]}).encode()
    text = json.dumps({"inputs": [{**entry, "data": PICTURE.ravel().tolist()}]}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    return {"binary": (head + PICTURE.tobytes(), length), "JSON": (text, {"Content-Type": "application/json"})}


def family(process: int) -> list[int]:
    """A process and its children."""
    parents = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parents[int(place.parent.name)] = int(place.read_text().rpartition(")")[2].split()[1])
    return [process, *(p for p, parent in parents.items() if parent == process)]


def cpu_ms(process: int) -> float:
    """CPU time of a process and its children so far, user and system."""
    ticks = 0
    for one in family(process):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def timed(port: int, process: int, body: bytes, headers: dict[str, str], seconds: float) -> float:
    """CPU ms per request."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    count, start, end = 0, 0.0, 0.0
    while count < 20 or time.monotonic() < end:
        if count == 10:
            start, end = cpu_ms(process), time.monotonic() + seconds
        connection.request("POST", "/v2/models/sum/infer", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        count += 1
    connection.close()
    return (cpu_ms(process) - start) / (count - 10)


def wait_ready(port: int, process: subprocess.Popen) -> None:
    until = time.monotonic() + 60
    while True:
        assert time.monotonic() < until and process.poll() is None, "the server did not start"
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="how long one round of one kind takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", help="python with fastapi, uvicorn and numpy")
    parser.add_argument("--mlserver", help="python with mlserver and onnxruntime; times gRPC, too")
    options = parser.parse_args()
    calls: dict[str, tuple[subprocess.Popen, str]] = {}
    running: dict[str, tuple[subprocess.Popen, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "edgekit_runtime", "serve", str(bundle(Path(folder))), "--json", "--port", "0"]
        try:
            words += ["--threads", "1", *(["--grpc-port", "0"] if options.mlserver else [])]
            ours = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            assert ours.stdout is not None
            said = json.loads(ours.stdout.readline())
            running["edgekit-runtime"] = (ours, int(said["listening"].rpartition(":")[2]))
            if options.mlserver:
                peer, port, beside = mlserver_peer.start(options.mlserver, Path(folder) / "sum.edgekit", Path(folder))
                running["MLServer"] = (peer, port)
                calls = {"edgekit-runtime": (ours, said["grpc"]), "MLServer": (peer, f"127.0.0.1:{beside}")}
            if options.peer:
                port = running["edgekit-runtime"][1] + 1
                environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
                peer = subprocess.Popen([options.peer, "-c", textwrap.dedent(PEER), str(port)], env=environment)
                running["FastAPI"] = (peer, port)
            for process, port in running.values():
                wait_ready(port, process)
            found: dict[tuple[str, str], list[float]] = {}
            for _ in range(options.rounds):
                for kind, (body, headers) in requests().items():
                    for name, (process, port) in running.items():
                        if (kind, name) == ("binary", "MLServer"):  # it takes none over HTTP
                            continue
                        value = timed(port, process.pid, body, headers, options.seconds)
                        found.setdefault((kind, name), []).append(value)
                for name, (process, where) in calls.items():
                    value = mlserver_peer.timed(where, lambda p=process: cpu_ms(p.pid), PICTURE, options.seconds)
                    found.setdefault(("gRPC", name), []).append(value)
        finally:
            for process, _ in running.values():
                process.send_signal(signal.SIGTERM)
                process.wait()
    extras = [n for n in ("httptools", "uvloop", "orjson") if importlib.util.find_spec(n)]
    print(f"beside uvicorn: {', '.join(extras) or 'nothing'}; medians of {options.rounds} rounds, CPU ms per request")
    for (kind, name), values in found.items():
        print(f"{kind:<7} {name:<16} {statistics.median(values):.3f}")
    if options.peer:
        for kind in requests():
            ratio = statistics.median(found[kind, "edgekit-runtime"]) / statistics.median(found[kind, "FastAPI"])
            print(f"{kind:<7} edgekit-runtime / FastAPI {ratio:.2f}")


if __name__ == "__main__":
    main()
