"""Rows in which a model's answer hangs on an order that nobody promises: equally near neighbours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgekit_converters.plaincode import reference
from edgekit_converters.plaincode.ir import Answer, Nearest, Program

_TIE = 1e-12


def undecided(program: Program, rows: Any) -> np.ndarray:
    """Whether the last neighbour that counts and the first that does not are equally far away, row by row.

    A program takes the earlier training row then; scikit-learn takes whichever its search tree comes to first, which
    changes with ``algorithm`` and ``leaf_size``. Distances count as equal where they differ by less than a trillionth
    of the row's largest: scikit-learn's brute force rounds them by as much.

    Args:
        program: Any.
        rows: As `reference.run` takes them.

    Returns:
        (rows,) bool.
    """
    found = np.zeros(len(rows), bool)
    for index in program.needed():
        step = program.steps[index]
        if not isinstance(step, Nearest) or step.count >= step.source.width:
            continue
        asked = replace(program, methods={"near": (Answer(step.source),)})
        near = np.sort(reference.run(asked, rows)["near"][0], axis=1)
        found |= near[:, step.count] - near[:, step.count - 1] <= _TIE * near[:, -1]
    return found
