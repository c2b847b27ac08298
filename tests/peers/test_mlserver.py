"""The same requests to MLServer and to our server, on the same ONNX file: answers, descriptions, refusals."""

from __future__ import annotations

import json

import grpc
import numpy as np
import pytest

from edgekit_runtime.serve import grpc_schema

from . import network
from .conftest import TOKEN

MODEL = f"/v2/models/{network.NAME}"


def as_json(array: np.ndarray, **changes) -> bytes:
    entry = {"name": "image", "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}
    return json.dumps({"id": "7", "inputs": [{**entry, **changes}]}).encode()


def call(served, method: str, request):
    _, answer = grpc_schema.methods()[method]
    with grpc.insecure_channel(served.grpc) as channel:
        made = channel.unary_unary(
            f"/{grpc_schema.SERVICE}/{method}",
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return made(request, timeout=60, metadata=(("authorization", f"Bearer {TOKEN}"),))


def as_message(array: np.ndarray, raw: bool, name: str = network.NAME):
    request = grpc_schema.message("ModelInferRequest")(model_name=name, id="7")
    given = request.inputs.add(name="image", datatype="FP32", shape=array.shape)
    if raw:
        request.raw_input_contents.append(array.tobytes())
    else:
        given.contents.fp32_contents.extend(array.ravel().tolist())
    return request


def scores_of(answer) -> np.ndarray:
    (output,) = answer.outputs
    if answer.raw_output_contents:
        values = np.frombuffer(answer.raw_output_contents[0], "<f4")
    else:
        values = np.array(output.contents.fp32_contents, np.float32)
    assert output.datatype == "FP32" and output.name == "scores"
    return values.reshape(output.shape)


@pytest.mark.parametrize("count", [1, 4])
def test_json_gives_the_same_answer(ours, mlserver, count):
    body = as_json(network.pictures(count, seed=count))
    found = []
    for served in (ours, mlserver):
        status, said = served.ask("POST", f"{MODEL}/infer", body)
        assert status == 200, said
        (output,) = said["outputs"]
        assert (said["model_name"], said["id"], output["name"]) == (network.NAME, "7", "scores")
        assert (output["datatype"], output["shape"]) == ("FP32", [count, network.CLASSES])
        found.append(np.array(output["data"]))
    assert np.allclose(*found, rtol=0, atol=1e-6)
    assert found[0].reshape(count, -1).sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("raw", [True, False])
def test_grpc_gives_the_same_answer(ours, mlserver, raw):
    request = as_message(network.pictures(3, seed=9), raw)
    answers = [call(served, "ModelInfer", request) for served in (ours, mlserver)]
    assert np.allclose(*map(scores_of, answers), rtol=0, atol=1e-6)
    assert {(a.model_name, a.id) for a in answers} == {(network.NAME, "7")}


def test_models_are_described_alike(ours, mlserver):
    mine, theirs = (served.ask("GET", MODEL)[1] for served in (ours, mlserver))
    for key in ("name", "versions", "platform"):
        assert mine[key] == theirs[key]
    for part in ("inputs", "outputs"):
        ends = [[{k: t[k] for k in ("name", "datatype", "shape")} for t in said[part]] for said in (mine, theirs)]
        assert ends[0] == ends[1]
    asked = grpc_schema.message("ModelMetadataRequest")(name=network.NAME)
    found = [call(served, "ModelMetadata", asked) for served in (ours, mlserver)]
    assert found[0].inputs == found[1].inputs and found[0].outputs == found[1].outputs


def test_servers_are_described_alike(ours, mlserver):
    mine, theirs = (served.ask("GET", "/v2")[1] for served in (ours, mlserver))
    assert set(mine) == set(theirs) == {"name", "version", "extensions"}
    for path in ("/v2/health/live", "/v2/health/ready", f"{MODEL}/ready", f"{MODEL}/versions/1/ready"):
        assert ours.ask("GET", path)[0] == mlserver.ask("GET", path)[0] == 200
    found = [served.ask("POST", "/v2/repository/index", b"{}")[1] for served in (ours, mlserver)]
    assert [(m["name"], m["state"]) for m in found[0]] == [(m["name"], m["state"]) for m in found[1]]


def test_a_model_that_is_not_there_is_refused_alike(ours, mlserver):
    for served in (ours, mlserver):
        status, said = served.ask("POST", "/v2/models/none/infer", as_json(network.pictures(1)))
        assert status == 404 and isinstance(said["error"], str)
        with pytest.raises(grpc.RpcError) as refused:
            call(served, "ModelInfer", as_message(network.pictures(1), True, "none"))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("body", "theirs"),
    [
        (b"{", 422),  # pydantic's own page, without the protocol's `error`
        (b'{"inputs": 3}', 422),
        (as_json(network.pictures(1), datatype="FP33"), 422),
        (as_json(network.pictures(1), name="picture"), 500),  # a traceback as text
        (as_json(network.pictures(1), shape=[1, 3, 16, 17]), 500),
    ],
)
def test_wrong_requests_are_one_sentence_of_ours_where_mlserver_differs(ours, mlserver, body, theirs):
    status, said = ours.ask("POST", f"{MODEL}/infer", body)
    assert status == 400 and set(said) == {"error"} and "\n" not in said["error"]
    assert mlserver.ask("POST", f"{MODEL}/infer", body)[0] == theirs
