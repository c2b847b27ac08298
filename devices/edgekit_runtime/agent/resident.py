"""The resident agent: polls, lets `Machine` decide and `Hands` do, reports. Standard library alone."""

from __future__ import annotations

import json
import logging
import os
import platform
import random
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Callable, Optional

from edgekit_runtime import __version__, notify
from edgekit_runtime.agent import protocol
from edgekit_runtime.agent.hands import Hands, Tools
from edgekit_runtime.agent.link import Link, Refusal, Unreachable
from edgekit_runtime.agent.machine import Effect, Figures, Machine
from edgekit_runtime.agent.protocol import SOAKING, Enroll, Enrolled, Orders, Poll, ProtocolError, Report, Reports
from edgekit_runtime.agent.server_process import ServerProcess
from edgekit_runtime.agent.serving import Counts, Serving, ServingError, figures
from edgekit_runtime.agent.store import Store, StoreError
from edgekit_runtime.atomic import replacing
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.monitor.device import Device
from edgekit_runtime.monitor.device import Health as Read
from edgekit_runtime.monitor.outbox import Outbox, boot_id
from edgekit_runtime.plain import PlainDataError, encode

_LOG = logging.getLogger("edgekit_runtime")

_FIRST_WAIT, _LONGEST_WAIT = 5.0, 3600.0  # seconds until a poll that failed is tried again: twice as long each time
_JITTER = 0.2  # share by which waits differ, so that a thousand devices do not poll at once
_OBSERVE = 1.0  # seconds between looks at a bundle that soaks
_COLLECT = 30.0  # seconds between looks at the server's windows and at what is degraded
_BATCH = 50


@dataclass(frozen=True)
class Settings:
    """What an agent is told.

    Attributes:
        device: Its name.
        token: The enrolment token; None once it is enrolled.
        groups: Groups that it wants to be in.
        poll_seconds: How often it polls; None for what the server says.
    """

    device: str
    token: Optional[str] = None
    groups: tuple[str, ...] = ()
    poll_seconds: Optional[float] = None


