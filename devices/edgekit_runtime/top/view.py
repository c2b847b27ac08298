"""Readings as lines of text that fit a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable, Optional

from edgekit_runtime.top.reading import Reading, Row, rows

_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "reverse": "7"}
_GAP = "  "
_BAR = 12
_HOT, _WARM = 0.9, 0.7


@dataclass(frozen=True)
class Style:
    """What the terminal can show.

    Attributes:
        width: Columns.
        height: Lines; None for as many as there are.
        colour: Whether ANSI colours are shown.
        unicode: Whether it shows more than ASCII.
    """

    width: int = 80
    height: Optional[int] = None
    colour: bool = False
    unicode: bool = True

    def paint(self, text: str, *how: str) -> str:
        """`text` in colours, where there are some."""
        if not self.colour or not how or not text:
            return text
        return f"\x1b[{';'.join(_COLOURS[h] for h in how)}m{text}\x1b[0m"


@dataclass(frozen=True)
class _Column:
    title: str
    text: Callable[[Row], str]
    worth: int  # the least worthy column goes first where the terminal is narrow
    left: bool = False
    colour: Callable[[Row], tuple[str, ...]] = lambda _: ()


def plain(text: str, style: Style) -> str:
    """What a server says, without anything that a terminal would obey."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if style.unicode else shown.encode("ascii", "replace").decode()


