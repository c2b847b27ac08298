"""Work for a model's thread: a body in, a reply out; and what the protocols say about a model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Optional

from edgekit_runtime.runtime import Runtime
from edgekit_runtime.serve import oip, raw, tensorflow
from edgekit_runtime.serve.http import Refused, Reply, header, packed, unpack, whole_number
from edgekit_runtime.serve.models import READY, VERSION, Model, Repository
from edgekit_runtime.serve.worker import Work

_CONFIG_TYPES = {"BYTES": "TYPE_STRING"}


def open_inference(model: Model, headers: Mapping[bytes, bytes], body: bytes, limit: int, arrived: float) -> Work:
    """Open Inference Protocol: the work for one ``/infer`` request.

    Args:
        model: Who answers.
        headers: Of the request.
        body: As it came.
        limit: Bytes that it may have when it is unpacked.
        arrived: `time.monotonic` of its arrival.
    """

    def work(runtime: Runtime) -> Reply:
        content = unpack(body, header(headers, "content-encoding"), limit)
        length = whole_number(header(headers, "inference-header-content-length"), oip.LENGTH_HEADER)
        request = oip.decode_request(content, length)
        if request.timeout is not None and time.monotonic() > arrived + request.timeout:
            raise Refused(504, "the timeout passed before the request had its turn")
        outputs = model.infer(runtime, request.inputs)
        reply = oip.encode_reply(model.manifest.name, VERSION, request, outputs, _dtypes(model))
        return packed(reply, header(headers, "accept-encoding"))

    return work


def tensorflow_predict(model: Model, headers: Mapping[bytes, bytes], body: bytes, limit: int) -> Work:
    """TensorFlow Serving: the work for one ``:predict`` request."""

    def work(runtime: Runtime) -> Reply:
        content = unpack(body, header(headers, "content-encoding"), limit)
        inputs, rows = tensorflow.decode_request(content, model.manifest)
        return tensorflow.encode_reply(model.infer(runtime, inputs), _dtypes(model), rows)

    return work


def raw_predict(model: Model, headers: Mapping[bytes, bytes], body: bytes, limit: int) -> Work:
    """A picture, a sound, a text or a row: the work for one request."""

    def work(runtime: Runtime) -> Reply:
        content = unpack(body, header(headers, "content-encoding"), limit)
        return raw.predict(runtime, header(headers, "content-type"), content)

    return work


def _dtypes(model: Model) -> dict[str, str]:
    return {o.name: o.dtype for o in model.manifest.outputs}


def metadata(model: Model) -> dict[str, Any]:
    """What the protocol tells of a model; its tensors are those behind the pre-processing."""

    def tensors(infos: Any) -> list[dict[str, Any]]:
        return [
            {"name": i.name, "datatype": oip.DATATYPES[i.dtype], "shape": list(model.shape(i.shape))} for i in infos
        ]

    manifest = model.manifest
    return {
        "name": manifest.name,
        "versions": [VERSION],
        "platform": f"edgekit_{manifest.variant().format}",
        "inputs": tensors(manifest.inputs),
        "outputs": tensors(manifest.outputs),
        "parameters": {"digest": model.digest, "running": model.running, "kind": manifest.specification.kind},
    }


def configuration(model: Model) -> dict[str, Any]:
    """The model configuration extension; batches are in the shapes, so ``max_batch_size`` is 0."""
    said = metadata(model)

    def tensors(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "name": e["name"],
                "data_type": _CONFIG_TYPES.get(e["datatype"], f"TYPE_{e['datatype']}"),
                "dims": e["shape"],
            }
            for e in entries
        ]

    return {
        "name": said["name"],
        "platform": said["platform"],
        "backend": "edgekit",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": 0,
        "input": tensors(said["inputs"]),
        "output": tensors(said["outputs"]),
    }


def statistics(model: Model) -> dict[str, Any]:
    """The statistics extension."""
    seen = model.statistics
    nothing = {"count": 0, "ns": 0}
    return {
        "name": model.manifest.name,
        "version": VERSION,
        "last_inference": seen.last,
        "inference_count": seen.samples,
        "execution_count": seen.success,
        "inference_stats": {
            "success": {"count": seen.success, "ns": seen.success_ns},
            "fail": {"count": seen.fail, "ns": seen.fail_ns},
            "queue": nothing,
            "compute_input": nothing,
            "compute_infer": {"count": seen.success, "ns": seen.infer_ns},
            "compute_output": nothing,
        },
        "batch_stats": [],
    }


def index(repository: Repository, ready: bool) -> list[dict[str, str]]:
    """The repository extension's index."""
    return [
        {"name": m.manifest.name, "version": VERSION, "state": m.state, "reason": m.reason}
        for m in repository
        if not ready or m.state == READY
    ]


def status(model: Model) -> dict[str, Any]:
    """TensorFlow Serving's model status."""
    state = {"READY": "AVAILABLE", "LOADING": "LOADING"}.get(model.state, "END")
    code = "UNKNOWN" if model.worker.error else "OK"
    entry = {"version": VERSION, "state": state, "status": {"error_code": code, "error_message": model.worker.error}}
    return {"model_version_status": [entry]}


def deadline(headers: Mapping[bytes, bytes], arrived: float) -> Optional[float]:
    """When nobody waits for the answer any more, from ``Request-Timeout-Ms``; None for never."""
    milliseconds = whole_number(header(headers, "request-timeout-ms"), "Request-Timeout-Ms")
    return None if milliseconds is None else arrived + milliseconds / 1000
