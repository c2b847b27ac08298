"""``edgekit-runtime watch``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable


def add(verbs: Any, common: argparse.ArgumentParser) -> None:
    """Register the verb."""
    watch = verbs.add_parser(
        "watch", parents=[common], help="answer for a camera, stream, folder or sensor, all the time"
    )
    watch.add_argument("file", help="the TOML file; docs/guide/watch.md")
    watch.add_argument("--check", action="store_true", help="check the file and the bundle, and run nothing")
    watch.add_argument("--key", action="append", default=[], help="public key: native code it signed may run")
    watch.add_argument("--once", type=int, metavar="N", help="stop after N answers")


def run(options: argparse.Namespace) -> int:
    """Run until the source ends or a signal comes; the counts go to standard error."""
    from edgekit_runtime.bundle import Bundle
    from edgekit_runtime.capture.metrics import page, serve_metrics
    from edgekit_runtime.capture.pipeline import Pipeline
    from edgekit_runtime.capture.plan import described, masked, read_plan
    from edgekit_runtime.capture.sinks import About
    from edgekit_runtime.capture.sinks.outlet import Outlet
    from edgekit_runtime.errors import EdgekitError, UsageError
    from edgekit_runtime.monitor.recorder import Watched
    from edgekit_runtime.native import vouched
    from edgekit_runtime.runtime import Runtime
    from edgekit_runtime.signing import pinned_keys

    if options.once is not None and options.once < 1:
        raise UsageError(f"--once {options.once} is not 1 or more")
    plan = read_plan(Path(options.file))
    settings = plan.model
    with Bundle.open(settings.bundle) as bundle:
        about = About(bundle.manifest.name, bundle.digest, uuid.uuid4().hex[:12])
        if options.check:
            print(json.dumps(described(plan)) if options.json else f"{options.file} is fit to run {about.model}")
            return 0
        runtime = Runtime.open(
            bundle,
            variant=settings.variant,
            backend=settings.backend,
            threads=settings.threads,
            trust=settings.trust or vouched(settings.bundle, pinned_keys(options.key)),
        )

    def say(sentence: str) -> None:
        print(f"edgekit-runtime: {masked(sentence)}", file=sys.stderr, flush=True)

    with runtime:
        watched = Watched(runtime)
        names = [type(s).__name__.lower() for s in plan.sinks]
        outlets = [
            Outlet(n if names.count(n) == 1 else f"{n} {i}", s, sender, say, block=plan.watch.every)
            for i, (n, s, sender) in enumerate(zip(names, plan.sinks, [s.open(about) for s in plan.sinks]), 1)
        ]
        pipeline = Pipeline(plan, watched, about, outlets, say, once=options.once or 0, alive=_beat())
        server = None
        try:
            with _stopping(pipeline.stop):
                if plan.watch.metrics_port:
                    port = plan.watch.metrics_port
                    server = serve_metrics(port, lambda: page(pipeline, watched.monitor, outlets, about))
                counts = pipeline.run()
        except EdgekitError as error:
            if pipeline.hanging:
                say(str(error))
                _report(pipeline, options)
                _leave(error.exit_code)
            raise
        finally:
            if server is not None:
                server.shutdown()
                server.server_close()
            _report(pipeline, options)
        if pipeline.hanging:
            _leave(0)
    return 1 if counts.failed and not counts.answered else 0


def _leave(code: int) -> None:
    """End at once: Python would abort on a thread that a driver or an interpreter still holds."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _report(pipeline: Any, options: argparse.Namespace) -> None:
    counts = pipeline.counts.to_plain()
    if options.json:
        print(json.dumps(counts), file=sys.stderr)
        return
    line = ", ".join(
        f"{counts[n]} {n}" for n in ("seen", "dropped", "skipped", "answered", "failed", "told", "reopened")
    )
    if counts["p50_ms"] is not None:
        line += f"; sample to answer p50 {counts['p50_ms']:.1f} ms, p99 {counts['p99_ms']:.1f} ms"
    for name, found in counts["sinks"].items():
        line += f"; {name}: " + ", ".join(f"{n} {k}" for k, n in found.items() if n or k == "sent")
    print(line, file=sys.stderr)


@contextlib.contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT end the run well; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def handle(number: int, _frame: object) -> None:
        stop()
        signal.signal(number, before[number])

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for held, old in before.items():
            signal.signal(held, old)


def _beat() -> Callable[[str], None]:
    """Tells systemd that we are ready, alive, and what we are about."""
    from edgekit_runtime import notify

    notify.ready()
    told = 0.0

    def alive(status: str) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= 1:
            told = now
            notify.watchdog()
            notify.status(status)

    return alive
