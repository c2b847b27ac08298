"""What the protocols say about a model: metadata, configuration, statistics, index, status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekit_runtime.serve.datatypes import DATATYPES, VERSION
from edgekit_runtime.serve.model import READY, Model
from edgekit_runtime.serve.models import Repository
from edgekit_runtime.serve.statistics import Times

_CONFIG_TYPES = {"BYTES": "TYPE_STRING"}


def metadata(model: Model) -> dict[str, Any]:
    """What the protocol tells of a model; its tensors are those behind the pre-processing."""

    def tensors(infos: Any) -> list[dict[str, Any]]:
        return [{"name": i.name, "datatype": DATATYPES[i.dtype], "shape": _shape(i.shape, model.batch)} for i in infos]

    manifest = model.manifest
    digest = model.source.digest if model.source is not None else ""
    return {
        "name": manifest.name,
        "versions": [VERSION],
        "platform": f"edgekit_{manifest.variant().format}",
        "inputs": tensors(manifest.inputs),
        "outputs": tensors(manifest.outputs),
        "parameters": {"digest": digest, "running": model.running, "kind": manifest.specification.kind},
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
    """The statistics extension; of a batch, its first request says what decoding and encoding took."""
    seen = model.statistics
    return {
        "name": model.name,
        "version": VERSION,
        "last_inference": seen.last,
        "inference_count": seen.samples,
        "execution_count": seen.executions,
        "inference_stats": {
            "success": _times(seen.success),
            "fail": _times(seen.fail),
            "queue": _times(seen.queue),
            "compute_input": _times(seen.decode),
            "compute_infer": _times(seen.infer),
            "compute_output": _times(seen.encode),
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": _times(decode),
                "compute_infer": _times(infer),
                "compute_output": _times(encode),
            }
            for size, (decode, infer, encode) in sorted(seen.batches.items())
        ],
    }


def index(repository: Repository, ready: bool) -> list[dict[str, str]]:
    """The repository extension's index."""
    return [
        {"name": m.name, "version": VERSION, "state": m.state, "reason": m.reason}
        for m in repository
        if not ready or m.state == READY
    ]


def status(model: Model) -> dict[str, Any]:
    """TensorFlow Serving's model status."""
    state = {"READY": "AVAILABLE", "LOADING": "LOADING"}.get(model.state, "END")
    failed = "" if model.unloaded or state != "END" else model.reason
    said = {"error_code": "UNKNOWN" if failed else "OK", "error_message": failed}
    return {"model_version_status": [{"version": VERSION, "state": state, "status": said}]}


def _times(times: Times) -> dict[str, int]:
    return {"count": times.count, "ns": times.ns}


def _shape(shape: Sequence[int], batch: bool) -> list[int]:
    """A shape of the manifest with -1 for an axis that requests may choose."""
    return [-1, *shape[1:]] if batch and shape else list(shape)
