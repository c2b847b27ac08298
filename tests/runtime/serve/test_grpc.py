"""gRPC beside HTTP: what Triton's own client gets, what is refused and how, and that the schema is what the file says."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit_runtime import Runtime
from edgekit_runtime.bundle import write_bundle

from ..conftest import X, double_manifest
from .test_server import TOKEN, process, stopped

pytest.importorskip("grpc", reason="needs grpcio, not installed in this environment")
pytest.importorskip("google.protobuf", reason="needs protobuf, not installed in this environment")
pytest.importorskip("uvicorn", reason="serving needs uvicorn, not installed in this environment")

import grpc

from edgekit_runtime.serve import grpc_schema, grpc_translation
from edgekit_runtime.serve.grpc import Endpoint
from edgekit_runtime.serve.http import Refused, Reply

LIMIT = 2**20


def new(kind: str, **fields):
    return grpc_schema.message(kind)(**fields)


def request_for(values, datatype="FP32", shape=None, **more):
    array = np.asarray(values)
    given = {"name": "x", "datatype": datatype, "shape": list(shape or array.shape)}
    return new("ModelInferRequest", model_name="double", inputs=[given], **more)


class Channel:
    """Any method, by its name."""

    def __init__(self, where: str) -> None:
        self.channel = grpc.insecure_channel(where)
        self.answers = {n: a for n, (_, a) in grpc_schema.methods().items()}

    def call(self, method: str):
        return self.channel.unary_unary(
            f"/{grpc_schema.SERVICE}/{method}",
            request_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString(),
            response_deserializer=self.answers[method].FromString,
        )

    def __call__(self, method: str, request, timeout: float = 30):
        return self.call(method)(request, timeout=timeout, metadata=(("authorization", f"Bearer {TOKEN}"),))


def code_of(channel: Channel, method: str, request, **more) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as refused:
        channel(method, request, **more)
    return refused.value.code().name, refused.value.details()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from edgekit_runtime.backends import backend

    if not backend("litert").version():
        pytest.skip("the litert back end needs ai-edge-litert, not installed in this environment")
    path = tmp_path_factory.mktemp("grpc") / "double.edgekit"
    write_bundle(path, *double_manifest())
    with process(str(path), "--port", "0", "--grpc-port", "0", "--max-body", "1", also="grpc") as where:
        channel = Channel(where)
        yield channel
        channel.channel.close()


@contextmanager
def beside(application):
    """gRPC around an application in this process; a channel to it."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), []

    async def run() -> None:
        stop = asyncio.Event()  # on the loop: Python 3.9 binds it where it is made
        found.append(stop)
        endpoint = Endpoint("127.0.0.1", 0, LIMIT)
        messages, sent = iter(("lifespan.startup", "lifespan.shutdown")), asyncio.Queue()

        async def receive():
            kind = next(messages)
            if kind == "lifespan.shutdown":
                await stop.wait()
            return {"type": kind}

        async def lifespan(scope, receive, send):
            for kind in ("startup", "shutdown"):
                assert (await receive())["type"] == f"lifespan.{kind}"
                await send({"type": f"lifespan.{kind}.complete"})

        async def either(scope, *ends):
            await (lifespan if scope["type"] == "lifespan" else application)(scope, *ends)

        task = asyncio.ensure_future(endpoint.around(either)({"type": "lifespan"}, receive, sent.put))
        assert (await sent.get())["type"] == "lifespan.startup.complete"
        found.append(endpoint.where)
        ready.set()
        await task
        assert (await sent.get())["type"] == "lifespan.shutdown.complete"

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert ready.wait(60)
        channel = Channel(found[1])
        yield channel
        channel.channel.close()
    finally:
        loop.call_soon_threadsafe(found[0].set)
        thread.join(30)
        loop.close()


