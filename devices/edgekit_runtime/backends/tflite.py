"""tflite-runtime 2.14, the last interpreter with 32-bit Arm wheels (Python 3.9 to 3.11, numpy 1)."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from edgekit_runtime.backends.base import Backend, Model, Session, missing
from edgekit_runtime.backends.installed import installed_version
from edgekit_runtime.errors import MissingRequirement


class TfliteRuntime(Backend):
    """TFLite files on tflite-runtime."""

    name = "tflite"
    package = "tflite_runtime"
    extra = "tflite"
    formats = ("tflite",)

    def version(self) -> Optional[str]:
        """Installed version or None."""
        return installed_version(self.package, "tflite-runtime", "tflite-runtime-nightly")

    def open(self, model: Model, *, threads: Optional[int] = None) -> Session:
        """Load a model. With numpy 2 the import succeeds and every model dies, so that is refused first."""
        if self.version() is None:
            raise missing(self)
        import numpy as np

        if int(np.__version__.split(".")[0]) > 1:
            raise MissingRequirement(
                f"tflite-runtime {self.version()} does not work with numpy {np.__version__}", 'pip install "numpy<2"'
            )
        from tflite_runtime.interpreter import Interpreter

        from edgekit_runtime.backends.flatbuffer import FlatbufferSession

        return FlatbufferSession(Interpreter, model, threads, "CPU (XNNPACK where tflite-runtime has it)")

    def probe_model(self) -> bytes:
        """``2 * x`` as a TFLite file."""
        return (Path(__file__).parent / "probes" / "double.tflite").read_bytes()


BACKEND = TfliteRuntime()
