"""Sources by name; each is a small file, loaded when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Callable

from edgekit_runtime.capture.sources.base import End, Sample, Source, SourceLost


def _lazily(module: str, name: str) -> Callable[[], Any]:
    return lambda: getattr(importlib.import_module(f"edgekit_runtime.capture.sources.{module}"), name)


SOURCES: Mapping[str, Callable[[], type[Source]]] = {
    "camera": _lazily("opencv", "Camera"),
    "picamera2": _lazily("picamera", "Picamera2"),
    "gstreamer": _lazily("gstreamer", "GStreamer"),
    "rtsp": _lazily("opencv", "Rtsp"),
    "video": _lazily("opencv", "Video"),
    "folder": _lazily("folder", "Folder"),
    "rows": _lazily("rows", "Rows"),
    "microphone": _lazily("microphone", "Microphone"),
}
"""Name to the class, which is imported by the call."""

__all__ = ["SOURCES", "End", "Sample", "Source", "SourceLost"]
