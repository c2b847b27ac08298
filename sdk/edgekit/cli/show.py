"""How results look in a terminal; people's output goes to standard error when `--json` is on."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.progress import Progress, Stage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar


_WIDEST = 1000


def console(as_json: bool) -> Console:
    """The console for people: standard output, or standard error where standard output holds the JSON."""
    from rich.console import Console

    return Console(stderr=as_json, highlight=False)


def print_json(data: Mapping[str, Any]) -> None:
    """One object to standard output."""
    json.dump(data, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def table(out: Console, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A table; `columns` are (heading, ``left`` or ``right``)."""
    from rich.box import SIMPLE_HEAD
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", padding=(0, 1, 0, 0))
    for number, (heading, justify) in enumerate(columns):
        # lines break between words, never within: a narrow terminal must not show "tfli te"
        words = [w for text in (heading, *(row[number] for row in rows)) for w in Text.from_markup(text).plain.split()]
        longest = max(map(len, words), default=0)
        drawn.add_column(heading, justify="right" if justify == "right" else "left", min_width=longest, overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    # in a terminal that is narrower still, lines are too long rather than figures cut
    least = Measurement.get(out, out.options.update(max_width=_WIDEST), drawn).minimum
    drawn.width = least if least > out.width else None
    out.print(drawn, crop=False)


def kilobytes(size: int) -> str:
    """Bytes as KB of 1,000 with a thousands separator."""
    return f"{size / 1000:,.1f}"


class TerminalProgress(Progress):
    """One line per finished stage, a bar under the one that runs."""

    def __init__(self, out: Console) -> None:
        super().__init__()
        self._out = out
        self._bar: Bar | None = None

    def started(self, stage: Stage) -> None:
        from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as Bar

        if not self._out.is_terminal:
            return
        bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            console=self._out,
            transient=True,
        )
        task = bar.add_task(f"{stage.name} · {stage.subject}", total=None)
        stage.advance = lambda done, total: bar.update(task, completed=done, total=total)
        bar.start()
        self._bar = bar

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def finished(self, stage: Stage) -> None:
        from rich.markup import escape

        self._stop()
        file = ""
        if stage.file is not None:
            file = f"  {stage.file.name} ({kilobytes(stage.file.stat().st_size)} KB)"
        note = f"  {stage.note}" if stage.note else ""
        self._out.print(
            f"[green]✓[/] {stage.name:<14} {escape(stage.subject)}{escape(file)}[dim]{escape(note)}  "
            f"{stage.seconds:.1f} s[/]",
            soft_wrap=True,
        )

    def failed(self, stage: Stage) -> None:
        from rich.markup import escape

        self._stop()
        self._out.print(f"[red]✗[/] {stage.name:<14} {escape(stage.subject)}", soft_wrap=True)

    def say(self, remark: str) -> None:
        from rich.markup import escape

        self._out.print(f"[yellow]![/] {escape(remark)}", soft_wrap=True)
