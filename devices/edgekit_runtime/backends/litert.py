"""LiteRT (`ai_edge_litert`), the successor of TensorFlow Lite's interpreter, with XNNPACK on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from edgekit_runtime.backends.base import Backend, Model, Session, missing
from edgekit_runtime.backends.installed import installed_version


class LiteRt(Backend):
    """TFLite files on LiteRT."""

    name = "litert"
    package = "ai_edge_litert"
    extra = "litert"
    formats = ("tflite",)

    def version(self) -> Optional[str]:
        """Installed version or None."""
        return installed_version(self.package, "ai-edge-litert", "ai-edge-litert-nightly")

    def open(self, model: Model, *, threads: Optional[int] = None) -> Session:
        """Load a model."""
        if self.version() is None:
            raise missing(self)
        from ai_edge_litert.interpreter import Interpreter

        from edgekit_runtime.backends.flatbuffer import FlatbufferSession

        return FlatbufferSession(Interpreter, model, threads, "CPU (XNNPACK)")

    def probe_model(self) -> bytes:
        """``2 * x`` as a TFLite file."""
        return (Path(__file__).parent / "probes" / "double.tflite").read_bytes()


BACKEND = LiteRt()