def test_tritons_grpc_client_works_unchanged(double, needs_backend):
    needs_backend("litert")
    triton = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient, not installed in this environment")
    headers = {"authorization": f"Bearer {TOKEN}"}
    with Runtime.open(double) as runtime:
        expected = runtime.run({"x": X})["y"]
    with (
        process(str(double), "--port", "0", "--grpc-port", "0", also="grpc") as where,
        triton.InferenceServerClient(where) as client,
    ):
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("double", "1", headers=headers)
        assert "binary_tensor_data" in client.get_server_metadata(headers=headers).extensions
        said = client.get_model_metadata("double", headers=headers)
        assert (said.inputs[0].datatype, list(said.inputs[0].shape)) == ("FP32", [-1, 4])
        given = triton.InferInput("x", list(X.shape), "FP32")
        given.set_data_from_numpy(X)
        for outputs in (None, [triton.InferRequestedOutput("y")]):
            for packing in (None, "gzip", "deflate"):
                found = client.infer(
                    "double", [given], outputs=outputs, request_id="7", headers=headers, compression_algorithm=packing
                )
                assert np.array_equal(found.as_numpy("y"), expected)
                assert (found.get_response().id, found.get_response().model_version) == ("7", "1")
        with pytest.raises(triton.InferenceServerException, match="UNAUTHENTICATED.*wants a token"):
            client.infer("double", [given])
        with pytest.raises(triton.InferenceServerException, match="DEADLINE_EXCEEDED|Deadline Exceeded"):
            client.infer("double", [given], headers=headers, client_timeout=1e-9)
        client.unload_model("double", headers=headers)
        assert client.get_model_repository_index(headers=headers).models[0].state == "UNAVAILABLE"
        assert not client.is_model_ready("double", headers=headers)
        client.load_model("double", headers=headers)
        assert client.is_model_ready("double", headers=headers)


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("FP32", "fp32_contents", [1.5, -2.0, 0.0, 4.0]),
        ("UINT8", "uint_contents", [0, 1, 128, 255]),
        ("INT8", "int_contents", [-128, -1, 0, 127]),
        ("INT32", "int_contents", [-5, 6, 7, 8]),
        ("BOOL", "bool_contents", [True, False, True, True]),
    ],
)
def test_typed_contents_are_numbers_of_their_type(served, datatype, field, values):
    channel = served
    request = request_for(values, datatype, (1, 4))
    getattr(request.inputs[0].contents, field).extend(values)
    answer = channel("ModelInfer", request)
    found = np.frombuffer(answer.raw_output_contents[0], "<f4")
    assert found.tolist() == [2 * float(v) for v in values]
    assert (answer.outputs[0].name, answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("y", "FP32", [1, 4])


def test_bytes_contents_and_parameters_become_the_rest_form():
    request = new("ModelInferRequest", model_name="m", id="5")
    given = request.inputs.add(name="t", datatype="BYTES", shape=[2])
    given.contents.bytes_contents.extend([b"one", b""])
    request.parameters["timeout"].int64_param = 7
    request.outputs.add(name="y").parameters["classification"].int64_param = 2
    body, length = grpc_translation.infer_request(request, LIMIT)
    assert body[length:] == b"\3\0\0\0one\0\0\0\0"
    assert json.loads(body[:length]) == {
        "parameters": {"timeout": 7, "binary_data_output": True},
        "inputs": [{"name": "t", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 11}}],
        "id": "5",
        "outputs": [{"name": "y", "parameters": {"classification": 2, "binary_data": True}}],
    }


def wrong(change):
    request = request_for(np.zeros((1, 4)), raw_input_contents=[bytes(16)])
    change(request)
    return request


