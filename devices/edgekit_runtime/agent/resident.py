"""The resident agent: polls, lets `Machine` decide and `Hands` do, reports. Standard library alone."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from edgekit_runtime import notify
from edgekit_runtime.agent import protocol
from edgekit_runtime.agent.drifting import Drifting
from edgekit_runtime.agent.hands import Hands, Tools
from edgekit_runtime.agent.link import Link
from edgekit_runtime.agent.machine import Effect, Figures, Machine, Swap
from edgekit_runtime.agent.protocol import SOAKING, Orders
from edgekit_runtime.agent.server_process import ServerProcess
from edgekit_runtime.agent.serving import Counts, Serving, ServingError, figures
from edgekit_runtime.agent.store import Store, StoreError
from edgekit_runtime.agent.talk import Settings, Talk
from edgekit_runtime.atomic import replacing
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.monitor.device import Device
from edgekit_runtime.monitor.device import Health as Read
from edgekit_runtime.monitor.outbox import MAX_BODY, Outbox
from edgekit_runtime.plain import PlainDataError, encode

_LOG = logging.getLogger("edgekit_runtime")

_FIRST_WAIT, _LONGEST_WAIT = 5.0, 3600.0  # seconds until a poll that failed is tried again: twice as long each time
_JITTER = 0.2  # share by which waits differ, so that a thousand devices do not poll at once
_OBSERVE = 1.0  # seconds between looks at a bundle that soaks
_COLLECT = 30.0  # seconds between looks at the server's windows and at what is degraded


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
        self._settings, self._store, self._serving, self._server = settings, store, serving, server
        self._clock, self._random = clock, random.Random()  # noqa: S311 - for jitter
        self._folder = store.root / "agent"
        for leftover in self._folder.glob(".*.part"):  # of writers that were killed
            leftover.unlink(missing_ok=True)
        self._poll_seconds = settings.poll_seconds or 60.0
        self._failures = 0
        self._talking = self._urgent = False
        self._device = Device(disk=store.root)
        self.outbox = Outbox(self._folder / "outbox.db", settings.device)
        self._talk = Talk(
            settings,
            link,
            self.outbox,
            self._folder,
            stand=lambda: (self._slots(), _health(self._device.read())),
            took=lambda orders: self._hands.tell(lambda m: self._took(m, orders)),
            finished=lambda problem: self._hands.tell(lambda _machine: self._said(problem)),
        )
        self.machine = self._load_journal()
        self._hands = Hands(Tools(store, link, serving, self._talk.authorization, keys, allow_unsigned))
        self._cursors: dict[str, str] = {}
        self._degraded: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._drifting: dict[str, Drifting] = {}
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
            self._due["collect"] = now + min(_COLLECT, self._settings.window)
            self._collect()
        # news goes at once, but not while the server is gone or wants to be left alone
        if not self._talking and (now >= self._due["poll"] or (self._urgent and not self._failures)):
            self._talking, self._urgent = True, False
            self._talk.begin(self.machine.jobs())

    # -- deciding --------------------------------------------------------------------------------------------------

    def _apply(self, news: Callable[[Machine], list[Effect]]) -> None:
        """Tell the machine something; its journal is on the disk before anything is done about it."""
        before = self.machine.to_plain()
        effects = news(self.machine)
        after = self.machine.to_plain()
        if effects or _stages(before) != _stages(after):
            why = self._save_journal(after)
            swap = next((e for e in effects if isinstance(e, Swap)), None)
            if why and swap is not None:
                # after a power cut nobody would know what to go back to
                self._apply(lambda m: m.failed(swap.job.job, why))
                return
        for job in self.machine.jobs():
            if self._told.get(job.job) != job.state:
                self._told[job.job] = job.state
                _LOG.info("job %s: %s%s", job.job, job.state, f" ({job.detail})" if job.detail else "")
                notify.status(f"job {job.job}: {job.state}")
                self._keep(("state", {"kind": "job", **encode(job)}))
                self._urgent = True
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

    def _keep(self, *messages: tuple[str, Mapping[str, Any]]) -> bool:
        """Into the outbox, in one commit; False where they are not on the disk."""
        fit = []
        for priority, body in messages:
            try:
                content = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
            except ValueError:
                _LOG.error("a %s is not reported: it holds numbers that JSON has not", body.get("kind"))
                continue
            if len(content) > MAX_BODY:
                _LOG.error("a %s of %d bytes is not reported: %d may be", body.get("kind"), len(content), MAX_BODY)
                continue
            fit.append((priority, content))
        return not fit or bool(self.outbox.put(fit))

    def _collect(self) -> None:
        """Closed windows and what is degraded, into the outbox."""
        try:
            running = self._serving.running()
        except ServingError:
            return
        for slot, runs in running.items():
            if runs.degraded != self._degraded.get(slot, ""):
                said = {"kind": "alarm", "slot": slot, "sentence": runs.degraded or "it is well again"}
                if self._keep(("alarm", said)):
                    self._degraded[slot] = runs.degraded
            try:
                windows, cursor = self._serving.windows(slot, self._cursors.get(slot, ""))
            except ServingError:
                continue  # not monitored, or just gone
            before = self._drifting.get(slot, Drifting())
            after, sentences = before.take(windows)
            alarms = (("alarm", {"kind": "alarm", "slot": slot, "sentence": s}) for s in sentences)
            if self._keep(*alarms, *(("sketch", {"kind": "window", "slot": slot, **w}) for w in windows)):
                self._cursors[slot], self._drifting[slot] = cursor, after  # the server forgets them when asked next
                self._urgent |= bool(sentences)

    def _took(self, machine: Machine, orders: Orders) -> list[Effect]:
        if self._settings.poll_seconds is None:
            self._poll_seconds = min(max(orders.poll_seconds, 1.0), 86400.0)
        for number in orders.settled:
            self._told.pop(number, None)
        return machine.orders(orders)

    def _said(self, problem: Optional[EdgekitError]) -> list[Effect]:
        """An exchange with the fleet server is over."""
        self._talking = False
        if problem is None:
            self._failures, wait = 0, self._varied(self._poll_seconds)
        else:
            self._failures += 1
            wait = min(_FIRST_WAIT * 2 ** min(self._failures - 1, 20), max(_LONGEST_WAIT, self._poll_seconds))
            wait = max(self._varied(wait), getattr(problem, "after", 0.0))
            _LOG.warning("%s; trying again in %.0f s", problem, wait)
        self._due["poll"] = self._clock() + wait
        return []

    def _varied(self, seconds: float) -> float:
        return seconds * self._random.uniform(1 - _JITTER, 1 + _JITTER)

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

    # -- the journal -----------------------------------------------------------------------------------------------

    def _save_journal(self, content: Mapping[str, Any]) -> str:
        """Why it cannot be written; empty if it is."""
        try:
            with replacing(self._folder / "journal.json") as out:
                out.write(json.dumps(content).encode())
        except OSError as error:
            why = f"the agent's journal cannot be written ({error.strerror or error})"
            _LOG.error("%s", why)
            return why
        return ""

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
