"""`edgekit targets|doctor|demo`: what there is, what works here, and a first look."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def targets_command(
    matrix: Annotated[bool, typer.Option("--matrix", help="show which source becomes which format")] = False,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object to standard output")] = False,
) -> None:
    """List the targets, or the source × format table."""
    from edgekit.cli.show import console, print_json, table
    from edgekit.targets import load_target, target_names

    if matrix:
        from edgekit_converters.registry import FORMATS
        from edgekit_converters.registry import matrix as cells

        found = cells()
        if json:
            print_json({"matrix": found})
            return
        rows = [[name, *("yes" if row[f] else "-" for f in FORMATS)] for name, row in found.items()]
        table(console(False), [("source", "left"), *((f, "left") for f in FORMATS)], rows)
        return
    targets = [load_target(name) for name in target_names()]
    if json:
        print_json(
            {
                "targets": [
                    {
                        "name": t.name,
                        "title": t.title,
                        "formats": list(t.limits.formats),
                        "precisions": list(t.limits.precisions),
                        "python": list(t.python),
                        "extra": t.extra,
                        "notes": list(t.notes),
                    }
                    for t in targets
                ]
            }
        )
        return
    out = console(False)
    columns = [(h, "left") for h in ("target", "device", "formats", "precisions", "Python", "extra")]
    table(
        out,
        columns,
        [
            [
                t.name,
                t.title,
                ", ".join(t.limits.formats),
                ", ".join(t.limits.precisions),
                ", ".join(t.python),
                f"\\[{t.extra}]",
            ]
            for t in targets
        ],
    )
    for t in targets:
        for note in t.notes:
            out.print(f"{t.name}: {note}", soft_wrap=True)


def doctor_command(json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False) -> None:
    """Run a one-operation model on every back end of this machine."""
    from edgekit_runtime.cli import main

    main(["doctor", "--json"] if json else ["doctor"])


def demo_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for the bundles")] = Path("edgekit-demo"),
    json: Annotated[bool, typer.Option("--json", help="print one JSON object to standard output")] = False,
) -> None:
    """Train a small network on handwritten digits and export it for three targets."""
    from edgekit.cli.show import TerminalProgress, console, kilobytes, print_json, table
    from edgekit.demo import TARGETS, run

    out = console(json)
    rows = run(output, TerminalProgress(out))
    out.print()
    table(
        out,
        [
            ("target", "left"),
            ("format", "left"),
            ("precision", "left"),
            ("KB", "right"),
            ("float accuracy", "right"),
            ("exported accuracy", "right"),
            ("ms here", "right"),
        ],
        [
            [
                r.target,
                r.format,
                r.precision,
                kilobytes(r.bytes),
                f"{r.float_accuracy:.4f}",
                f"{r.exported_accuracy:.4f}",
                f"{r.latency_ms:.3f}",
            ]
            for r in rows
        ],
    )
    out.print("[dim]ms here: this machine, not the board. Every bundle passed its self-test here.[/]\n")
    first = output / f"digits-{TARGETS[0]}.edgekit"
    out.print(f"next  edgekit inspect {first}")
    out.print(f"      edgekit run {first} {output / 'digit.png'}")
    out.print(
        f'      on a Pi: pip install "edgekit-runtime\\[litert]" && edgekit-runtime selftest {first.name}',
        soft_wrap=True,
    )
    if json:
        print_json({"rows": [vars(r) for r in rows]})
