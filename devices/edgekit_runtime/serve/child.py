"""A model's process: opens one bundle, proves it here, and answers what the server hands it until it is told to end."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from edgekit_runtime.errors import BundleError, EdgekitError
from edgekit_runtime.parent import die_with
from edgekit_runtime.serve.heap import keep_pages
from edgekit_runtime.serve.source import opened
from edgekit_runtime.serve.wire import INLINE, NICENESS, Arena, Frames, frame

if TYPE_CHECKING:
    from edgekit_runtime.monitor.recorder import Monitor
    from edgekit_runtime.runtime import Runtime
    from edgekit_runtime.serve.engine import Engine

_LOG = logging.getLogger("edgekit_runtime")
_BLOCK = 2**16


def main() -> None:
    """Arguments: search path of modules, and the file descriptors that it inherits; then what `Worker.serve` does."""
    _end_with_the_server()
    keep_pages()
    channel, memory, bundle, room = map(int, sys.argv[2:6])
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    with socket.socket(fileno=channel) as connection:
        Worker(connection, Arena(memory, room), bundle).serve()
    # what an interpreter's threads do at exit is no matter of ours, and may hang
    sys.stderr.flush()
    os._exit(0)


def _end_with_the_server() -> None:
    """Die when the server does, even in the middle of an inference; but only then: it ends us when it is ended."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal and systemd send them to every process
        signal.signal(number, signal.SIG_IGN)
    die_with(os.getppid())


