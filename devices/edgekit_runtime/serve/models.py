"""The repository: bundles that are served, each opened, self-tested and warmed before it is ready."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from edgekit_runtime.bundle import Bundle
from edgekit_runtime.errors import UsageError
from edgekit_runtime.manifest import Manifest
from edgekit_runtime.runtime import Runtime
from edgekit_runtime.samples import decode_raw
from edgekit_runtime.selftest import selftest
from edgekit_runtime.serve.http import Refused
from edgekit_runtime.serve.worker import Work, Worker

_LOG = logging.getLogger("edgekit_runtime")

VERSION = "1"
"""A bundle is one version; which one it is, its digest says."""

LOADING, READY, UNAVAILABLE = "LOADING", "READY", "UNAVAILABLE"


@dataclass(frozen=True)
class Opening:
    """How bundles are opened.

    Attributes:
        trust: Whether native code in them may run.
        threads: Threads for one inference; None for the interpreter's own choice.
        queue: Requests that may wait for each model.
    """

    trust: bool = False
    threads: Optional[int] = None
    queue: int = 64


@dataclass
class Statistics:
    """What Triton's statistics extension asks for; times in nanoseconds."""

    success: int = 0
    success_ns: int = 0
    fail: int = 0
    fail_ns: int = 0
    samples: int = 0
    infer_ns: int = 0
    last: int = 0