def rate(value: Optional[float]) -> str:
    """Per second, in four characters or so."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def milliseconds(value: Optional[float], recent: bool = True) -> str:
    """A time; in parentheses where it is not of now."""
    if value is None:
        return "-"
    text = ">10 s" if math.isinf(value) else f"{value:.0f}" if value >= 100 else f"{value:.1f}"
    return text if recent else f"({text})"


def duration(seconds: float) -> str:
    """The two largest units of a time."""
    minutes = int(seconds // 60)
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def size(amount: float) -> str:
    """Bytes."""
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if amount >= 100 else f"{amount:.1f} {unit}"


_COLUMNS = (
    _Column("REQ/S", lambda r: rate(r.rate), 9, colour=lambda r: ("bold",) if r.rate else ("dim",)),
    _Column("ERR/S", lambda r: rate(r.error_rate), 8, colour=lambda r: ("red", "bold") if r.error_rate else ("dim",)),
    _Column("P50 MS", lambda r: milliseconds(r.p50_ms, r.recent), 7, colour=lambda r: () if r.recent else ("dim",)),
    _Column("P90 MS", lambda r: milliseconds(r.p90_ms, r.recent), 3, colour=lambda r: () if r.recent else ("dim",)),
    _Column("P99 MS", lambda r: milliseconds(r.p99_ms, r.recent), 6, colour=lambda r: () if r.recent else ("dim",)),
    _Column("QUEUE", lambda r: milliseconds(r.wait_ms, r.recent), 4, colour=lambda r: () if r.recent else ("dim",)),
    _Column("EST.ACC", lambda r: "-" if r.model.accuracy is None else f"{r.model.accuracy:.1%}", 2),
    _Column("DIGEST", lambda r: r.model.digest[:8] or "-", 1, left=True, colour=lambda _: ("dim",)),
    _Column("RUNS", lambda r: r.model.running or r.model.state.lower(), 5, left=True),
)


def page(name: str, readings: Sequence[Reading], style: Style, clock: str = "") -> list[str]:
    """The whole view.

    Args:
        name: The server's address.
        readings: The last one and those before it that rates are over.
        style: What the terminal can show; no line is longer than its width, and there are no more than its height.
        clock: Shown in the corner.
    """
    now = readings[-1]
    found = rows(readings)
    lines = [_title(name, now, style, clock), *_device(now, style), ""]
    table = _table(found, style)
    lines += table or [style.paint("no model is served", "dim")]
    if any(not r.recent and r.p50_ms is not None for r in found):
        lines += ["", style.paint(_cut("(in parentheses: since the start; nobody asked lately)", style), "dim")]
    if style.height is not None and len(lines) > style.height:
        left = len(lines) - style.height + 1
        lines = [*lines[: style.height - 1], style.paint(_cut(f"and {left} more lines", style), "dim")]
    return lines


def _title(name: str, now: Reading, style: Style, clock: str) -> str:
    dot = " · " if style.unicode else " - "
    state = "ready" if now.ready else "not ready"
    head = f"edgekit-runtime {plain(now.version, style)}{dot}{plain(name, style)}{dot}"
    room = style.width - len(head) - len(state) - len(clock) - 1
    if room < 0:
        return style.paint(_cut(f"{state}{dot}{plain(name, style)}", style), "green" if now.ready else "red", "bold")
    return (
        style.paint(head, "bold")
        + style.paint(state, "green" if now.ready else "red", "bold")
        + " " * (room + 1)
        + style.paint(clock, "dim")
    )


def _device(now: Reading, style: Style) -> list[str]:
    """The board in as few lines as its gauges need."""
    said = now.device
    parts: list[tuple[str, str]] = []  # as shown, and without colours
    if "cpu_busy_ratio" in said:
        parts.append(_bar("CPU", said["cpu_busy_ratio"], f"{said['cpu_busy_ratio']:.0%}", style))
    elif "load1" in said:
        parts.append(_words(f"load {said['load1']:.2f}", style))
    if "gpu_busy_ratio" in said:
        parts.append(_bar("GPU", said["gpu_busy_ratio"], f"{said['gpu_busy_ratio']:.0%}", style))
    for title, whole, free in (
        ("RAM", "memory_bytes", "memory_available_bytes"),
        ("disk", "disk_bytes", "disk_free_bytes"),
    ):
        if said.get(whole) and free in said:
            used = said[whole] - said[free]
            parts.append(_bar(title, used / said[whole], f"{size(used)} of {size(said[whole])}", style))
    if now.temperatures:
        zone, degrees = max(now.temperatures.items(), key=lambda t: t[1])
        unit = "°C" if style.unicode else "C"
        text = f"{degrees:.0f} {unit} {plain(zone, style)}"
        parts.append(_words(text, style, *(("red",) if degrees >= 80 else ("yellow",) if degrees >= 70 else ())))
    if "uptime_seconds" in said:
        parts.append(_words(f"up {duration(said['uptime_seconds'])}", style))
    for flag in now.throttling:
        past = flag.endswith("since_boot")
        parts.append(_words(plain(flag.replace("_", " "), style), style, "yellow" if past else "red"))
    lines: list[str] = []
    width = 0
    for shown, bare in parts:
        text = bare[: style.width]
        if lines and width + 3 + len(text) <= style.width:
            lines[-1] += f"   {shown}"
            width += 3 + len(text)
        else:
            lines.append(shown if len(bare) <= style.width else text)
            width = len(text)
    return lines


def _bar(title: str, share: float, text: str, style: Style) -> tuple[str, str]:
    full, empty = ("█", "░") if style.unicode else ("#", ".")
    share = min(max(share, 0.0), 1.0) if share == share else 0.0  # noqa: PLR0124 - NaN alone differs
    filled = round(share * _BAR)
    colour = "red" if share >= _HOT else "yellow" if share >= _WARM else "green"
    bar = style.paint(full * filled, colour) + style.paint(empty * (_BAR - filled), "dim")
    return f"{title} {bar} {text}", f"{title} {full * filled}{empty * (_BAR - filled)} {text}"


def _words(text: str, style: Style, *how: str) -> tuple[str, str]:
    return style.paint(text, *how), text


def _table(found: Sequence[Row], style: Style) -> list[str]:
    if not found:
        return []
    names = [plain(r.model.name, style) for r in found]
    first = max(5, min(max(map(len, names)), max(8, style.width // 3)))
    columns = list(_COLUMNS)
    cells = {c.title: [plain(c.text(r), style) for r in found] for c in columns}
    if all(r.model.accuracy is None for r in found):
        columns = [c for c in columns if c.title != "EST.ACC"]

    def needed(column: _Column) -> int:
        return max(len(column.title), *map(len, cells[column.title]))

    def total() -> int:
        return first + sum(len(_GAP) + needed(c) for c in columns)

    while columns and total() > style.width:
        columns.remove(min(columns, key=lambda c: c.worth))
    lines = [style.paint(_cut(_joined("MODEL".ljust(first), [_aligned(c.title, c, needed(c)) for c in columns]), style),
                         "bold")]  # fmt: skip
    for index, row in enumerate(found):
        painted = [style.paint(_aligned(cells[c.title][index], c, needed(c)), *c.colour(row)) for c in columns]
        name = _shortened(names[index], first).ljust(first)
        lines.append(_joined(_cut(name, style), painted).rstrip())
        lines += _remarks(row, style)
    return lines


def _remarks(row: Row, style: Style) -> list[str]:
    """What is wrong with a model, each in a line below it."""
    said = []
    if row.model.reason:
        word = "degraded" if row.model.state == "READY" else row.model.state.lower()
        said.append((f"{word}: {row.model.reason}", "yellow" if row.model.state == "READY" else "red"))
    if row.model.drifted:
        said.append((f"drift: {', '.join(row.model.drifted)}", "yellow"))
    return [style.paint(_cut(f"  ! {plain(text, style)}", style), colour) for text, colour in said]


def _aligned(text: str, column: _Column, width: int) -> str:
    return text.ljust(width) if column.left else text.rjust(width)


def _joined(first: str, others: Sequence[str]) -> str:
    return _GAP.join([first, *others])


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}~"


def _cut(text: str, style: Style) -> str:
    return _shortened(text, max(style.width, 1))


def line(row: Row, clock: str) -> str:
    """One model as one line, for a terminal that can only be written to from top to bottom."""
    style = Style()
    words = [
        f"{clock} {plain(row.model.name, style)}",
        f"{rate(row.rate)} req/s",
        f"{rate(row.error_rate)} err/s",
        f"p50 {milliseconds(row.p50_ms, row.recent)}",
        f"p90 {milliseconds(row.p90_ms, row.recent)}",
        f"p99 {milliseconds(row.p99_ms, row.recent)} ms",
        plain(row.model.running or row.model.state.lower(), style),
        row.model.digest[:8] and plain(row.model.digest[:8], style),
        plain(row.model.reason, style),
        f"drift: {plain(', '.join(row.model.drifted), style)}" if row.model.drifted else "",
    ]
    return "  ".join(w for w in words if w)