def _yield_to_others() -> None:
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class Worker:
    """The loop of a model's process.

    Args:
        connection: To the server.
        arena: Shared memory.
        bundle: The open bundle file.
    """

    def __init__(self, connection: socket.socket, arena: Arena, bundle: int) -> None:
        self._connection, self._arena, self._bundle = connection, arena, bundle
        self._engine: Optional[Engine] = None
        self._monitor: Optional[Monitor] = None
        self._how: dict[str, Any] = {}  # what `Runtime.open` is told
        self._lost = 0

    def serve(self) -> None:
        """Do what the server says until it says "close" or is gone."""
        frames = Frames()
        while True:
            content = self._connection.recv(_BLOCK)
            if not content:
                return
            for message, _ in frames.feed(content):
                if message["op"] == "run":
                    self._run(message["jobs"])
                elif message["op"] == "open":
                    if not self._open(message):
                        return
                elif message["op"] == "snapshot":
                    self._tell(final=False)
                elif message["op"] == "close":
                    self._tell(final=True)
                    return

    def _open(self, settings: dict[str, Any]) -> bool:
        try:
            runtime = self._ready(settings)
        except EdgekitError as error:
            return self._unfit(str(error))
        except Exception as error:  # whatever an interpreter throws
            _LOG.exception("%s could not be opened", settings["name"])
            return self._unfit(f"it could not be opened ({type(error).__name__})")
        from edgekit_runtime.monitor.recorder import Monitor
        from edgekit_runtime.serve.engine import Engine

        if settings["monitor"]:
            self._monitor = Monitor(runtime, seconds=settings["monitor"])
        self._engine = Engine(runtime, settings["limit"], self._monitor)
        running = f"{runtime.variant.name} on {runtime.backend.name} {runtime.backend.version()}"
        self._say({"op": "ready", "running": running, "batch": runtime.takes_batches, "joins": runtime.joins_batches})
        return True

    def _ready(self, settings: dict[str, Any]) -> Runtime:
        """Self-test, open, warm up.

        Where another process answers meanwhile, imports and the self-test do not compete with it. On Linux niceness is
        a thread's own and inherited by those that it starts, so what stays is opened by this one.
        """
        if settings["gently"]:
            with ThreadPoolExecutor(1, initializer=_yield_to_others) as aside:
                aside.submit(self._prove, settings).result()
        else:
            self._prove(settings)
        from edgekit_runtime.runtime import Runtime
        from edgekit_runtime.samples import decode_raw

        with opened(self._bundle, settings["name"]) as bundle:
            runtime = Runtime.open(bundle, **self._how, trust=_trusted(settings))
            for sample in bundle.manifest.golden.samples:
                runtime(decode_raw(sample.raw, bundle.read(sample.raw)))
            return runtime

    def _prove(self, settings: dict[str, Any]) -> None:
        """Self-test, with every module imported that is needed later."""
        from edgekit_runtime.selftest import selftest
        from edgekit_runtime.serve import engine  # noqa: F401

        with opened(self._bundle, settings["name"]) as bundle:
            if bundle.digest != settings["digest"]:
                raise BundleError(f"{settings['name']} was overwritten while it was open", "replace files by renaming")
            trust = _trusted(settings)
            self._how = {"threads": settings["threads"]}
            if settings["choose"]:
                from edgekit_runtime.choice import options

                self._how = options(bundle, trust=trust, threads=settings["threads"])
            selftest(bundle, **self._how, trust=trust).require()

    def _unfit(self, why: str) -> bool:
        self._say({"op": "unfit", "error": why})
        return False

    def _run(self, jobs: list[Any]) -> None:
        if self._engine is None:
            raise RuntimeError("work before a bundle was opened")
        from edgekit_runtime.serve.engine import Request

        requests = [
            Request(action, headers, arrived, self._arena.requests[place : place + size])
            for action, headers, arrived, place, size in jobs
        ]
        replies, inline, end = [], [], 0
        for result in self._engine.answer(requests):
            body, at = result.reply.body, None
            if INLINE < len(body) <= self._arena.room - end:
                at = end
                end = self._arena.write((body,), end)
            else:  # small, or beyond the room that there is
                inline.append(body)
            times = (result.decode, result.infer, result.encode, result.samples, result.batch)
            replies.append((result.reply.status, result.reply.content_type, result.reply.headers, at, len(body), times))
        self._say({"op": "done", "replies": replies}, b"".join(inline))

    def _tell(self, *, final: bool) -> None:
        """What the monitor has counted."""
        monitor = self._monitor
        if monitor is None:
            return
        closed = monitor.take(everything=final)
        totals, current = monitor.current()
        said = {
            "totals": totals.to_plain(),
            "open": current.to_plain(),
            "closed": [w.to_plain() for w in closed],
            "drift": [_drift(monitor, w) for w in closed],
            "lost": monitor.lost - self._lost,
            "at": time.time(),
        }
        self._lost = monitor.lost
        self._say({"op": "watched", "final": final}, json.dumps(said).encode())

    def _say(self, message: dict[str, Any], tail: bytes = b"") -> None:
        self._connection.sendall(frame(message, tail))


def _trusted(settings: dict[str, Any]) -> bool:
    """Whether native code may run: the user says so, or a pinned key that signed this very bundle.

    Raises:
        SignatureError: The bundle's signature is wrong.
        MissingRequirement: ``cryptography`` is not installed.
    """
    from edgekit_runtime.signing import check, parse_signature, pinned_keys, read_signature

    keys = () if settings["trust"] else pinned_keys(settings["keys"])
    if not keys:
        return bool(settings["trust"])
    signature = read_signature(settings["name"])
    in_store = Path(settings["name"]).with_suffix(".sig")
    if signature is None and in_store.exists():
        signature = parse_signature(in_store.read_bytes(), str(in_store))
    if signature is None or signature.digest != settings["digest"] or signature.key not in {k.id for k in keys}:
        return False
    check(signature, settings["digest"], keys)
    return True


def _drift(monitor: Monitor, window: Any) -> dict[str, Any]:
    return {
        side: {
            name: {
                "distances": [getattr(d.distances, s) for s in ("psi", "ks", "js")],
                "limits": [getattr(d.limits, s) for s in ("psi", "ks", "js")],
                "samples": d.samples,
                "drifted": d.drifted,
            }
            for name, d in found.items()
        }
        for side, found in monitor.drift(window).items()
    }
