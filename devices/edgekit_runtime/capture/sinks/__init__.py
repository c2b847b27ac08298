"""Sinks by name; each is a small file, loaded when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Callable

from edgekit_runtime.capture.sinks.base import About, Away, Gone, Sender, Sink


def _lazily(module: str, name: str) -> Callable[[], Any]:
    return lambda: getattr(importlib.import_module(f"edgekit_runtime.capture.sinks.{module}"), name)


SINKS: Mapping[str, Callable[[], type[Sink]]] = {
    "stdout": _lazily("stdout", "Stdout"),
    "file": _lazily("file", "File"),
    "http": _lazily("http", "Http"),
    "mqtt": _lazily("mqtt", "Mqtt"),
}
"""Name to the class, which is imported by the call."""

__all__ = ["SINKS", "About", "Away", "Gone", "Sender", "Sink"]
