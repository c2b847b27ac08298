"""Every route, and what is wrong with requests, in this process."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit_runtime import Runtime
from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.errors import UsageError
from edgekit_runtime.samples import array_bytes
from edgekit_runtime.serve.models import Opening, Repository

from ..conftest import X, double_manifest
from .conftest import ask, row, standin_bundle
from .standin import WAIT

ROW = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1.0, 2.0, 3.0, 4.0]}
INFER = "/v2/models/double/infer"


def test_the_server_and_its_model_describe_themselves(client):
    assert client("GET", "/v2").json["extensions"][0] == "binary_tensor_data"
    for path in ("/v2/models/double", "/v2/models/double/versions/1"):
        said = client("GET", path).json
        assert said["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
        assert said["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}]
    config = client("GET", "/v2/models/double/config").json
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 4]}]
    for path in (
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/double/ready",
        "/v2/models/double/versions/1/ready",
    ):
        assert client("GET", path).status == 200
    status = client("GET", "/v1/models/double").json["model_version_status"][0]
    assert status["state"] == "AVAILABLE"


@pytest.mark.parametrize("compress", [None, gzip.compress, zlib.compress])
@pytest.mark.parametrize("binary", [False, True])
def test_infer_answers_what_the_model_says(client, compress, binary):
    head, tail = {"id": "7", "inputs": [dict(ROW)]}, b""
    if binary:
        tail = X.tobytes()
        head["inputs"][0].update(shape=[2, 4], parameters={"binary_data_size": len(tail)})
        del head["inputs"][0]["data"]
        head["parameters"] = {"binary_data_output": True}
    text = json.dumps(head).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))} if binary else {}
    body = text + tail
    if compress:
        body = compress(body)
        headers["Content-Encoding"] = "gzip" if compress is gzip.compress else "deflate"
    found = client("POST", INFER, body, headers=headers)
    assert found.status == 200, found.body
    if binary:
        length = int(found.headers["inference-header-content-length"])
        said = json.loads(found.body[:length])
        values = np.frombuffer(found.body[length:], np.float32).reshape(said["outputs"][0]["shape"])
        assert np.array_equal(values, 2 * X)
    else:
        said = found.json
        assert said["outputs"][0]["data"] == [2.0, 4.0, 6.0, 8.0]
    assert said["id"] == "7" and said["model_name"] == "double" and said["model_version"] == "1"


def test_a_picture_of_bytes_may_go_to_a_float_model_but_nothing_that_would_change(client):
    found = client("POST", INFER, {"inputs": [{**ROW, "datatype": "UINT8", "data": [1, 2, 3, 4]}]})
    assert found.json["outputs"][0]["data"] == [2.0, 4.0, 6.0, 8.0]


def test_tensorflow_servings_two_forms(client):
    path = "/v1/models/double:predict"
    assert client("POST", path, {"instances": X.tolist()}).json == {"predictions": (2 * X).tolist()}
    assert client("POST", path, {"instances": [{"x": X[0].tolist()}]}).json == {"predictions": (2 * X[:1]).tolist()}
    assert client("POST", path, {"inputs": X.tolist()}).json == {"outputs": (2 * X).tolist()}
    versioned = "/v1/models/double/versions/1:predict"
    assert client("POST", versioned, {"inputs": {"x": X.tolist()}}).json == {"outputs": (2 * X).tolist()}


def test_a_raw_sample_goes_through_the_bundles_own_processing(client):
    expected = {"predictions": [{"input": "body", "answer": {"y": (2 * X[1]).tolist()}}]}
    with Runtime.open(next(iter(client.app.repository)).source.path) as runtime:
        answer = runtime(X[1])
    if not isinstance(answer, dict):
        expected["predictions"][0]["answer"] = answer.tolist()
    path = "/v2/models/double/predict"
    row = json.dumps(X[1].tolist()).encode()
    assert client("POST", path, row, headers={"Content-Type": "application/json"}).json == expected
    assert client("POST", path, array_bytes(X[1]), headers={"Content-Type": "application/x-npy"}).json == expected
    refused = client("POST", path, b"\xff\xd8\xff", headers={"Content-Type": "image/jpeg"})
    assert refused.status == 415 and "tensor" in refused.json["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/", b"", 404, "nothing under this path"),
        ("GET", "/v2/health/dead", b"", 404, "nothing"),
        ("GET", "/v2/models/triple", b"", 404, "no model 'triple': there are double"),
        ("POST", "/v2/models/triple/infer", b"{}", 404, "no model"),
        ("POST", "/v2/models/double/versions/2/infer", b"{}", 404, "no version '2'"),
        ("GET", INFER, b"", 405, "use POST"),
        ("POST", "/v2/models/double", b"", 405, "use GET"),
        ("POST", INFER, b"", 400, "not valid JSON"),
        ("POST", INFER, b"[" * 50_000, 400, "not valid JSON"),
        ("POST", INFER, b"[]", 400, "not a JSON object"),
        ("POST", INFER, b"{}", 400, "no inputs"),
        ("POST", INFER, b"\xff", 400, "not valid JSON"),
        ("POST", INFER, {"inputs": [{**ROW, "shape": [1, 5]}]}, 400, "has 4 values"),
        ("POST", INFER, {"inputs": [{**ROW, "shape": [4, 1]}]}, 400, r"takes shape \[-1, 4\], not \[4, 1\]"),
        ("POST", INFER, {"inputs": [{**ROW, "shape": [0, 4], "data": []}]}, 400, "is empty"),
        ("POST", INFER, {"inputs": [{**ROW, "shape": [-1, 4]}]}, 400, "whole numbers"),
        ("POST", INFER, {"inputs": [{**ROW, "datatype": "FP31"}]}, 400, "datatype"),
        ("POST", INFER, {"inputs": [{**ROW, "datatype": "BYTES", "data": list("abcd")}]}, 400, "takes float32"),
        ("POST", INFER, {"inputs": [{**ROW, "name": "z"}]}, 400, "takes x, but was given z"),
        ("POST", INFER, {"inputs": [ROW, ROW]}, 400, "twice"),
        ("POST", INFER, {"inputs": [ROW], "outputs": [{"name": "z"}]}, 400, "no output 'z': it gives y"),
        ("POST", INFER, {"inputs": [{**ROW, "data": [1, 2, 3, 1e39]}]}, 422, "NaN or infinity"),
        ("POST", "/v1/models/double:predict", {"instances": []}, 400, "list of samples"),
        ("POST", "/v1/models/double:predict", {"instances": [[1], [2, 3]]}, 400, "differ in length"),
        ("POST", "/v1/models/double:predict", {"inputs": {"z": [1]}}, 400, "takes x"),
        ("POST", "/v1/models/double:predict", {"inputs": 3}, 400, "shape"),
        ("POST", "/v1/models/double:classify", {"inputs": 3}, 404, "nothing"),
        ("POST", "/v2/models/double/predict", b"", 415, "without a type"),
        ("POST", "/v2/repository/models/triple/load", b"", 404, "no model"),
        ("POST", "/v2/repository/models/double/load", {"parameters": {"config": "{}"}}, 400, "own configuration"),
        ("POST", "/v2/repository/index", b"[]", 400, "object"),
        ("POST", INFER, bytes(100_001), 413, "100,000 bytes"),
    ],
)
def test_a_wrong_request_gets_a_status_and_one_sentence(client, method, path, body, status, words):
    found = client(method, path, body)
    assert found.status == status, found.body
    assert re.search(words, found.json["error"]), found.json


def test_limits_hold_for_chunked_bodies_bombs_and_stated_lengths(client):
    assert client("POST", INFER, parts=[bytes(60_000)] * 3).status == 413
    assert client("POST", INFER, gzip.compress(bytes(10**6)), headers={"Content-Encoding": "gzip"}).status == 413
    assert client("POST", INFER, b"{}", headers={"Content-Length": "9" * 12}).status == 413
    assert client("POST", INFER, b"{}", headers={"Content-Length": "-1"}).status == 400
    assert client("POST", INFER, b"{}", headers={"Content-Encoding": "br"}).status == 415
    for length in ("3", "x", "²"):
        assert client("POST", INFER, b"{}", headers={"Inference-Header-Content-Length": length}).status == 400


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "a", "x", "é"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["b64", "x", "a"]), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([INFER, "/v1/models/double:predict", "/v2/models/double/predict", "/v2/repository/models/x/load"]),
    st.binary(max_size=60)
    | ANYTHING
    | st.fixed_dictionaries({}, optional={"instances": ANYTHING, "inputs": ANYTHING, "outputs": ANYTHING})
    | st.fixed_dictionaries(
        {"inputs": st.lists(st.fixed_dictionaries({**{k: st.just(v) for k, v in ROW.items()}, "data": ANYTHING}))}
    ),
    st.sampled_from(["application/json", "application/x-npy", "application/x-npz", "image/png", ""]),
)
def test_no_request_makes_the_server_fail(client, path, body, kind):
    found = client("POST", path, body, headers={"Content-Type": kind})
    assert found.status in (200, 400, 404, 415, 422), found.body


def test_a_token_is_wanted_but_for_health(double, serving, needs_backend):
    needs_backend("litert")
    with serving([double], token="a-token-of-some-length") as client:  # noqa: S106
        assert client("GET", "/v2/health/live").status == client("GET", "/v2/health/ready").status == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "a-token-of-some-length"}):
            for path in ("/v2", "/metrics", "/v2/models/double", "/nowhere"):
                assert client("GET", path, headers=headers).status == 401
        assert client("GET", "/v2", headers={"Authorization": "Bearer a-token-of-some-length"}).status == 200


def test_a_bundle_that_fails_its_self_test_is_never_ready_and_says_why(tmp_path, serving, needs_backend):
    needs_backend("litert")
    write_bundle(tmp_path / "a.edgekit", *double_manifest(expected_scale=2.5))
    with serving([tmp_path / "a.edgekit"]) as client:
        for path in ("/v2/health/ready", "/v2/models/double/ready"):
            found = client("GET", path)
            assert found.status == 503 and "self-test failed" in found.json["error"]
        found = client("POST", INFER, {"inputs": [ROW]})
        assert found.status == 503 and "self-test failed" in found.json["error"]
        assert client("GET", "/v2/health/live").status == 200
        assert client("POST", "/v2/repository/index").json[0]["state"] == "UNAVAILABLE"
        assert client("POST", "/v2/repository/models/double/load").status == 422
        write_bundle(tmp_path / "a.edgekit", *double_manifest(), overwrite=True)
        assert client("POST", "/v2/repository/models/double/load").status == 200
        assert client("GET", "/v2/health/ready").status == 200


def test_models_are_unloaded_and_loaded_again(double, serving, needs_backend):
    needs_backend("litert")
    with serving([double]) as client:
        assert client("POST", "/v2/repository/models/double/unload", {}).status == 200
        assert client("POST", INFER, {"inputs": [ROW]}).status == 503
        assert client("POST", "/v2/repository/index", {"ready": True}).json == []
        assert client("POST", "/v2/repository/models/double/load", {}).status == 200
        assert client("POST", INFER, {"inputs": [ROW]}).status == 200


def test_a_full_queue_a_deadline_and_a_client_that_goes(tmp_path, serving, plugin):
    os.mkfifo(tmp_path / "pipe")
    standin_bundle(tmp_path / "a.edgekit", pipe=str(tmp_path / "pipe"))
    with serving([tmp_path / "a.edgekit"], Opening(queue=1)) as client:
        (model,) = client.app.repository

        async def crowd():
            blocked = asyncio.ensure_future(ask(client.app, "POST", INFER, row(WAIT)))
            pipe = await asyncio.to_thread((tmp_path / "pipe").open, "wb")  # opens when the model reads
            gone = asyncio.Event()
            waiting = asyncio.ensure_future(ask(client.app, "POST", INFER, row(1), gone=gone))
            while not model.waiting:
                await asyncio.sleep(0)
            full = await ask(client.app, "POST", INFER, row(1))
            gone.set()
            left = await waiting
            behind = asyncio.ensure_future(ask(client.app, "POST", INFER, row(1), headers={"Request-Timeout-Ms": "1"}))
            late = await behind
            pipe.close()
            assert (await blocked).status == 200
            answered = await ask(client.app, "POST", INFER, row(1), headers={"Request-Timeout-Ms": "30000"})
            return full, left, answered, late

        full, left, answered, late = client.run(crowd())
        assert full.status == 429 and full.headers["retry-after"] == "1"
        assert left.status == 0, "nobody to answer"
        assert answered.status == 200 and late.status == 504
        seen = client("GET", "/v2/models/double/stats").json["model_stats"][0]
        assert seen["inference_stats"]["success"]["count"] == seen["inference_count"] == 2, (
            "the job of the gone client ran"
        )
        assert seen["inference_stats"]["fail"]["count"] == 3
        lines = client("GET", "/metrics").body.decode().splitlines()
        for status, count in (("200", 2), ("429", 1), ("499", 1), ("504", 1)):
            assert f'edgekit_requests_total{{model="double",status="{status}"}} {count}' in lines
        assert 'edgekit_request_seconds_bucket{model="double",le="+Inf"} 5' in lines
        assert 'edgekit_request_errors_total{model="double"} 3' in lines
        assert any(line.startswith("edgekit_build_info{version=") for line in lines)


def test_a_body_that_never_ends_is_given_up(client, monkeypatch):
    monkeypatch.setattr("edgekit_runtime.serve.app.BODY_SECONDS", 0.01)

    async def slowly():
        sent = []

        async def receive():
            await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": INFER, "headers": []}
        await asyncio.wait_for(client.app(scope, receive, send), 30)
        return sent

    sent = asyncio.run(slowly())
    assert sent[0]["status"] == 408 and b"0.01 seconds" in sent[1]["body"]


def test_two_bundles_of_one_name_are_refused(double):
    with pytest.raises(UsageError, match="both called 'double'"):
        Repository([double, double])


def test_the_lifespan_starts_and_ends_the_models(double, needs_backend):
    needs_backend("litert")
    from edgekit_runtime.serve.app import Application

    app, sent = Application(Repository([double])), []
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive():
        await app.repository.loaded() if len(messages) == 1 else None
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    asyncio.run(app({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert [m.reason for m in app.repository] == ["unloaded"]


def test_bodies_of_all_requests_together_have_a_bound_and_it_is_given_back(client):
    app, arriving = client.app, asyncio.Event()

    async def half(size: int) -> tuple[int, bytes]:
        """A client that sends so much and then waits."""
        messages = [{"type": "http.request", "body": bytes(size), "more_body": True}]
        sent: list = []

        async def receive() -> dict:
            if messages:
                return messages.pop()
            await arriving.wait()
            return {"type": "http.disconnect"}

        async def send(message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": INFER, "raw_path": INFER.encode(), "query_string": b""}
        await app({**scope, "headers": []}, receive, send)
        return (sent[0]["status"], sent[1]["body"]) if sent else (0, b"")

    async def all_of_them() -> list:
        uploads = [asyncio.ensure_future(half(99_000)) for _ in range(4)]
        await asyncio.sleep(0)
        refused = await half(99_000)
        arriving.set()
        return [refused, *await asyncio.gather(*uploads)]

    (status, said), *gone = client.run(all_of_them())
    assert status == 503 and b"requests hold" in said and gone == [(0, b"")] * 4
    for _ in range(6):  # and what was answered, refused or given up holds nothing any more
        assert client("POST", INFER, bytes(99_000)).status == 400
        assert client("POST", INFER, bytes(100_001)).status == 413
    assert client("POST", INFER, {"inputs": [ROW]}).status == 200
