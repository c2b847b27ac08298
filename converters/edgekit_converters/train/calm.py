"""Training libraries without their advice, which is for people who write loops."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

LIGHTNING = ("lightning", "lightning.pytorch", "lightning.fabric")


@contextlib.contextmanager
def calm(*names: str) -> Iterator[None]:
    """No warnings, and only errors of loggers: those of these names, Lightning's where none is given."""
    loggers = [logging.getLogger(name) for name in names or LIGHTNING]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
