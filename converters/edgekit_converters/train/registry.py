"""Which trainer a task has: a lazy table; entry points (group ``edgekit.trainers``) add to it."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from edgekit_converters.errors import UsageError
from edgekit_converters.train.trainer import Trainer

TRAINERS = {
    "image": "edgekit_converters.train.vision:TRAINER",
    "audio": "edgekit_converters.train.audio:TRAINER",
    "sensor": "edgekit_converters.train.sensor:TRAINER",
    "detection": "edgekit_converters.train.detection:TRAINER",
    "text": "edgekit_converters.train.text:TRAINER",
    "table": "edgekit_converters.train.table:TRAINER",
}


def _table() -> dict[str, str]:
    return {**TRAINERS, **{e.name: e.value for e in entry_points(group="edgekit.trainers")}}


def tasks() -> tuple[str, ...]:
    """Every registered task, ours first."""
    return tuple(_table())


def trainer_for(task: str) -> Trainer:
    """The trainer of a task.

    Raises:
        UsageError: There is none.
    """
    table = _table()
    if task not in table:
        raise UsageError(f"there is no task {task!r:.40} to train for", f"there are {', '.join(table)}")
    module, attribute = table[task].split(":")
    found: Trainer = getattr(importlib.import_module(module), attribute)
    return found
