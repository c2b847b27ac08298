"""Reads Prometheus' text format 0.0.4, strictly: what a page may not have is an error, never a guess."""

from __future__ import annotations

import re

from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.monitor.prometheus import Family

_HEAD = re.compile(r"# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*)(?: (.*))?")
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]*(\{.*\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\["\\n])*)"\s*(,|$)')
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?Inf|NaN")
_KINDS = ("counter", "gauge", "histogram", "summary", "untyped")
_PARTS = {"histogram": ("_bucket", "_sum", "_count", ""), "summary": ("_sum", "_count", "")}


class ScrapeError(EdgekitError):
    """The page is not in Prometheus' text format."""


def parse(text: str) -> dict[str, Family]:
    """The families of a page, by name; those without a TYPE are ``untyped``.

    Raises:
        ScrapeError: A line is not of the format, a family has two types or comes after its samples, or a sample is
            there twice.
    """
    found: dict[str, Family] = {}
    seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            if line.startswith("#"):
                _comment(line, found)
                continue
            whole = _SAMPLE.fullmatch(line)
            if whole is None:
                raise ValueError("is not a sample")
            name, labels, value = whole[1], _labels(whole[2] or "{}"), _value(whole[3])
            key = (name, tuple(sorted(labels.items())))
            if key in seen:
                raise ValueError("is there twice")
            seen.add(key)
            family, suffix = _family(name, found)
            family.samples.append((suffix, labels, value))
        except ValueError as error:
            raise ScrapeError(f"line {number} of the metrics ({line[:60]!r}) {error}") from error
    return {n: f for n, f in found.items() if f.samples}


def _comment(line: str, found: dict[str, Family]) -> None:
    if not line.startswith(("# HELP ", "# TYPE ")):
        return
    head = _HEAD.fullmatch(line)
    if head is None:
        raise ValueError("names no metric")
    what, name, rest = head.groups(default="")
    family = found.setdefault(name, Family(name, "untyped", ""))
    if what == "HELP":
        family.about = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], rest)
    elif rest not in _KINDS:
        raise ValueError("is of no known type")
    elif family.kind != "untyped" or family.samples:
        raise ValueError("gives a type again or too late")
    else:
        family.kind = rest


def _family(name: str, found: dict[str, Family]) -> tuple[Family, str]:
    for suffix in ("_bucket", "_sum", "_count"):
        base = found.get(name[: -len(suffix)]) if name.endswith(suffix) else None
        if base is not None and suffix in _PARTS.get(base.kind, ()):
            return base, suffix
    return found.setdefault(name, Family(name, "untyped", "")), ""


def _labels(text: str) -> dict[str, str]:
    inside, labels = text[1:-1].rstrip(), {}
    at = 0
    while at < len(inside):
        one = _LABEL.match(inside, at)
        if one is None or one[1] in labels:
            raise ValueError("has a label that is none")
        labels[one[1]] = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], one[2])
        at = one.end()
    return labels


def _value(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError("has no number")
    return float(text)
