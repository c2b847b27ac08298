"""Coral's Edge TPU: files compiled for it, on LiteRT or tflite-runtime with libedgetpu as a delegate.

Never a CPU in its place: a file that is not compiled is refused, and so is a machine without the library or the device.
"""

from __future__ import annotations

import os
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Optional

from edgekit_runtime.backends import edgetpu_library as coral
from edgekit_runtime.backends.base import Backend, Model, Session, check_threads, missing
from edgekit_runtime.backends.litert import BACKEND as LITERT
from edgekit_runtime.backends.tflite import BACKEND as TFLITE
from edgekit_runtime.errors import BackendError, MissingRequirement


class EdgeTpu(Backend):
    """Compiled TFLite files on an Edge TPU."""

    name = "edgetpu"
    package = "libedgetpu and a TFLite interpreter"
    extra = "litert"
    formats = ("tflite",)
    accelerator = "Edge TPU"
    install = coral.INSTALL

    def version(self) -> Optional[str]:
        """The interpreter's version, or None where there is none or the library is missing."""
        return _version() if coral.find_library() else None

    def open(self, model: Model, *, threads: Optional[int] = None) -> Session:
        """Load a compiled model, after a first try in a child process.

        The probe model alone need not be compiled: there is nothing in it for the Edge TPU, and opening it proves that
        the library loads and finds its device.
        """
        if self.version() is None:
            coral.require_library()
            raise missing(self)
        check_threads(threads)
        from edgekit_runtime.backends.flatbuffer import COMPILED, IDENTIFIER, FlatbufferSession

        content = model if isinstance(model, bytes) else bytes(model)
        probe = content == self.probe_model()
        if content[4:8] != IDENTIFIER:
            raise BackendError("the model is not a TFLite file (its identifier is missing)")
        if COMPILED not in content and not probe:
            raise BackendError(
                "the file is not compiled for the Edge TPU, so that all of it would run on the CPU",
                "run edgetpu_compiler on it, or say --backend litert",
            )
        library = coral.require_library()
        coral.require_device()
        interpreter = _interpreter()
        coral.try_out(content, library, interpreter)
        module = import_module(interpreter.module)
        device = os.environ.get(coral.DEVICE)
        delegate = module.load_delegate(str(library), {"device": device} if device else {})
        make = partial(module.Interpreter, experimental_delegates=[delegate])
        label = "Edge TPU (the probe itself has nothing for it)" if probe else "Edge TPU"
        return FlatbufferSession(make, content, threads, label)

    def probe_model(self) -> bytes:
        """``2 * x`` as a TFLite file."""
        return (Path(__file__).parent / "probes" / "double.tflite").read_bytes()


def _version() -> Optional[str]:
    return LITERT.version() or TFLITE.version()


def _interpreter() -> coral.Interpreter:
    if LITERT.version() is not None:
        return coral.Interpreter("ai_edge_litert.interpreter", f"ai-edge-litert {LITERT.version()}")
    import numpy as np

    if int(np.__version__.split(".")[0]) > 1:
        raise MissingRequirement(
            f"tflite-runtime {TFLITE.version()} does not work with numpy {np.__version__}", 'pip install "numpy<2"'
        )
    return coral.Interpreter("tflite_runtime.interpreter", f"tflite-runtime {TFLITE.version()}")


BACKEND = EdgeTpu()
