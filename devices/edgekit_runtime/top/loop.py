"""Looks again and again, and shows it: drawn, in lines, or as JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from collections import deque
from typing import Any, Optional

from edgekit_runtime.errors import EdgekitError, UsageError
from edgekit_runtime.top import screen
from edgekit_runtime.top.link import Link
from edgekit_runtime.top.reading import Reading, read, rows
from edgekit_runtime.top.view import Style, line, page, plain

_SPAN = 30.0  # seconds that rates and times are over


def run(options: argparse.Namespace) -> int:
    """Watch until told to stop."""
    from edgekit_runtime.serve.server import read_token

    if not 0.05 <= options.interval <= 3600:
        raise UsageError(f"--interval {options.interval:g} is not between 0.05 and 3600")
    link = Link(options.url, options.socket, read_token(options.token_file))
    if options.once:
        return _once(link, options)
    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(KeyboardInterrupt, _Told):
        if screen.capable() and not options.json:
            _live(link, options.interval)
        else:
            _lines(link, options)
    return 0


class _Told(BaseException):
    """SIGTERM."""


def _end(number: int, frame: Any) -> None:
    raise _Told


def _once(link: Link, options: argparse.Namespace) -> int:
    first = read(link)
    time.sleep(options.interval)
    readings = [first, read(link)]
    if options.json:
        print(json.dumps(as_plain(readings)))
        return 0
    shown = screen.style()
    for text in page(link.name, readings, Style(shown.width, None, shown.colour, shown.unicode)):
        print(text)
    return 0


def _live(link: Link, interval: float) -> None:
    readings: deque[Reading] = deque()
    problem: Optional[str] = None

    def redraw() -> None:
        style = screen.style()
        clock = time.strftime("%H:%M:%S")
        lines = []
        if problem is not None:
            lines = [style.paint(plain(problem, style)[: style.width], "red", "bold"), "trying again; q ends"]
        room = Style(style.width, max((style.height or 24) - len(lines), 1), style.colour, style.unicode)
        screen.draw([*lines, *(page(link.name, readings, room, clock) if readings else ())][: style.height])

    with screen.drawing():
        while True:
            try:
                _keep(readings, read(link))
                problem = None
            except EdgekitError as error:
                problem = str(error)
            redraw()
            if not screen.wait(interval, redraw):
                return


def _lines(link: Link, options: argparse.Namespace) -> None:
    readings: deque[Reading] = deque()
    said = ""
    while True:
        try:
            _keep(readings, read(link))
            if options.json:
                print(json.dumps(as_plain(readings)), flush=True)
            else:
                for row in rows(readings):
                    print(line(row, time.strftime("%H:%M:%S")), flush=True)
            said = ""
        except EdgekitError as error:
            if str(error) != said:  # once, not every other second
                print(f"edgekit-runtime: {error}; trying again", file=sys.stderr, flush=True)
            said = str(error)
        time.sleep(options.interval)


def _keep(readings: deque[Reading], latest: Reading) -> None:
    readings.append(latest)
    while len(readings) > 2 and readings[-1].at - readings[1].at >= _SPAN:
        readings.popleft()


def as_plain(readings: Any) -> dict[str, Any]:
    """The last reading as JSON data."""
    now = readings[-1]
    return {
        "version": now.version,
        "ready": now.ready,
        "models": [r.to_plain() for r in rows(readings)],
        "device": {**now.device, "temperatures": dict(now.temperatures), "throttling": list(now.throttling)},
    }
