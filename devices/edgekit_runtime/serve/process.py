"""The server's end of a model's process: starts it, hands it work, sees it die or hang."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Protocol

from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.serve.http import Reply
from edgekit_runtime.serve.opening import Opening
from edgekit_runtime.serve.source import Source
from edgekit_runtime.serve.wire import ALIGNMENT, NICENESS, Arena, Frames, Part, frame

OPEN_SECONDS = 300.0
"""A process that is not ready after this long is given up."""

_END_SECONDS = 10.0
_BLOCK = 2**18
# the process sees the modules that the server sees, and no others: `-m` would look into the working folder first
# in a process that answers nothing yet while another one does, imports too are left to a thread that yields to others
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
if sys.argv[6] == "gently":
    import contextlib, os, threading
    def load():
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        import edgekit_runtime.serve.child
    aside = threading.Thread(target=load)
    aside.start()
    aside.join()
from edgekit_runtime.serve.child import main
main()
""".replace("NICENESS", str(NICENESS))


@dataclass(eq=False, repr=False)
class Job:
    """One request for a model.

    Attributes:
        action: ``infer``, ``predict`` or ``tensorflow``.
        headers: Those that the model's process looks at.
        parts: The body, in the pieces that it came in.
        size: Its length.
        lead: Bytes of it before the binary tensors.
        arrived: `time.monotonic` of its arrival.
        deadline: When nobody waits any more; None for never.
        answer: Its reply.
        again: Whether it was with a process that died.
    """

    action: str
    headers: Mapping[str, str]
    parts: Sequence[Part]
    size: int
    lead: int
    arrived: float
    deadline: Optional[float]
    answer: asyncio.Future[Reply] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    again: bool = False


@dataclass(frozen=True)
class Done:
    """What became of one job: its reply, and what it took in nanoseconds.

    Attributes:
        reply: The reply.
        queue: From arrival to its turn.
        decode: Body to tensors.
        infer: Inference; a batch's is each of its jobs'.
        encode: Tensors to reply.
        samples: Samples that were inferred, 0 where none was.
        batch: Samples of the inference that it was part of; 0 where it was counted with another job of its batch.
    """

    reply: Reply
    queue: int
    decode: int
    infer: int
    encode: int
    samples: int
    batch: int


class Owner(Protocol):
    """Whoever the process works for; called on the event loop."""

    def done(self, child: Child, jobs: Sequence[Job], results: Sequence[Done]) -> None:
        """Jobs are answered."""

    def lost(self, child: Child, jobs: Sequence[Job], why: str, stuck: bool) -> None:
        """The process is gone, with these jobs unanswered; `why` is empty where it was told to end."""

    def watched(self, child: Child, said: Mapping[str, Any]) -> None:
        """What its monitor has counted."""


