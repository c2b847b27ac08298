"""onnxruntime on an accelerator: its CUDA and TensorRT providers, each a back end of its own.

A provider counts only after an inference ran on it. onnxruntime lists providers that it was built with, whether they
load here or not, goes on without one that does not load, and lists one that takes no operator. So the first inference
is profiled, and what ran where is counted.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np

from edgekit_runtime.backends.base import Backend, FileTensor, Model, Session, missing
from edgekit_runtime.backends.onnx import BACKEND as ONNX
from edgekit_runtime.backends.onnx import OnnxSession
from edgekit_runtime.cache import cache_folder
from edgekit_runtime.errors import BackendError

_CPU = "CPUExecutionProvider"


class OnnxProvider(Backend):
    """ONNX files on one of onnxruntime's providers.

    Args:
        name: Of the back end.
        provider: In onnxruntime's words.
        accelerator: In ours.
        library: File in onnxruntime's package without which the provider cannot be there.
        kept: Settings of the provider that name the folder where it keeps what it builds.
    """

    package = "onnxruntime"
    extra = "onnx"
    formats = ("onnx",)
    install = "install an onnxruntime that is built with it (for your JetPack), or say --backend onnx for the CPU"

    def __init__(self, name: str, provider: str, accelerator: str, library: str, kept: Mapping[str, str]) -> None:
        self.name, self.provider, self.accelerator = name, provider, accelerator  # type: ignore[misc]
        self._library, self._kept = library, kept

    def version(self) -> Optional[str]:
        """Version of onnxruntime, or None where it has no such provider."""
        found = importlib.util.find_spec(self.package)
        if found is None or not found.submodule_search_locations:
            return None
        here = any((Path(f) / "capi" / self._library).is_file() for f in found.submodule_search_locations)
        return ONNX.version() if here else None

    def open(self, model: Model, *, threads: Optional[int] = None) -> Session:
        """Load a model and run it once, on zeros, to see where it runs."""
        if self.version() is None:
            raise missing(self)
        settings = dict(self._kept)
        if "trt_engine_cache_path" in settings:
            settings["trt_engine_cache_path"] = str(cache_folder() / "engines" / "onnxruntime")
        return open_on(self.provider, settings, model, threads, self.accelerator)

    def probe_model(self) -> bytes:
        """``2 * x`` as an ONNX file."""
        return ONNX.probe_model()


def open_on(
    provider: str, settings: Mapping[str, str], model: Model, threads: Optional[int], accelerator: str
) -> OnnxSession:
    """A session of which some operator really ran on a provider.

    Raises:
        BackendError: onnxruntime goes on without the provider, or nothing runs on it.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-profile-") as folder:
        session = OnnxSession(model, threads, [(provider, dict(settings)), _CPU], profile=f"{folder}/run")
        if provider not in session.providers():
            session.close()
            raise BackendError(
                f"onnxruntime goes on without {provider}, which does not load here",
                "look at CUDA's, cuDNN's and TensorRT's versions in edgekit-runtime doctor, or say --backend onnx",
            )
        session.run([_zeros(tensor) for tensor in session.inputs])
        ran = kernels(Path(session.end_profile()).read_text("utf-8", errors="replace"))
    if not ran[provider]:
        session.close()
        raise BackendError(
            f"onnxruntime lists {provider}, but no operator of the model ran on it", "say --backend onnx for the CPU"
        )
    elsewhere = sum(ran.values()) - ran[provider]
    session.placement = f"{accelerator}, {ran[provider]} of {sum(ran.values())} kernels" + (
        f" ({elsewhere} on the CPU)" if elsewhere else ""
    )
    return session


def kernels(profile: str) -> Counter[str]:
    """How many kernels ran on each provider, out of onnxruntime's profile; a fused part of a model is one kernel."""
    try:
        events: list[Any] = json.loads(profile)
    except ValueError as error:
        raise BackendError("onnxruntime's profile of the first inference cannot be read") from error
    return Counter(
        str(e["args"].get("provider", ""))
        for e in events
        if e.get("cat") == "Node" and str(e.get("name", "")).endswith("_kernel_time")
    )


def _zeros(tensor: FileTensor) -> np.ndarray:
    shape = tuple(1 if extent < 1 else extent for extent in tensor.shape)
    return np.full(shape, "", object) if tensor.dtype == "string" else np.zeros(shape, tensor.dtype)


CUDA = OnnxProvider(
    "onnx-cuda", "CUDAExecutionProvider", "GPU (CUDA)", "libonnxruntime_providers_cuda.so", {"device_id": "0"}
)
TENSORRT = OnnxProvider(
    "onnx-tensorrt",
    "TensorrtExecutionProvider",
    "GPU (TensorRT in onnxruntime)",
    "libonnxruntime_providers_tensorrt.so",
    {"trt_engine_cache_enable": "1", "trt_engine_cache_path": ""},
)
