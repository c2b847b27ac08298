"""`edgekit deploy` and `edgekit benchmark --host`: the user's own board over ssh."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.remote.deploy import Plan
    from edgekit.remote.transport import Transport

Host_ = Annotated[
    str, typer.Option(help="[user@]host as ssh takes it, or a name of your ssh_config; local:FOLDER for a trial here")
]
SshOption_ = Annotated[
    list[str] | None, typer.Option("--ssh-option", help="as ssh -o takes it, for example Port=2222; repeatable")
]
Wheelhouse_ = Annotated[
    Path | None, typer.Option(help="folder of wheels for the board, where this workstation is offline too")
]
Python_ = Annotated[str | None, typer.Option("--python", help="the only Python of the board that will do, as 3.11")]


@dataclass(frozen=True)
class Way:
    """How a board is reached and prepared.

    Attributes:
        host: As the user named it.
        ssh_options: For ssh.
        wheelhouse: Folder of wheels, or None for the index.
        python: The only Python that will do.
        backend: The only back end that will do.
    """

    host: str
    ssh_options: Sequence[str]
    wheelhouse: Path | None
    python: str | None
    backend: str | None


@contextmanager
def planned(bundle: Path, way: Way, out: Console) -> Iterator[tuple[Transport, Plan]]:
    """Connect and make the plan; the connection ends with the block."""
    from edgekit.remote.deploy import plan
    from edgekit.remote.transport import connect

    with connect(way.host, way.ssh_options) as transport:
        with out.status(f"looking at {way.host}"):
            found = plan(transport, bundle, wheelhouse=way.wheelhouse, python=way.python, backend=way.backend)
        yield transport, found


def deploy_command(
    bundle: Annotated[Path, typer.Argument(help="the .edgekit file")],
    host: Host_,
    ssh_option: SshOption_ = None,
    wheelhouse: Wheelhouse_ = None,
    python: Python_ = None,
    variant: Annotated[str | None, typer.Option(help="variant to test; the chosen one by default")] = None,
    backend: Annotated[
        str | None, typer.Option(help="the only back end that will do: litert, tflite, onnx, plain")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="let native code in the bundle run there")] = False,
    key: Annotated[list[str] | None, typer.Option(help="public key: native code it signed may run there")] = None,
    store: Annotated[
        str | None, typer.Option(help="folder of the agent's store there; it is looked for where agents have it")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what would be done; nothing is changed")] = False,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object to standard output")] = False,
) -> None:
    """Bring a bundle and what runs it to a board over ssh, and self-test it there."""
    import shlex

    from edgekit.cli.show import console, print_json
    from edgekit.remote.deploy import ask_runtime, carry_out, put

    out = console(json)
    options = chosen_there(bundle, variant, backend, trust=trust, keys=key)
    with planned(bundle, Way(host, ssh_option or (), wheelhouse, python, backend), out) as (transport, plan):
        for line in plan.lines():
            out.print(line, markup=False, soft_wrap=True)
        answer: dict[str, object] = {
            "host": host,
            "board": asdict(plan.board),
            "python": plan.needs.python.full,
            "environment": plan.venv,
            "interpreters": list(plan.needs.interpreters),
            "bundle": plan.bundle.destination,
            "digest": plan.digest,
            "notes": list(plan.needs.notes),
            "to_send": plan.missing,
        }
        if dry_run:
            if json:
                print_json({**answer, "done": False})
            return
        sent = carry_out(transport, plan, lambda line: out.print(line, markup=False, soft_wrap=True))
        with out.status("self-test on the board"):
            tested = ask_runtime(transport, plan, "selftest", options)
        placed = put(transport, plan, bundle, store)
    native = " --trust" if "--trust" in options else ""
    program = f"{plan.venv}/bin/edgekit-runtime"
    command = f"{shlex.quote(program)} serve {shlex.quote(plan.bundle.destination)}{native}"
    if json:
        done = {"done": True, "sent": sent, "selftest": tested, "placed": asdict(placed), "command": command}
        print_json({**answer, **done})
        return
    emulated = f" (on {plan.board.emulator}, which is not the board)" if plan.board.emulator else ""
    out.print(
        f"self-test passed there{emulated}: {tested['variant']} on {tested['backend']}, "
        f"{tested['samples']} golden samples; {sent / 1e6:,.1f} MB sent",
        markup=False,
        soft_wrap=True,
    )
    out.print(placed.words, markup=False, soft_wrap=True)
    if not placed.loaded:
        out.print(f"run it there: {command}", markup=False, soft_wrap=True)


def chosen_there(
    bundle: Path, variant: str | None, backend: str | None, *, trust: bool, keys: Sequence[str] | None
) -> list[str]:
    """Options of ``edgekit-runtime`` on the board; a signature is checked here, where the keys are."""
    from edgekit_runtime.native import vouched
    from edgekit_runtime.signing import pinned_keys

    trusted = trust or vouched(bundle, pinned_keys(keys or ()))
    return [f"--{n}={v}" for n, v in (("variant", variant), ("backend", backend)) if v] + ["--trust"] * trusted


def benchmark_there(bundle: Path, way: Way, options: Sequence[str], as_json: bool) -> None:
    """`edgekit benchmark --host`: deploy if need be, time it there, keep and print it."""
    from edgekit.cli.show import console, print_json, table
    from edgekit.remote.deploy import carry_out
    from edgekit.remote.measure import measure, refuse_emulated, side_by_side
    from edgekit_runtime.benchmark import in_words, sidecar_path

    out = console(as_json)
    with planned(bundle, way, out) as (transport, plan):
        refuse_emulated(plan.board, transport.name)
        carry_out(transport, plan, lambda line: out.print(line, markup=False, soft_wrap=True))
        with out.status("timing on the board"):
            result = measure(transport, plan, bundle, options)
    if as_json:
        print_json(asdict(result))
        return
    for line in in_words(result):
        out.print(line, markup=False, soft_wrap=True)
    out.print("estimate: there is none for this target; measured is what counts")
    rows = [
        [
            str(r.get("host") or "here"),
            str(r["variant"]),
            str(r["backend"]),
            str(r.get("threads") or "-"),
            *(f"{r[n]:.3f}" for n in ("p50_ms", "p90_ms", "p99_ms")),
        ]
        for r in side_by_side(bundle, plan.digest)
    ]
    columns = [(n, "left") for n in ("measured on", "variant", "back end", "threads")]
    table(out, [*columns, *((n, "right") for n in ("p50 ms", "p90 ms", "p99 ms"))], rows)
    out.print(f"kept in {sidecar_path(bundle)}", markup=False, soft_wrap=True)