class Child:
    """One process with one bundle. To be used on one event loop.

    Args:
        source: The bundle.
        opening: How it is opened.
        owner: Whom it works for.
        gently: Whether it leaves processor time to others until it is ready.

    Attributes:
        source: The bundle.
        jobs: What it works on.
        opened: What it says about itself when it is ready; an `EdgekitError` where it is not fit.
        gone: Set when it has ended.
        dirty: Whether it has counted something that was not asked for.
    """

    def __init__(self, source: Source, opening: Opening, owner: Owner, *, gently: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.source = source
        self.jobs: list[Job] = []
        self.opened: asyncio.Future[Mapping[str, Any]] = loop.create_future()
        self.opened.add_done_callback(lambda done: done.cancelled() or done.exception())  # whoever waits may be gone
        self.gone = asyncio.Event()
        self.dirty = False
        self._loop, self._owner = loop, owner
        self._stuck_after = opening.stuck_after
        self._frames = Frames()
        self._finishing = self._killed = False
        self._why = ""
        self._heard: list[asyncio.Future[None]] = []
        self._begun = 0.0
        self._arena = Arena.make(opening.max_body)
        self._socket, theirs = socket.socketpair()
        try:
            self._process = self._spawn(theirs, gently)
        except BaseException:
            self._socket.close()
            self._arena.close()
            raise
        finally:
            theirs.close()
        self._socket.setblocking(False)
        loop.add_reader(self._socket, self._readable)
        self._timer: Optional[asyncio.TimerHandle] = loop.call_later(
            OPEN_SECONDS, self._stuck, f"was not ready after {OPEN_SECONDS:g} seconds"
        )
        self._say(
            {
                "op": "open",
                "name": str(source.path),
                "digest": source.digest,
                "trust": opening.trust,
                "keys": opening.keys,
                "threads": opening.threads,
                "choose": opening.choose,
                "limit": opening.max_body,
                "monitor": opening.monitor,
                "gently": gently,
            }
        )

    def _spawn(self, theirs: socket.socket, gently: bool) -> subprocess.Popen[bytes]:
        inherited = (theirs.fileno(), self._arena.fd, self.source.fd)
        words = [sys.executable, "-c", _START, json.dumps(sys.path), *map(str, inherited), str(self._arena.room)]
        words.append("gently" if gently else "at once")
        # what an interpreter prints goes where our log goes: standard output is the server's own
        return subprocess.Popen(words, pass_fds=inherited, stdin=subprocess.DEVNULL, stdout=2)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def room(self) -> int:
        """Bytes of requests that it can work on at once, each counted with `ALIGNMENT` more."""
        return self._arena.room

    def run(self, jobs: Sequence[Job]) -> None:
        """Hand it work; it must have none."""
        entries, place = [], 0
        for job in jobs:
            place += -(place + job.lead) % ALIGNMENT
            entries.append([job.action, job.headers, job.arrived, place, job.size])
            place = self._arena.write(job.parts, place)
        self.jobs = list(jobs)
        self.dirty = True
        self._begun = time.monotonic()
        self._say({"op": "run", "jobs": entries})
        if self._timer is None:
            self._timer = self._loop.call_later(self._stuck_after, self._look)

    def _look(self) -> None:
        """Whether the work at hand takes too long; one timer for many requests, since each would cost some of one."""
        self._timer = None
        if self.jobs:
            rest = self._begun + self._stuck_after - time.monotonic()
            if rest > 0:
                self._timer = self._loop.call_later(rest, self._look)
            else:
                self._stuck(f"did not answer within {self._stuck_after:g} seconds")

    async def snapshot(self, seconds: float) -> None:
        """Have it tell what its monitor has counted, after the work that it has; do not wait longer than `seconds`."""
        if self.gone.is_set() or self._finishing:
            return
        heard: asyncio.Future[None] = self._loop.create_future()
        self._heard.append(heard)
        self.dirty = False
        self._say({"op": "snapshot"})
        await asyncio.wait([heard], timeout=seconds)

    def finish(self) -> None:
        """Let it end when its work is done."""
        if not self._finishing:
            self._finishing = True
            self._say({"op": "close"})
            if not self.jobs:
                self._await_end()

    def kill(self, why: str = "") -> None:
        """End it now."""
        self._why = self._why or why
        self._killed = True
        self._process.kill()

    def _await_end(self) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(_END_SECONDS, self._stuck, "did not end")

    def _stuck(self, why: str) -> None:
        self._timer = None
        self.kill(why)

    def _say(self, message: Mapping[str, Any]) -> None:
        content = frame(message)
        try:
            sent = self._socket.send(content)
        except BlockingIOError:
            sent = 0
        except OSError:  # it has died, which the end of the stream will say
            return
        if sent != len(content):  # a process that reads has room for what we say: it never has more than one batch
            self.kill("does not read what it is told")

    def _readable(self) -> None:
        try:
            content = self._socket.recv(_BLOCK)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if not content:
            self._end()
            return
        for message, tail in self._frames.feed(content):
            self._hear(message, tail)

    def _hear(self, message: dict[str, Any], tail: bytes) -> None:
        op = message["op"]
        if op == "done":
            self._answered(message, tail)
        elif op == "watched":
            self._owner.watched(self, json.loads(tail))
            if self._heard and not message["final"]:
                heard = self._heard.pop(0)
                if not heard.done():
                    heard.set_result(None)
        elif op == "ready":
            self._cancel_timer()
            if not self.opened.done():
                self.opened.set_result(message)
        elif op == "unfit":
            self._cancel_timer()
            self._finishing = True
            if not self.opened.done():
                self.opened.set_exception(EdgekitError(message["error"]))

    def _answered(self, message: Mapping[str, Any], tail: bytes) -> None:
        jobs, self.jobs = self.jobs, []
        results, place, used = [], 0, 0
        for job, (status, kind, headers, at, size, times) in zip(jobs, message["replies"]):
            if at is None:
                body, place = tail[place : place + size], place + size
            else:
                body, used = bytes(self._arena.replies[at : at + size]), at + size
            decode, infer, encode, samples, batch = times
            reply = Reply(status, body, kind, tuple((n, v) for n, v in headers))
            queue = int(max(0.0, self._begun - job.arrived) * 1e9)
            results.append(Done(reply, queue, decode, infer, encode, samples, batch))
        self._arena.trim(max(used, sum(job.size for job in jobs)))
        if self._finishing:
            self._await_end()
        self._owner.done(self, jobs, results)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        """The stream has ended: so has the process, or it is about to."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._cancel_timer()
        self._burial = self._loop.create_task(self._bury())

    async def _bury(self) -> None:
        code = await asyncio.to_thread(_wait, self._process)
        why = self._why or ("" if self._finishing and code == 0 else _ended(code))
        self._arena.close()
        jobs, self.jobs = self.jobs, []
        self.gone.set()
        for heard in self._heard:
            if not heard.done():
                heard.set_result(None)
        if not self.opened.done():
            self.opened.set_exception(EdgekitError(f"its process {why or 'ended'}"))
        self._owner.lost(self, jobs, why, self._killed and bool(self._why))


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _ended(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
        return f"was ended by signal {-code}"
    return f"ended with exit code {code}"