class Agent:
    """One device's agent.

    Args:
        settings: What it is told.
        store: The bundles.
        link: The fleet server.
        serving: The process that answers.
        server: That process, where the agent is the one to keep it running.
        keys: Files of pinned public keys.
        allow_unsigned: Whether unsigned bundles are taken.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        link: Link,
        serving: Serving,
        *,
        server: Optional[ServerProcess] = None,
        keys: tuple[str, ...] = (),
        allow_unsigned: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._store, self._link, self._serving, self._server = settings, store, link, serving, server
        self._clock, self._random = clock, random.Random()  # noqa: S311 - for jitter
        self._folder = store.root / "agent"
        self._secret = _secret(self._folder / "secret")
        self._boot, self._sequence = f"{boot_id()}.{secrets.token_hex(4)}", 0
        self._enrolled = self._known_to() == link.url
        self._poll_seconds = settings.poll_seconds or 60.0
        self._failures = 0
        self._facts: Mapping[str, str] = {}
        self._device = Device(disk=store.root)
        self.outbox = Outbox(self._folder / "outbox.db", settings.device)
        self.machine = self._load_journal()
        self._hands = Hands(Tools(store, link, serving, self._authorization, keys, allow_unsigned))
        self._cursors: dict[str, str] = {}
        self._degraded: dict[str, str] = {}
        self._told: dict[str, str] = {}
        now = clock()
        self._last = now
        self._due = {"poll": now, "observe": now, "collect": now}
        self._apply(lambda m: m.resume())

    def run(self, stop: threading.Event) -> None:
        """Go on until `stop` is set."""
        notify.ready()
        every = notify.watchdog_seconds()
        wait = min(1.0, every / 2) if every else 1.0
        try:
            while not stop.is_set():
                self.step(wait)
                notify.watchdog()
        finally:
            notify.stopping()
            self.close()

    def close(self) -> None:
        """End what the agent has started."""
        self._hands.close()
        if self._server is not None:
            self._server.close()
        self.outbox.close()

    def step(self, wait: float) -> None:
        """Do what is due, and take in what effects came to.

        Args:
            wait: Seconds to wait for that at most.
        """
        if self._server is not None:
            self._server.watch()
        now = self._clock()
        passed, self._last = now - self._last, now
        self._apply(lambda m: m.tick(passed))
        for news in self._hands.news(wait):
            self._apply(news)
        now = self._clock()
        if now >= self._due["observe"]:
            self._due["observe"] = now + _OBSERVE
            self._observe()
        if now >= self._due["collect"]:
            self._due["collect"] = now + _COLLECT
            self._collect()
        if now >= self._due["poll"]:
            self._due["poll"] = now + self._poll()

    # -- deciding --------------------------------------------------------------------------------------------------

    def _apply(self, news: Callable[[Machine], list[Effect]]) -> None:
        """Tell the machine something; its journal is on the disk before anything is done about it."""
        before = self.machine.to_plain()
        effects = news(self.machine)
        after = self.machine.to_plain()
        if effects or _stages(before) != _stages(after):
            self._save_journal(after)
        for job in self.machine.jobs():
            if self._told.get(job.job) != job.state:
                self._told[job.job] = job.state
                _LOG.info("job %s: %s%s", job.job, job.state, f" ({job.detail})" if job.detail else "")
                notify.status(f"job {job.job}: {job.state}")
                self._keep("state", {"kind": "job", **encode(job)})
                self._due["poll"] = min(self._due["poll"], self._clock()) if hasattr(self, "_due") else 0.0
        self._hands.do(effects)

    def _observe(self) -> None:
        now = self.machine.underway
        if now is None or now.state != SOAKING or now.ending:
            return
        try:
            counts = self._serving.counts().get(now.job.slot, Counts())
            running = self._serving.running().get(now.job.slot)
        except ServingError:
            self._apply(lambda m: m.observed(now.job.job, Figures("", False)))
            return
        baseline = self._hands.baselines.setdefault(now.job.job, counts)  # after a restart: from now on
        fares = figures(running, counts.since(baseline))
        self._apply(lambda m: m.observed(now.job.job, fares))

    # -- reporting -------------------------------------------------------------------------------------------------

    def _keep(self, priority: str, body: Mapping[str, Any]) -> None:
        self.outbox.put([(priority, json.dumps(body, separators=(",", ":")).encode())])

    def _collect(self) -> None:
        """Closed windows and what is degraded, into the outbox."""
        try:
            running = self._serving.running()
            for slot in running:
                windows, cursor = self._serving.windows(slot, self._cursors.get(slot, ""))
                for window in windows:
                    self._keep("sketch", {"kind": "window", "slot": slot, **window})
                self._cursors[slot] = cursor
        except ServingError:
            return
        for slot, runs in running.items():
            if runs.degraded != self._degraded.get(slot, ""):
                self._degraded[slot] = runs.degraded
                self._keep("alarm", {"kind": "alarm", "slot": slot, "sentence": runs.degraded or "it is well again"})

    def _poll(self) -> float:
        """Talk to the server; seconds until it is time again."""
        try:
            if not self._enrolled:
                self._enroll()
            orders = self._link.call("/api/v1/poll", self._state(), Orders, self._authorization())
            self._facts = _facts()
            if self._settings.poll_seconds is None:
                self._poll_seconds = min(max(orders.poll_seconds, 1.0), 86400.0)
            self._apply(lambda m: m.orders(orders))
            for number in orders.settled:
                self._told.pop(number, None)
            self._send()
        except (Unreachable, Refusal, ProtocolError, EdgekitError) as error:
            return self._trouble(error)
        self._failures = 0
        return self._varied(self._poll_seconds)

    def _trouble(self, error: EdgekitError) -> float:
        if isinstance(error, Refusal) and error.status == 401 and self._enrolled:
            self._enrolled = False  # the server has forgotten this device: it makes itself known again
        self._failures += 1
        wait = min(_FIRST_WAIT * 2 ** min(self._failures - 1, 20), max(_LONGEST_WAIT, self._poll_seconds))
        wait = max(self._varied(wait), getattr(error, "after", 0.0))
        _LOG.warning("%s; trying again in %.0f s", error, wait)
        return wait

    def _varied(self, seconds: float) -> float:
        return seconds * self._random.uniform(1 - _JITTER, 1 + _JITTER)

    def _enroll(self) -> None:
        if self._settings.token is None:
            raise Refusal(f"{self._link.url} does not know this device, and there is no token", "give --token-file")
        asked = Enroll(
            self._settings.device, sha256(self._secret.encode()).hexdigest(), self._settings.groups, _facts()
        )
        said = self._link.call("/api/v1/enroll", asked, Enrolled, self._settings.token)
        self._poll_seconds = self._settings.poll_seconds or min(max(said.poll_seconds, 1.0), 86400.0)
        self._enrolled = True
        with replacing(self._folder / "enrolled") as out:
            out.write(self._link.url.encode())

    def _known_to(self) -> str:
        try:
            return (self._folder / "enrolled").read_text("utf-8")
        except (OSError, ValueError):
            return ""

    def _authorization(self) -> str:
        return f"{self._settings.device}:{self._secret}"

    def _state(self) -> Poll:
        self._sequence += 1
        facts = _facts()
        return Poll(
            self._settings.device,
            self._boot,
            self._sequence,
            time.time(),
            self._slots(),
            self.machine.jobs(),
            _health(self._device.read()),
            facts if facts != self._facts else {},
            {name: n for name, n in self.outbox.dropped().items() if n},
        )

    def _slots(self) -> dict[str, protocol.Running]:
        """What answers, and what each slot could go back to; slots of a server that is down are there all the same."""
        try:
            running = self._serving.running()
        except ServingError as error:
            running, said = {}, str(error)
        else:
            said = "the server does not know it"
        for name in self._store.slots():
            try:
                slot = self._store.slot(name)
            except StoreError as error:
                running.setdefault(name, protocol.Running("", degraded=str(error)))
                continue
            if slot is not None:
                found = running.get(name) or protocol.Running("", degraded=said)
                running[name] = protocol.Running(
                    found.digest, slot.previous or "", found.variant, found.ready, found.degraded
                )
        return running

    def _send(self) -> None:
        """What waits in the outbox, in batches, until the server has it all."""
        while messages := self.outbox.peek(_BATCH):
            reports = []
            for message in messages:
                body = json.loads(message.body)
                reports.append(Report(message.boot, message.sequence, message.priority, message.made, body))
            said = self._link.call(
                "/api/v1/reports",
                Reports(self._settings.device, tuple(reports)),
                protocol.Received,
                self._authorization(),
            )
            first = messages[0]
            reached = [self.outbox.acknowledge(boot, n) for boot, n in said.acknowledged.items()]
            after = self.outbox.peek(1)
            if not reached or (after and (after[0].boot, after[0].sequence) == (first.boot, first.sequence)):
                return  # the server did not take them; another time

    # -- the journal -----------------------------------------------------------------------------------------------

    def _save_journal(self, content: Mapping[str, Any]) -> None:
        try:
            with replacing(self._folder / "journal.json") as out:
                out.write(json.dumps(content).encode())
        except OSError as error:
            # without it a power cut would find the slot as the last journal says, which is older, and begin there
            _LOG.error("cannot write the agent's journal (%s)", error.strerror or error)

    def _load_journal(self) -> Machine:
        path = self._folder / "journal.json"
        try:
            return Machine.from_plain(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return Machine()
        except (OSError, ValueError, PlainDataError) as error:
            aside = path.with_name("journal.json.broken")
            _LOG.error("the agent's journal cannot be read (%s); it is now %s", error, aside.name)
            path.replace(aside)
            return Machine()


def _stages(plain: Mapping[str, Any]) -> Any:
    """What of the journal is worth a write: not every second that passes."""
    underway = plain.get("underway") or {}
    rest = {k: v for k, v in underway.items() if k not in ("elapsed", "progress", "returning")}
    return rest, plain.get("ended"), plain.get("settled"), int(float(underway.get("elapsed", 0.0)) / 30)


def _secret(path: Path) -> str:
    """The device's secret, made when there is none."""
    try:
        found = path.read_text("ascii").strip()
        if len(found) >= 32:
            return found
    except (OSError, ValueError):
        pass
    made = secrets.token_urlsafe(32)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(made)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise EdgekitError(f"cannot write the device's secret {path} ({error.strerror or error})") from error
    return made


def _facts() -> dict[str, str]:
    """What this device is."""
    try:
        board = Path("/proc/device-tree/model").read_text("utf-8").strip("\0\n ")
    except (OSError, ValueError):
        board = ""
    return {
        "board": board,
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "runtime": __version__,
        "host": socket.gethostname(),
    }


def _health(read: Read) -> protocol.Health:
    memory = None
    if read.memory_total and read.memory_available is not None:
        memory = 1 - read.memory_available / read.memory_total
    disk = 1 - read.disk_free / read.disk_total if read.disk_total and read.disk_free is not None else None
    now = {n: on for n, on in read.flags.items() if not n.endswith("_since_boot")}
    return protocol.Health(
        cpu=read.cpu,
        memory=memory,
        disk=disk,
        temperature=max(read.temperatures.values(), default=None),
        throttled=any(now.values()) if now else None,
        uptime=read.uptime,
    )
