"""TensorRT on a Jetson: the bundle's ONNX file as an engine, built once on this board by `edgekit_runtime.engines`.

Written against the Python API of TensorRT 8.5 to 10, as it is documented; no TensorRT and no Jetson has run it.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import os
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from edgekit_runtime.backends.base import Backend, FileTensor, Model, Session, check_threads, missing
from edgekit_runtime.backends.cudart import Cuda
from edgekit_runtime.backends.installed import installed_version
from edgekit_runtime.backends.onnx import BACKEND as ONNX
from edgekit_runtime.backends.onnx_external import refuse_external_data
from edgekit_runtime.engines import EngineCache, Identity, build_with_trtexec, find_trtexec, flags_for
from edgekit_runtime.errors import BackendError, MissingRequirement

BUILDER = "EDGEKIT_TENSORRT_BUILDER"
"""``trtexec`` builds in a process of its own; otherwise TensorRT's Python API does, where it has a builder."""
_LARGEST_BATCH = 8


class TensorRt(Backend):
    """ONNX files as TensorRT engines."""

    name = "tensorrt"
    package = "tensorrt"
    extra = "onnx"
    formats = ("onnx",)
    accelerator = "GPU (TensorRT)"
    install = (
        "TensorRT comes with JetPack (apt install python3-libnvinfer, and a venv with --system-site-packages), never "
        "from PyPI; for the CPU say --backend onnx"
    )

    def version(self) -> Optional[str]:
        """Version of its Python module, or None."""
        return installed_version(self.package, "tensorrt")

    def open(self, model: Model, *, threads: Optional[int] = None) -> Session:
        """Load a model's engine, building it the first time, which takes minutes. `threads` is for the CPU alone."""
        if self.version() is None:
            if find_trtexec():
                raise MissingRequirement(
                    "TensorRT's Python module is not installed; trtexec is, which builds and times engines but cannot "
                    "serve one",
                    self.install,
                )
            raise missing(self)
        check_threads(threads)
        content = model if isinstance(model, bytes) else bytes(model)
        refuse_external_data(content)
        try:
            trt = importlib.import_module("tensorrt")
        except (ImportError, OSError) as error:
            raise MissingRequirement(f"TensorRT's Python module cannot be loaded ({error})", self.install) from error
        cuda = Cuda()
        version = str(trt.__version__)
        flags = flags_for(content, version)
        identity = Identity(hashlib.sha256(content).hexdigest(), version, cuda.gpu(), flags)
        logger = trt.Logger(trt.Logger.ERROR)
        runtime = trt.Runtime(logger)

        def build(onnx: bytes) -> bytes:
            if os.environ.get(BUILDER) == "trtexec" or not hasattr(trt, "Builder"):
                return build_with_trtexec(onnx, flags)
            return _build(trt, logger, onnx, flags)

        def load(engine: bytes) -> Any:
            loaded = runtime.deserialize_cuda_engine(engine)
            if loaded is None:
                raise BackendError(f"TensorRT {version} cannot load the engine")
            return loaded

        return TensorRtSession(trt, cuda, EngineCache().engine(content, identity, build, load), runtime, version)

    def probe_model(self) -> bytes:
        """``2 * x`` as an ONNX file."""
        return ONNX.probe_model()


