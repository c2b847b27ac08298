"""Sources that are model files already: run by the interpreter that ships."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from edgekit_converters.files import model_view, open_content, sha256_of, versions
from edgekit_converters.recipe import Feeds
from edgekit_converters.source import Source
from edgekit_converters.trace import trace
from edgekit_runtime.binding import feeder, fetcher
from edgekit_runtime.manifest import Binding


class FileSource(Source):
    """An ONNX or TFLite file.

    Args:
        path: The file.
        format: ``onnx`` or ``tflite``.
        content: Its bytes where they are not the file's own: with external weights taken in, or shapes fixed.
        beside: Files that belong to it.

    Raises:
        SourceError: The interpreter refuses it.
    """

    def __init__(self, path: Path, format: str, content: bytes | None = None, beside: tuple[Path, ...] = ()) -> None:
        self.framework = self.format = format
        self.path = path
        self.name = path.name
        self.content = path.read_bytes() if content is None else content
        self._session = open_content(self.content, format, path.name)
        self.sha256 = sha256_of(path, *beside)
        self.inputs = tuple(model_view(t) for t in self._session.inputs)
        self.outputs = tuple(model_view(t) for t in self._session.outputs)
        self.tools = versions("onnxruntime" if format == "onnx" else "ai-edge-litert")
        self.bindings = self._bind()

    def _bind(self) -> list[tuple[Binding, ...]]:
        return [
            tuple(Binding(t.name, t.name, t.shape, t.dtype, t.scale, t.zero_point) for t in side)
            for side in (self._session.inputs, self._session.outputs)
        ]

    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Reference outputs, by the file's own interpreter; one inference a sample where the batch is fixed at 1."""
        count = len(next(iter(feeds.values())))
        if count > 1 and any(i.shape[:1] == (1,) for i in self.inputs):
            parts = [self.run({n: v[i : i + 1] for n, v in feeds.items()}) for i in range(count)]
            return {o.name: np.concatenate([p[o.name] for p in parts]) for o in self.outputs}
        arrays = [
            feeder(i, b, t)(feeds[i.name])
            for i, b, t in zip(self.inputs, self.bindings[0], self._session.inputs, strict=True)
        ]
        values = self._session.run(arrays)
        return {
            o.name: fetcher(o, b, t)(v)
            for o, b, t, v in zip(self.outputs, self.bindings[1], self._session.outputs, values, strict=True)
        }

    def layers(self, feeds: Feeds) -> list[tuple[str, np.ndarray]]:
        """What every operation of the file gives."""
        arrays = {
            t.name: feeder(i, b, t)(feeds[i.name])
            for i, b, t in zip(self.inputs, self.bindings[0], self._session.inputs, strict=True)
        }
        with tempfile.TemporaryDirectory(prefix="edgekit-layers-") as folder:
            path = Path(folder) / self.name
            path.write_bytes(self.content)
            return [(n, v) for o in trace(path, self.format, arrays) for n, v in o.outputs.items()]

    def close(self) -> None:
        """Drop the interpreter."""
        self._session.close()
