"""A back end that misbehaves when its input says so: as drivers and interpreters do, in C and for ever."""

import ctypes
import json
import os
from pathlib import Path

import numpy as np

from edgekit_runtime.backends.base import Backend, FileTensor, Session
from edgekit_runtime.errors import BackendError

ABORT, HANG, WAIT, REFUSE = 600.0, 601.0, 602.0, 603.0
"""First numbers of an input that abort the process, hang in C, wait for a pipe to be written, and are refused."""


class Scaled(Session):
    placement = "nowhere"

    def __init__(self, model: bytes) -> None:
        self._said = json.loads(bytes(model))
        shape = (-1 if self._said["batches"] else 1, 4)
        self.inputs = (FileTensor("x", shape, "float32"),)
        self.outputs = (FileTensor("y", shape, "float32"),)
        broken = self._said.get("broken")
        if broken and Path(broken).exists():
            raise BackendError("the accelerator is not there")

    def run(self, feeds):
        (x,) = feeds
        for first in x[:, 0].tolist():
            if first == ABORT:
                os.abort()
            elif first == HANG:
                ctypes.PyDLL(None).sleep(3600)  # holds the interpreter's lock, as a driver that waits for its device
            elif first == WAIT:
                Path(self._said["pipe"]).read_bytes()
            elif first == REFUSE:
                raise BackendError("the accelerator refuses this")
        return [x * np.float32(self._said["scale"])]


class StandIn(Backend):
    name, package, extra, formats = "standin", "standin", "none", ("standin",)

    def version(self):
        return "1"

    def open(self, model, *, threads=None):
        return Scaled(model)

    def probe_model(self):
        return b'{"scale": 2, "batches": false}'


BACKEND = StandIn()
