"""Targets and the source × format table, from the registries of this repository."""

from __future__ import annotations

from edgekit.targets import load_target
from edgekit.targets.registry import FAMILIES, REFUSED, TARGETS
from edgekit_converters.registry import FORMATS, SOURCES, WAYS_ROUND, matrix, source_kinds
from generators import NOTICE
from generators.docstrings import table


def targets() -> str:
    """What `edgekit targets` and `edgekit targets --matrix` print, with the facts behind it."""
    found = [load_target(name) for name in TARGETS]
    rows = [
        [
            f"`{t.name}`",
            t.title,
            ", ".join(t.limits.formats),
            ", ".join(t.limits.precisions),
            ", ".join(t.python),
            f"`edgekit-runtime[{t.extra}]`",
        ]
        for t in found
    ]
    limits = [
        [
            f"`{t.name}`",
            "; ".join(f"{f}: {', '.join(b)}" for f, b in t.backends.items()),
            str(t.limits.max_opset) if "onnx" in t.limits.formats else "",
            "int8" if t.limits.integer_io else "float",
            f"{t.limits.memory_bytes / 2**20:,.0f}" if t.limits.memory_bytes else "",
        ]
        for t in found
    ]
    families: dict[str, list[str]] = {}
    for family, member in FAMILIES.items():
        families.setdefault(member, []).append(f"`{family}`")
    said = [f"- {', '.join(names)}: `{member}`\n" for member, names in families.items()]
    cells, kinds = matrix(), source_kinds()
    sources = [
        [f"`{name}`", *("yes" if cells[name][f] else "-" for f in FORMATS), f"`edgekit[{kinds[name].extra}]`"]
        for name in SOURCES
    ]
    return "".join(
        [
            f"# Targets, sources and formats\n\n{NOTICE}\n## Targets\n\nFormats and precisions are in order of",
            " preference.\n\n",
            table(["target", "device", "formats", "precisions", "its Python", "install there"], rows),
            "\nBack ends are tried in order; memory is what a model may need, in MiB.\n\n",
            table(["target", "back ends", "highest ONNX opset", "ends of an int8 model", "memory"], limits),
            "".join(f"\n- `{t.name}`: {note}" for t in found for note in t.notes),
            "\n\nNames of families stand for a member, and `edgekit export` says which:\n\n",
            *said,
            "\nRefused, with the reason:\n\n",
            *(f"- `{name}`: {reason}\n" for name, reason in REFUSED.items()),
            "\n## Source × format\n\n",
            table(["source", *FORMATS, "needs"], sources),
            *(f"\nNot from {a} to {b}: {way}.\n" for (a, b), way in WAYS_ROUND.items()),
        ]
    )