@dataclass
class Model:
    """One bundle, opened on a thread of its own.

    Attributes:
        path: Its file.
        manifest: What it says about itself.
        digest: Which bundle it is.
        worker: Where it runs.
        unloaded: Whether it was taken out of service.
        running: The variant and back end that run; empty before it is ready.
        batch: Whether requests may have any number of samples; else as many as the manifest says.
        statistics: What happened so far.
    """

    path: Path
    manifest: Manifest
    digest: str
    worker: Worker
    unloaded: bool = False
    running: str = ""
    batch: bool = False
    statistics: Statistics = field(default_factory=Statistics)

    @property
    def state(self) -> str:
        """One of ``LOADING``, ``READY`` and ``UNAVAILABLE``."""
        if self.unloaded or self.worker.error:
            return UNAVAILABLE
        return READY if self.worker.opened.is_set() else LOADING

    @property
    def reason(self) -> str:
        """Why it is not ready; empty if it is."""
        if self.unloaded:
            return "unloaded"
        return self.worker.error or ("" if self.worker.opened.is_set() else "still loading")

    def submit(self, work: Work, deadline: Optional[float] = None) -> asyncio.Future[Any]:
        """Queue work for its runtime.

        Raises:
            Refused: 503 where it is not ready, 429 where the queue is full.
        """
        if self.state != READY:
            raise Refused(503, f"model {self.manifest.name!r} is not ready ({self.reason})")
        return self.worker.submit(work, deadline)

    def infer(self, runtime: Runtime, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Model tensors to model tensors, on the worker's thread; what does not fit is told before it runs.

        Raises:
            Refused: 400, naming the input and what it takes.
            BackendError: The interpreter failed.
        """
        feeds = self._checked(inputs)
        start = time.perf_counter_ns()
        outputs = runtime.run(feeds)
        self.statistics.infer_ns += time.perf_counter_ns() - start
        self.statistics.samples += len(next(iter(feeds.values()))) if self.batch else 1
        return outputs

    def _checked(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        infos = self.manifest.inputs
        if set(inputs) != {i.name for i in infos}:
            given = ", ".join(inputs)[:200]
            raise Refused(400, f"the model takes {', '.join(i.name for i in infos)}, but was given {given}")
        batches = set()
        for info in infos:
            array, shape = inputs[info.name], self.shape(info.shape)
            if len(array.shape) != len(shape) or any(w not in (-1, g) for w, g in zip(shape, array.shape)):
                raise Refused(400, f"input {info.name!r} takes shape {list(shape)}, not {list(array.shape)}")
            if 0 in array.shape:
                raise Refused(400, f"input {info.name!r} is empty")
            if not _convertible(array.dtype, info.dtype):
                raise Refused(400, f"input {info.name!r} takes {info.dtype}, not {array.dtype}")
            batches.add(array.shape[:1])
        if self.batch and len(batches) != 1:
            raise Refused(400, "the inputs differ in their number of samples")
        return {i.name: inputs[i.name] for i in infos}

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A shape of the manifest with -1 for an axis that requests may choose."""
        return (-1, *shape[1:]) if self.batch and shape else tuple(shape)


def _convertible(given: np.dtype, wanted: str) -> bool:
    """Whether no number can change: a picture of bytes may go to a float model, but no fraction to a whole number."""
    if wanted == "string" or given.kind == "O":
        return wanted == "string" and given.kind == "O"
    want = np.dtype(wanted)
    return np.can_cast(given, want, "same_kind" if want.kind == "f" else "safe")


class Repository:
    """The models of one server, by name.

    Args:
        paths: The bundles.
        opening: How they are opened.

    Raises:
        UsageError: Two of them have one name.
        BundleError: A file is not a bundle.
    """

    def __init__(self, paths: Sequence[Union[str, os.PathLike[str]]], opening: Optional[Opening] = None) -> None:
        self._opening = opening or Opening()
        self._models: dict[str, Model] = {}
        self._changing: set[str] = set()
        for path in paths:
            model = self._open(Path(path))
            name = model.manifest.name
            if name in self._models:
                raise UsageError(f"{path} and {self._models[name].path} are both called {name!r}", "serve one of them")
            self._models[name] = model

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def __getitem__(self, name: str) -> Model:
        model = self._models.get(name)
        if model is None:
            raise Refused(404, f"there is no model {name[:80]!r}", f"there are {', '.join(self._models)}")
        return model

    @property
    def ready(self) -> bool:
        """Whether every model that is not unloaded is ready."""
        return all(m.state == READY for m in self if not m.unloaded)

    def start(self) -> None:
        """Begin to load every model, each on its own thread."""
        for model in self:
            model.worker.start()

    async def loaded(self) -> None:
        """Wait until every model is ready or has failed."""
        for model in self:
            await asyncio.to_thread(model.worker.opened.wait)

    async def load(self, name: str) -> None:
        """Open a bundle's file anew; the model before it answers until the new one is ready, and stays if it fails.

        Raises:
            Refused: 404 for no such model, 409 while it is loaded already, 422 where the new one is not fit to serve.
            BundleError: The file is not a bundle any more.
        """
        old = self[name]
        if name in self._changing or old.state == LOADING:
            raise Refused(409, f"model {name!r} is being loaded already")
        self._changing.add(name)
        try:
            new = await asyncio.to_thread(self._open, old.path)
            if new.manifest.name != name:
                raise Refused(422, f"{old.path.name} holds model {new.manifest.name!r} now", "start the server again")
            new.worker.start()
            await asyncio.to_thread(new.worker.opened.wait)
            if new.worker.error:
                if old.state != READY:
                    self._models[name] = new
                raise Refused(422, f"model {name!r} is not fit to serve ({new.worker.error})")
            self._models[name] = new
            if old.state == READY:
                old.worker.stop()
        finally:
            self._changing.discard(name)

    def unload(self, name: str) -> None:
        """Take a model out of service; requests that wait are answered first."""
        model = self[name]
        if name in self._changing or model.state == LOADING:
            raise Refused(409, f"model {name!r} is being loaded")
        if model.state == READY:
            model.unloaded = True
            model.worker.stop()

    def close(self) -> None:
        """Close every model after the requests that wait."""
        live = [m for m in self if m.state == READY]
        for model in live:
            model.unloaded = True
            model.worker.stop()
        for model in live:
            model.worker.join(10.0)

    def _open(self, path: Path) -> Model:
        with Bundle.open(path) as bundle:
            manifest, digest = bundle.manifest, bundle.digest

        def start() -> Runtime:
            return _start(model, self._opening)

        model = Model(path, manifest, digest, Worker(manifest.name, start, Runtime.close, self._opening.queue))
        return model


def _start(model: Model, opening: Opening) -> Runtime:
    """Self-test, open, warm up: on the worker's thread."""
    with Bundle.open(model.path) as bundle:
        selftest(bundle, threads=opening.threads, trust=opening.trust).require()
        runtime = Runtime.open(bundle, threads=opening.threads, trust=opening.trust)
        for sample in bundle.manifest.golden.samples:
            runtime(decode_raw(sample.raw, bundle.read(sample.raw)))
        model.manifest, model.digest = bundle.manifest, bundle.digest
    model.batch = runtime.takes_batches
    model.running = f"{runtime.variant.name} on {runtime.backend.name} {runtime.backend.version()}"
    _LOG.info("%s is ready: %s", model.manifest.name, model.running)
    return runtime