WRONG = {
    "two raw contents": (lambda r: r.raw_input_contents.append(b""), "INVALID_ARGUMENT", "2 entries for 1 inputs"),
    "both": (lambda r: r.inputs[0].contents.fp32_contents.append(1), "INVALID_ARGUMENT", "both contents and raw"),
    "short": (lambda r: r.raw_input_contents.__setitem__(0, bytes(15)), "INVALID_ARGUMENT", "takes 16"),
    "negative shape": (lambda r: r.inputs[0].shape.append(-1), "INVALID_ARGUMENT", "whole numbers"),
    "huge shape": (lambda r: r.inputs[0].shape.extend([2**62, 2**62]), "INVALID_ARGUMENT", "larger than any tensor"),
    "type": (lambda r: setattr(r.inputs[0], "datatype", "FP17"), "INVALID_ARGUMENT", "datatype"),
    "no typed FP16": (
        lambda r: (setattr(r.inputs[0], "datatype", "FP16"), r.raw_input_contents.pop()),
        "INVALID_ARGUMENT",
        "use raw_input_contents",
    ),
    "wrong field": (
        lambda r: (r.inputs[0].contents.int_contents.append(1), r.raw_input_contents.pop()),
        "INVALID_ARGUMENT",
        "its contents are in int_contents",
    ),
    "does not fit": (
        lambda r: (
            setattr(r.inputs[0], "datatype", "UINT8"),
            r.inputs[0].contents.uint_contents.append(256),
            r.raw_input_contents.pop(),
        ),
        "INVALID_ARGUMENT",
        "do not fit UINT8",
    ),
    "output": (lambda r: r.outputs.add(name="z"), "INVALID_ARGUMENT", "no output 'z'"),
    "model": (lambda r: setattr(r, "model_name", "../triple ü"), "NOT_FOUND", "no model"),
    "nameless": (lambda r: setattr(r, "model_name", ""), "NOT_FOUND", "no model"),
    "version": (lambda r: setattr(r, "model_version", "2"), "NOT_FOUND", "no version"),
    "not JSON": (
        lambda r: setattr(r.parameters["x"], "double_param", float("nan")),
        "INVALID_ARGUMENT",
        "not valid JSON",
    ),
    "unpacked too large": (
        lambda r: (
            setattr(r.inputs[0], "datatype", "UINT64"),
            r.inputs[0].contents.uint64_contents.extend([0] * (LIMIT // 8 + 1)),
            r.raw_input_contents.pop(),
        ),
        "RESOURCE_EXHAUSTED",
        "more than 1,048,576 bytes",
    ),
    "too large": (lambda r: r.raw_input_contents.__setitem__(0, bytes(2**22)), "RESOURCE_EXHAUSTED", "larger than max"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_are_refused_with_a_code_and_a_sentence(served, name):
    change, code, said = WRONG[name]
    found = code_of(served, "ModelInfer", wrong(change))
    assert found[0] == code and said in found[1], found
    good = served("ModelInfer", request_for(X, raw_input_contents=[X.tobytes()]))
    assert good.raw_output_contents[0] == (2 * X).tobytes()


values = st.integers(-(2**63), 2**63 - 1)
contents = st.fixed_dictionaries(
    {},
    optional={
        "int_contents": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
        "uint_contents": st.lists(st.integers(0, 2**32 - 1), max_size=5),
        "int64_contents": st.lists(values, max_size=5),
        "fp32_contents": st.lists(st.floats(width=32), max_size=5),
        "fp64_contents": st.lists(st.floats(), max_size=5),
        "bytes_contents": st.lists(st.binary(max_size=5), max_size=5),
    },
)


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.sampled_from(["x", "", "\0"]), st.sampled_from(["FP32", "FP16", "BYTES", "UINT8", "INT64", ""]),
                       st.lists(values | st.integers(0, 4), max_size=5), contents), max_size=2),
    st.lists(st.binary(max_size=20), max_size=2),
    st.text(max_size=6) | st.just("double"),
    st.dictionaries(st.sampled_from(["timeout", "binary_data_output", "a"]), values, max_size=2),
    st.binary(max_size=12),
)  # fmt: skip
def test_messages_of_any_content_are_answered_or_refused(served, inputs, raw, model, parameters, tail):
    channel = served
    request = new("ModelInferRequest", model_name=model, raw_input_contents=raw)
    for name, datatype, shape, content in inputs:
        request.inputs.add(name=name, datatype=datatype, shape=shape, contents=content)
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
    for content in (request.SerializeToString(), request.SerializeToString() + tail, tail):
        try:
            channel("ModelInfer", content)
        except grpc.RpcError as refused:
            assert refused.code().name in ("INVALID_ARGUMENT", "NOT_FOUND", "DEADLINE_EXCEEDED"), refused
    good = channel("ModelInfer", request_for(X, raw_input_contents=[X.tobytes()]))
    assert good.raw_output_contents[0] == (2 * X).tobytes()


def test_what_is_no_message_and_what_is_no_method_is_refused(served):
    channel = served
    assert code_of(channel, "ModelInfer", b"\xff\xff\xff") == (
        "INVALID_ARGUMENT",
        "the message is not a ModelInferRequest",
    )
    call = channel.channel.unary_unary(f"/{grpc_schema.SERVICE}/ModelStreamInfer")
    with pytest.raises(grpc.RpcError) as refused:
        call(b"", timeout=30)
    assert refused.value.code().name == "UNIMPLEMENTED"
    assert code_of(channel, "ModelReady", new("ModelReadyRequest", name="none"))[0] == "NOT_FOUND"


def test_a_timeout_of_the_protocol_is_a_deadline(served):
    request = wrong(lambda r: setattr(r.parameters["timeout"], "int64_param", 1))
    code, said = code_of(served, "ModelInfer", request)
    assert code == "DEADLINE_EXCEEDED" and "passed before" in said


def test_a_full_queue_a_deadline_and_a_cancelled_call_reach_the_application_and_the_client():
    begun, gone, seen = threading.Event(), threading.Event(), []

    async def busy(scope, receive, send):
        seen.append(dict(scope["headers"]))
        if b"full" in scope["raw_path"]:
            await send({"type": "http.response.start", "status": 429, "headers": []})
            await send({"type": "http.response.body", "body": b'{"error": "1 requests wait already"}'})
            return
        assert (await receive())["type"] == "http.request"
        begun.set()
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    with beside(busy) as channel:
        full = request_for(X, raw_input_contents=[X.tobytes()])
        full.model_name = "full"
        assert code_of(channel, "ModelInfer", full) == ("RESOURCE_EXHAUSTED", "1 requests wait already")
        assert 29_000 < int(seen[0][b"request-timeout-ms"]) < 31_000  # gRPC rounds up
        assert seen[0][b"authorization"] == f"Bearer {TOKEN}".encode()
        slow = request_for(X, raw_input_contents=[X.tobytes()])
        assert code_of(channel, "ModelInfer", slow, timeout=0.2)[0] == "DEADLINE_EXCEEDED"
        assert gone.wait(30), "the application hears that nobody waits"
        begun.clear(), gone.clear()
        call = channel.call("ModelInfer").future(slow)
        assert begun.wait(30)
        call.cancel()
        assert gone.wait(30)
        assert b"request-timeout-ms" not in seen[-1]


def test_a_port_in_use_and_a_missing_token_are_one_sentence(double, capsys, needs_backend):
    needs_backend("litert")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = stopped(capsys, str(double), "--port", "0", "--grpc-port", port)
    assert code == 1 and "cannot listen for gRPC on 127.0.0.1" in said and said.count("\n") == 1
    code, said = stopped(capsys, str(double), "--socket", "s", "--host", "0.0.0.0", "--grpc-port", "0")  # noqa: S104
    assert code == 2 and "there is no token" in said
    code, said = stopped(capsys, str(double), "--grpc-port", "65536")
    assert code == 2 and "--grpc-port 65536 is not between" in said


def test_a_port_that_is_lost_before_the_start_ends_the_server(double, needs_backend):
    needs_backend("litert")
    program = """
import socket, sys
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.serve import server
endpoint = server.with_grpc("127.0.0.1", 0, None, 1000)
thief = socket.create_server(("127.0.0.1", int(endpoint.where.rpartition(":")[2])))
try:
    server.serve([sys.argv[1]], server.Address(port=0), endpoint=endpoint, listening=lambda *_: None)
except EdgekitError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(double)], capture_output=True, text=True, check=True, timeout=120
    )
    assert "cannot listen for gRPC on 127.0.0.1" in done.stdout


def test_without_grpcio_the_line_that_installs_it(double, capsys, monkeypatch):
    from edgekit_runtime.serve import grpc as ours

    monkeypatch.setattr(ours.importlib.util, "find_spec", lambda name: None if name == "grpc" else object())
    code, said = stopped(capsys, str(double), "--grpc-port", "0")
    assert code == 4 and 'pip install "edgekit-runtime[grpc]"' in said


def test_a_reply_without_tensors_behind_it_is_read_too():
    said = {"model_name": "m", "outputs": []}
    answer = grpc_translation.infer_response(Reply(200, json.dumps(said).encode()))
    assert answer.model_name == "m" and not answer.raw_output_contents
    with pytest.raises(Refused, match="100 bytes"):
        grpc_translation.infer_request(request_for(X, raw_input_contents=[bytes(101)]), 100)


def test_the_compiled_schema_is_what_the_file_says():
    pytest.importorskip("grpc_tools", reason="needs grpcio-tools, not installed in this environment")
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    now = FileDescriptorSet.FromString(grpc_schema.compiled())
    assert FileDescriptorSet.FromString(grpc_schema.COMPILED.read_bytes()) == now, (
        "run python -m edgekit_runtime.serve.grpc_schema"
    )


def test_the_schema_is_the_one_that_clients_have():
    """Every message and field that we know has the name, number and type that Triton's client has."""
    service = pytest.importorskip("tritonclient.grpc.service_pb2", reason="needs tritonclient")
    theirs = service.DESCRIPTOR
    for name, (asked, answered) in grpc_schema.methods().items():
        method = theirs.services_by_name["GRPCInferenceService"].methods_by_name[name]
        assert same(asked.DESCRIPTOR, method.input_type) and same(answered.DESCRIPTOR, method.output_type)


def same(ours, theirs) -> bool:
    for field in ours.fields:
        other = theirs.fields_by_name[field.name]
        assert (field.number, field.type) == (other.number, other.type), field.full_name
        assert field.message_type is None or same(field.message_type, other.message_type)
    assert ours.full_name == theirs.full_name
    return True
