"""What a terminal shows, however narrow: no name or figure is cut."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgekit.cli.show import table


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_no_name_or_figure_is_cut(width):
    out = io.StringIO()
    columns = [("target", "left"), ("format", "left"), ("exported accuracy", "right"), ("ms here", "right")]
    table(Console(file=out, width=width), columns, [["jetson-orin", "tflite", "0.97781", "1,234.567"]])
    for word in ("jetson-orin", "tflite", "0.97781", "1,234.567", "exported", "accuracy"):
        assert word in out.getvalue()
