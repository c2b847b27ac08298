"""A terminal that is drawn on in place, and is as it was afterwards."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Callable

from edgekit_runtime.top.view import Style

_LOOK = 0.2  # seconds between looks at the keyboard and the terminal's size


def style() -> Style:
    """What standard output shows (https://no-color.org)."""
    width, height = shutil.get_terminal_size()
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    return Style(max(width, 20), max(height, 4), colour, encoding.startswith("utf"))


def capable() -> bool:
    """Whether standard output is a terminal that can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """The other screen, without a cursor; keys come at once and are not shown."""
    restore = _keys_at_once()
    sys.stdout.write("\x1b[?1049h\x1b[?25l")
    try:
        yield
    finally:
        sys.stdout.write("\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()
        restore()


def draw(lines: Sequence[str]) -> None:
    """One picture in one write, over the one before: nothing is cleared first, so nothing flickers."""
    sys.stdout.write("\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J")
    sys.stdout.flush()


def wait(seconds: float, redraw: Callable[[], None]) -> bool:
    """Pass the time; False when a key says to end. Draws again when the terminal's size changes."""
    until, before = time.monotonic() + seconds, shutil.get_terminal_size()
    while (left := until - time.monotonic()) > 0:
        if sys.stdin.isatty():
            if select.select([sys.stdin], [], [], min(left, _LOOK))[0]:
                key = os.read(sys.stdin.fileno(), 1)
                if key in (b"q", b"Q", b"\x03", b""):
                    return False
        else:
            time.sleep(min(left, _LOOK))
        if (now := shutil.get_terminal_size()) != before:
            before = now
            redraw()
    return True


def _keys_at_once() -> Callable[[], Any]:
    if not sys.stdin.isatty():
        return lambda: None
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    return lambda: termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
