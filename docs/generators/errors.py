"""Exit codes and error classes, from the classes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

# imported so that their classes are found as subclasses
import edgekit.errors  # noqa: F401
import edgekit_converters.errors  # noqa: F401
from edgekit.cli import INTERRUPTED
from edgekit_runtime.errors import EdgekitError
from generators import NOTICE
from generators.docstrings import markdown, table

CODES = {
    0: "done",
    1: "failed",
    2: "bad usage: the request itself is wrong; nothing was done",
    3: "contract broken: the work was done, but it is not as good as was asked for",
    4: "something needed is missing: the line that installs it is printed",
    INTERRUPTED: "interrupted with Ctrl-C; nothing half-written is left",
}


def errors() -> str:
    """Codes, then each class of error with the code it exits with."""
    rows = [
        [f"`{c.__name__}`", str(c.exit_code), c.__module__.split(".")[0], _first(c)] for c in _classes(EdgekitError)
    ]
    assert all(int(code) in CODES for _, code, _, _ in rows)
    return (
        f"# Errors and exit codes\n\n{NOTICE}\nAn error is one sentence on standard error: what, where, what to do. "
        "`--debug` shows the traceback. What to do about the common ones: "
        "[troubleshooting](../guide/troubleshooting.md).\n\n"
        + table(["exit code", "meaning"], [[str(code), meaning] for code, meaning in CODES.items()])
        + "\nIn Python every error is an `EdgekitError` with `message`, `hint` and `exit_code`:\n\n"
        + table(["class", "exit code", "package", "meaning"], rows)
    )


def _classes(cls: type[EdgekitError]) -> Iterator[type[EdgekitError]]:
    yield cls
    for sub in sorted(cls.__subclasses__(), key=lambda c: (c.__module__, c.__name__)):
        yield from _classes(sub)


def _first(cls: type) -> str:
    return markdown((inspect.getdoc(cls) or "").split("\n\n")[0])
