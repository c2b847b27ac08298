"""Converters print by the page, from Python and from C++; errors still come as exceptions."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send standard error, at the level of the file descriptor, and Python's standard output to a file nobody keeps.

    Does nothing when logging is set to debug, so that `--debug` users can see it all.
    """
    if logging.root.level == logging.DEBUG:
        yield
        return
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile("w+") as log:
        os.dup2(log.fileno(), 2)
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(log):
                warnings.simplefilter("ignore")
                yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            logging.disable(level)
