"""Names, string literals and comments that stay what they are, whatever a model's features and classes are called."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def camel(name: str) -> str:
    """``predict_proba`` to ``predictProba``."""
    first, *more = [part for part in name.split("_") if part] or [name]
    return first + "".join(pascal(part) for part in more)


def pascal(name: str) -> str:
    """With a capital letter to begin with."""
    return name[:1].upper() + name[1:]


def text_literal(value: str, escape: str) -> str:
    """A string in double quotes, in ASCII.

    Args:
        value: Any text without lone surrogates.
        escape: ``utf16`` (Java, JavaScript, C#), ``go``, or ``braces`` (Rust, PHP, Dart, where $ may begin a variable).
    """
    return '"' + "".join(_character(c, escape) for c in value) + '"'


def _character(character: str, escape: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if 32 <= code < 127 and (character != "$" or escape != "braces"):
        return character
    if escape == "braces":
        return f"\\u{{{code:x}}}"
    if escape == "go":
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def comment_lines(lines: Iterable[str], mark: str) -> str:
    """Line comments that no text can end: no newline, no ``?>`` (the end of PHP), no escape that Java would read."""
    return "".join(f"{mark} {_safe(line)}".rstrip() + "\n" for line in lines)


def _safe(line: str) -> str:
    text = ascii(line)[1:-1].replace("\\", "\\\\")
    return re.sub(r"\?>|\*/|</", lambda match: " ".join(match[0]), text)