def _build(trt: Any, logger: Any, onnx: bytes, flags: tuple[str, ...]) -> bytes:
    """An engine by the Python API."""
    kinds = trt.NetworkDefinitionCreationFlag
    typed = "stronglyTyped" in flags and hasattr(kinds, "STRONGLY_TYPED")
    explicit = getattr(kinds, "EXPLICIT_BATCH", None)
    bits = (1 << int(kinds.STRONGLY_TYPED)) if typed else (1 << int(explicit)) if explicit is not None else 0
    builder = trt.Builder(logger)
    network = builder.create_network(bits)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx):
        why = str(parser.get_error(0).desc()) if parser.num_errors else "it does not say why"
        raise BackendError(
            f"TensorRT's parser refuses the model ({' '.join(why.split())[:240]})",
            "`edgekit placement MODEL --target jetson-orin` shows operators that TensorRT does not have",
        )
    config = builder.create_builder_config()
    for flag in ("fp16", "int8"):
        if flag in flags:
            config.set_flag(getattr(trt.BuilderFlag, flag.upper()))
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    if any(-1 in tuple(i.shape) for i in inputs):
        profile = builder.create_optimization_profile()
        for tensor in inputs:
            shape = tuple(tensor.shape)
            if -1 in shape[1:]:
                raise BackendError(
                    f"input {tensor.name!r} leaves more than its batch open, which an engine needs fixed"
                )
            one, most = (1, *shape[1:]), (_LARGEST_BATCH if shape[0] == -1 else shape[0], *shape[1:])
            profile.set_shape(tensor.name, one, one, most)
        config.add_optimization_profile(profile)
    made = builder.build_serialized_network(network, config)
    if made is None:
        raise BackendError("TensorRT builds no engine of the model", "look at its own messages above")
    return bytes(made)


class TensorRtSession(Session):
    """An engine with its memory on the GPU; arrays are copied there and back at every inference."""

    def __init__(self, trt: Any, cuda: Cuda, engine: Any, runtime: Any, version: str) -> None:
        self._cuda, self._engine, self._runtime = cuda, engine, runtime  # an engine needs its runtime to live
        self._context = engine.create_execution_context()
        if self._context is None:
            raise BackendError("TensorRT cannot run the engine (no execution context: too little memory?)")
        self._memory: dict[str, tuple[int, int]] = {}  # name -> address, bytes
        ends: dict[bool, list[FileTensor]] = {True: [], False: []}
        for number in range(engine.num_io_tensors):
            name = engine.get_tensor_name(number)
            kind = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
            shape = tuple(int(extent) for extent in engine.get_tensor_shape(name))
            ends[engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT].append(FileTensor(name, shape, kind))
        self.inputs, self.outputs = tuple(ends[True]), tuple(ends[False])
        self.placement = f"GPU (one TensorRT {version} engine)"

    def run(self, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One inference."""
        if self._context is None:
            raise BackendError("the model was closed already")
        if len(feeds) != len(self.inputs):
            raise BackendError(f"the model takes {len(self.inputs)} inputs, not {len(feeds)}")
        for feed, wanted in zip(feeds, self.inputs):
            fits = len(feed.shape) == len(wanted.shape) and all(w in (-1, h) for w, h in zip(wanted.shape, feed.shape))
            if not fits or feed.dtype.name != wanted.dtype:
                raise BackendError(
                    f"input {wanted.name!r} takes {wanted.dtype} {wanted.shape}, not {feed.dtype} {feed.shape}"
                )
            if not self._context.set_input_shape(wanted.name, feed.shape):
                raise BackendError(f"the engine was not built for an input {wanted.name!r} of shape {feed.shape}")
            array = np.ascontiguousarray(feed)
            self._cuda.upload(self._at(wanted.name, array.nbytes), array)
        answers = []
        for given in self.outputs:
            shape = tuple(int(extent) for extent in self._context.get_tensor_shape(given.name))
            answers.append(np.empty(shape, given.dtype))
            self._at(given.name, math.prod(shape) * answers[-1].itemsize)
        if not self._context.execute_async_v3(0):
            raise BackendError("TensorRT failed at an inference")
        self._cuda.wait()
        for given, answer in zip(self.outputs, answers):
            self._cuda.download(answer, self._memory[given.name][0])
        return answers

    def _at(self, name: str, size: int) -> int:
        """Address of a tensor's memory on the GPU, grown where it is too small."""
        address, have = self._memory.get(name, (0, -1))
        if have < size:
            if address:
                self._cuda.free(address)
            address = self._cuda.allocate(size)
            self._memory[name] = (address, size)
            if not self._context.set_tensor_address(name, address):
                raise BackendError(f"TensorRT does not take memory for {name!r}")
        return address

    def close(self) -> None:
        """Give the GPU's memory back."""
        memory, self._memory = self._memory, {}
        for address, _ in memory.values():
            self._cuda.free(address)
        self._context = self._engine = self._runtime = None


BACKEND = TensorRt()
