"""Tables on narrow and wide terminals."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgekit.cli.show import table

COLUMNS = [
    ("variant", "left"),
    ("KB", "right"),
    ("exported accuracy", "right"),
    ("runs on", "left"),
    ("ms here", "right"),
]
ROWS = [["tflite-w8a16 ←", "12,345.6", "0.9778", "litert, tflite", "0.024"], ["source", "", "0.9806", "", ""]]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 200])
def test_no_figure_and_no_name_is_ever_cut(width):
    out = Console(width=width, file=io.StringIO())
    table(out, COLUMNS, ROWS)
    lines = [line.split() for line in out.file.getvalue().splitlines()]
    (first,) = [words for words in lines if "tflite-w8a16" in words]
    assert {"tflite-w8a16", "←", "12,345.6", "0.9778", "0.024"} <= set(first)
    words = {w for line in lines for w in line}
    assert {"variant", "KB", "exported", "accuracy", "ms", "here", "litert,", "tflite", "0.9806"} <= words


def test_a_terminal_of_80_columns_holds_an_exports_table():
    columns = [
        ("variant", "left"),
        *((h, "right") for h in ("KB", "accuracy", "top5", "f1", "precision", "drop", "ms here")),
    ]
    out = Console(width=80, file=io.StringIO())
    table(out, columns, [["tflite-w8a16 ←", "34.5", "0.9778", "1.0000", "0.9778", "0.9783", "+0.0000", "0.024"]])
    assert max(map(len, out.file.getvalue().splitlines())) <= 80
