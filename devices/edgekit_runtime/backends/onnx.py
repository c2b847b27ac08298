"""onnxruntime on the CPU. Providers are always named: nothing falls back in silence."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from edgekit_runtime.backends.base import Backend, FileTensor, Model, Session, check_threads, missing
from edgekit_runtime.backends.installed import installed_version
from edgekit_runtime.backends.onnx_external import refuse_external_data
from edgekit_runtime.errors import BackendError, MissingRequirement

if TYPE_CHECKING:
    import numpy as np

WRONG_VERSIONS = {"1.26.0": "it answers wrongly for tree ensembles (onnxruntime #28557)"}

_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
    "tensor(string)": "string",
}
# onnxruntime rounds the weights of a Conv or Gemm that was left in float between whole numbers, with one scale for all
# channels (its weight_bias_quantization.cc): what was kept out of int8 because it loses most would lose more
_WRONG = ("WeightBiasQuantization",)
# Its operation is slower on the CPU than addition and normalization one by one: transformers gain 5 to 15 %
# (x86-64, onnxruntime 1.32, 16 and 128 tokens of width 384).
_SLOWER_FUSED = ("SkipLayerNormFusion",)
_CPU = ("CPUExecutionProvider",)
_FATAL = 4  # log severity; errors are raised, so that printing them too only adds noise

# a piece of onnxruntime's message -> what to do
_HINTS = {
    "IR version": 'the file is newer than this onnxruntime: pip install -U "edgekit-runtime[onnx]", or export again '
    "for this target",
    "opset": 'the file is newer than this onnxruntime: pip install -U "edgekit-runtime[onnx]", or export again for '
    "this target",
    "not a registered function/op": "the model has an operation that onnxruntime does not know",
    "Could not find an implementation": "the model has an operation that onnxruntime does not have for its types",
}


def unwanted_optimizers(providers: Sequence[Any]) -> list[str]:
    """Names of onnxruntime's graph optimizers that are turned off for these execution providers."""
    return [*_WRONG, *(_SLOWER_FUSED if tuple(providers) == _CPU else ())]


def _tensor(node: Any) -> FileTensor:
    if node.type not in _TYPES:
        raise BackendError(f"the model's {node.name!r} is a {node.type}, which edgekit does not handle")
    shape = tuple(extent if isinstance(extent, int) and extent > 0 else -1 for extent in node.shape)
    return FileTensor(node.name, shape, _TYPES[node.type])


def _errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: its own classes share no base but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = tuple(v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception))
    return (*own, RuntimeError, ValueError, TypeError)


class OnnxSession(Session):
    """An ONNX model held by onnxruntime; inputs are used where they lie, outputs are fresh arrays.

    Args:
        model: The file's content.
        threads: Threads, None for onnxruntime's own choice.
        providers: In onnxruntime's form, in order of preference.
        profile: Where to write what ran where, until `end_profile`; None for no profile.
    """

    def __init__(
        self,
        model: Model,
        threads: Optional[int],
        providers: Sequence[Any] = ("CPUExecutionProvider",),
        profile: Optional[str] = None,
    ) -> None:
        import onnxruntime as ort

        check_threads(threads)
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL
        if threads is not None:
            options.intra_op_num_threads = threads
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, profile
        content = model if isinstance(model, bytes) else bytes(model)
        if content[4:8] == b"ORTM":
            raise BackendError("the model is in onnxruntime's own format, not an ONNX file", "export it as ONNX")
        refuse_external_data(content)
        self._errors = _errors()
        try:
            with warnings.catch_warnings():  # of a provider that is not there, which `providers` tells
                warnings.simplefilter("ignore", UserWarning)
                self._session = ort.InferenceSession(
                    content, options, providers=list(providers), disabled_optimizers=unwanted_optimizers(providers)
                )
        except self._errors as error:
            message = " ".join(str(error).split())
            hint = next((h for piece, h in _HINTS.items() if piece in message), "")
            raise BackendError(f"onnxruntime {ort.__version__} refuses the model ({message[:300]})", hint) from error
        self.inputs = tuple(_tensor(i) for i in self._session.get_inputs())
        self.outputs = tuple(_tensor(o) for o in self._session.get_outputs())
        self._in_names = [i.name for i in self.inputs]
        self._out_names = [o.name for o in self.outputs]
        self.placement = "CPU"

    def run(self, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One inference."""
        if self._session is None:
            raise BackendError("the model was closed already")
        if len(feeds) != len(self._in_names):
            raise BackendError(f"the model takes {len(self._in_names)} inputs, not {len(feeds)}")
        try:
            outputs: list[np.ndarray] = self._session.run(self._out_names, dict(zip(self._in_names, feeds)))
        except self._errors as error:
            have = ", ".join(f"{n}: {f.dtype} {f.shape}" for n, f in zip(self._in_names, feeds))
            want = ", ".join(f"{i.name}: {i.dtype} {i.shape}" for i in self.inputs)
            raise BackendError(
                f"onnxruntime failed; the model takes {want}, was given {have} ({' '.join(str(error).split())[:200]})"
            ) from error
        return outputs

    def providers(self) -> list[str]:
        """Providers that loaded; whether anything runs on them is another matter."""
        found: list[str] = self._session.get_providers()
        return found

    def end_profile(self) -> str:
        """End the profile and say where it lies."""
        path: str = self._session.end_profiling()
        return path

    def close(self) -> None:
        """Drop the session."""
        self._session = None


class OnnxRuntime(Backend):
    """ONNX files on onnxruntime."""

    name = "onnx"
    package = "onnxruntime"
    extra = "onnx"
    formats = ("onnx",)

    def version(self) -> Optional[str]:
        """Installed version or None; a Jetson has the same package from another distribution."""
        return installed_version(self.package, "onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")

    def open(self, model: Model, *, threads: Optional[int] = None) -> Session:
        """Load a model."""
        version = self.version()
        if version is None:
            raise missing(self)
        if version in WRONG_VERSIONS:
            raise MissingRequirement(
                f"onnxruntime {version} is refused: {WRONG_VERSIONS[version]}", 'pip install "onnxruntime!=1.26.0"'
            )
        return OnnxSession(model, threads)

    def probe_model(self) -> bytes:
        """``2 * x`` as an ONNX file."""
        return (Path(__file__).parent / "probes" / "double.onnx").read_bytes()


BACKEND = OnnxRuntime()
