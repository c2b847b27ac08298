"""What a pass leaves: a new file, and a record of how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgekit_converters.recipe import Converted, Pass, PassContext
from edgekit_runtime.plain import encode


def new_file(context: PassContext, model: Converted, name: str) -> Path:
    """Path for a pass's result, never that of its input.

    Args:
        context: Gives the folder.
        model: The input.
        name: File name wanted; a number is put in where the input has that name already.
    """
    target = context.folder / name
    number = 2
    while target.resolve() == model.path.resolve():
        target = context.folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
        number += 1
    return target


def recorded(made_by: Pass, model: Converted, tools: Mapping[str, str]) -> Converted:
    """The model with the pass, its settings and the tools that took part written down."""
    entry = {"pass": made_by.name, **encode(made_by)}
    return replace(model, recipe=(*model.recipe, entry), tools={**model.tools, **tools})
