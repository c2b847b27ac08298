"""Training curves: a PNG for people's notes, and a page of its own in the report's style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgekit_runtime.atomic import replacing

Curves = Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]
"""Chart title to curve name to points of (epoch, value)."""

WIDTH, HEIGHT, MARGIN = 360, 200, 44


def draw_png(path: Path, curves: Curves, best: int) -> None:
    """One chart a metric side by side; a line at the epoch that was kept.

    Args:
        path: The file to make.
        curves: What to draw.
        best: The epoch that was kept.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and looks for a screen

    figure = Figure(figsize=(4.5 * max(len(curves), 1), 3.4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for place, (title, lines) in enumerate(curves.items(), 1):
        axes = figure.add_subplot(1, len(curves), place)
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 40 else None)
        axes.axvline(best, color="0.6", linewidth=1, linestyle=":")
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.legend(frameon=False)
    with replacing(path) as out:
        canvas.print_png(out)


def write_page(path: Path, title: str, curves: Curves, facts: Sequence[tuple[str, str]], best: int) -> None:
    """A page with the curves as inline SVG and the run's settings and figures as a table.

    Args:
        path: The file to make.
        title: Heading.
        curves: What to draw.
        facts: Rows of the table: name and value.
        best: The epoch that was kept.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("edgekit.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = files("edgekit.report").joinpath("templates/report.css").read_text("utf-8")
    charts = [_chart(name, lines, best) for name, lines in curves.items()]
    page = environment.get_template("curves.html").render(
        title=title, style=style, charts=charts, facts=facts, width=WIDTH, height=HEIGHT, margin=MARGIN
    )
    with replacing(path) as out:
        out.write(page.encode())


def _chart(title: str, lines: Mapping[str, Sequence[tuple[int, float]]], best: int) -> dict[str, Any]:
    epochs = [e for points in lines.values() for e, _ in points]
    values = [v for points in lines.values() for _, v in points]
    first, last, low, high = min(epochs), max(epochs), min(values), max(values)

    def place(epoch: float, value: float) -> tuple[float, float]:
        across = MARGIN + (epoch - first) / max(last - first, 1) * (WIDTH - 2 * MARGIN)
        down = HEIGHT - MARGIN / 2 - (value - low) / ((high - low) or 1.0) * (HEIGHT - MARGIN)
        return round(across, 1), round(down, 1)

    drawn = [
        {"name": name, "points": " ".join(f"{x},{y}" for x, y in (place(e, v) for e, v in points))}
        for name, points in lines.items()
    ]
    return {
        "title": title, "lines": drawn, "best": place(best, low)[0], "first": first, "last": last,
        "low": f"{low:.4g}", "high": f"{high:.4g}",
    }  # fmt: skip
