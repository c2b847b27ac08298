"""`edgekit fleet serve|devices|remove|status|watch`: who runs what, and how it fares."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli import rollout
from edgekit.cli.bundles import Json_
from edgekit.cli.rollout import Ca_, Data_, Insecure_, Server_, Token_

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(help="Keep many devices: who runs what, how it fares, new bundles and back.", no_args_is_help=True)
app.add_typer(rollout.app, name="rollout")


@app.command("serve")
def serve_command(
    data: Data_ = Path("edgekit-fleet"),
    host: Annotated[str, typer.Option(help="interface to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port; 0 for one that is free", min=0, max=65535)] = 8443,
    cert: Annotated[Path | None, typer.Option(help="PEM file of the certificate and its chain")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of the certificate's private key")] = None,
    insecure_http: Annotated[
        bool, typer.Option("--insecure-http", help="let other machines in without encryption")
    ] = False,
    poll_seconds: Annotated[float, typer.Option(help="how often devices poll", min=0.1, max=86400)] = 30.0,
    max_bundle_mib: Annotated[int, typer.Option(help="size of a bundle that is taken, in MiB", min=1)] = 4096,
    keep_days: Annotated[float, typer.Option(help="how long reports are kept", min=0.0)] = 30.0,
) -> None:
    """Serve a fleet out of a folder until told to stop."""
    from edgekit.cli.show import console
    from edgekit.fleet.host import Address, serve
    from edgekit.fleet.options import Options

    out = console(True)

    def started(url: str, token: Path) -> None:
        out.print(f"edgekit fleet at {url}; devices enrol with the token in {token}", markup=False, soft_wrap=True)

    options = Options(poll_seconds, max_bundle_mib * 2**20, keep_days)
    serve(data, Address(host, port, cert, key, insecure_http), options, started)


@app.command("devices")
def devices_command(
    group: Annotated[str | None, typer.Option(help="only members of this group")] = None,
    server: Server_ = None,
    token_file: Token_ = None,
    data: Data_ = Path("edgekit-fleet"),
    ca: Ca_ = None,
    insecure_http: Insecure_ = False,
    json: Json_ = False,
) -> None:
    """Show every device: what it runs, how it fares, how it is."""
    from edgekit.cli.show import console, print_json, table

    query = f"?group={_quoted(group)}" if group is not None else ""
    said = rollout.client(server, token_file, data, ca, insecure_http).call("GET", f"/devices{query}")
    if json:
        print_json(said)
        return
    table(console(False), DEVICE_COLUMNS, [row for d in said["devices"] for row in device_rows(d)])


@app.command("remove")
def remove_command(
    device: Annotated[str, typer.Argument(help="its name")],
    server: Server_ = None,
    token_file: Token_ = None,
    data: Data_ = Path("edgekit-fleet"),
    ca: Ca_ = None,
    insecure_http: Insecure_ = False,
    json: Json_ = False,
) -> None:
    """Forget a device, its secret and its reports; it can enrol again with the token."""
    from edgekit.cli.show import console, print_json

    said = rollout.client(server, token_file, data, ca, insecure_http).call("DELETE", f"/devices/{_quoted(device)}")
    if json:
        print_json(said)
        return
    console(False).print(f"{said['removed']} is forgotten", markup=False, soft_wrap=True)


@app.command("status")
def status_command(
    server: Server_ = None,
    token_file: Token_ = None,
    data: Data_ = Path("edgekit-fleet"),
    ca: Ca_ = None,
    insecure_http: Insecure_ = False,
    json: Json_ = False,
) -> None:
    """Show the fleet at a glance: bundles, how they fare, jobs, alarms."""
    from edgekit.cli.show import console, print_json, table

    said = rollout.client(server, token_file, data, ca, insecure_http).call("GET", "/status")
    if json:
        print_json(said)
        return
    out = console(False)
    out.print(glance(said), markup=False, soft_wrap=True)
    table(out, BUNDLE_COLUMNS, bundle_rows(said))
    for alarm in said["alarms"][:5]:
        out.print(f"{ago(alarm['seconds_ago'])} ago  {alarm['device']} {alarm['slot']}: {alarm['sentence']}",
                  markup=False, soft_wrap=True)  # fmt: skip


@app.command("watch")
def watch_command(
    every: Annotated[float, typer.Option(help="seconds between looks", min=0.2)] = 2.0,
    count: Annotated[int, typer.Option(help="looks until it ends; 0 for no end", min=0)] = 0,
    server: Server_ = None,
    token_file: Token_ = None,
    data: Data_ = Path("edgekit-fleet"),
    ca: Ca_ = None,
    insecure_http: Insecure_ = False,
) -> None:
    """Show bundles, devices and jobs as they change."""
    from rich.live import Live

    from edgekit.cli.show import console

    fleet = rollout.client(server, token_file, data, ca, insecure_http)
    with Live(console=console(False), auto_refresh=False) as live:
        seen = 0
        while True:
            live.update(_picture(fleet.call("GET", "/status"), fleet.call("GET", "/devices")), refresh=True)
            seen += 1
            if seen == count:
                return
            time.sleep(every)


def _picture(status: dict[str, Any], known: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    rows = [row for d in known["devices"] for row in device_rows(d)]
    return Group(Text(glance(status)), _grid(BUNDLE_COLUMNS, bundle_rows(status)), _grid(DEVICE_COLUMNS, rows))


def _grid(columns: list[tuple[str, str]], rows: list[list[str]]) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    drawn = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading, justify in columns:
        drawn.add_column(heading, justify="right" if justify == "right" else "left")
    for row in rows:
        drawn.add_row(*row)
    return drawn


def _columns(left: str, right: str, last: str = "") -> list[tuple[str, str]]:
    """Headings, separated by commas: those of text, of figures, and of text again."""
    sides = (("left", left), ("right", right), ("left", last))
    return [(heading, side) for side, headings in sides for heading in headings.split(", ") if heading]


BUNDLE_COLUMNS = _columns("slot, bundle", "devices, ready, degraded, requests, failed, slowest p99 ms, drifted")
DEVICE_COLUMNS = _columns("device, groups, seen, slot, bundle, state", "requests, failed, p99 ms, drifted, °C", "job")


def count(number: int, what: str) -> str:
    """How many, in words that fit."""
    return f"{number} {what}" if number == 1 else f"{number:,} {what}s"


def glance(status: dict[str, Any]) -> str:
    """The fleet in a line."""
    jobs = ", ".join(f"{n} {state}" for state, n in sorted(status["jobs"].items())) or "none"
    hottest = "" if status["hottest"] is None else f", hottest {status['hottest']:.0f} °C"
    slow = f", {status['throttled']} throttled" if status["throttled"] else ""
    return f"{count(status['devices'], 'device')}, {status['online']} online{slow}{hottest}; jobs: {jobs}"


def bundle_rows(status: dict[str, Any]) -> list[list[str]]:
    """A row for each bundle that answers somewhere."""
    from rich.markup import escape

    return [
        [
            escape(b["slot"]),
            b["digest"][:16] or "-",
            str(b["devices"]),
            str(b["ready"]),
            str(b["degraded"]),
            f"{b['requests']:,}",
            f"{b['errors']:,}",
            milliseconds(b["slowest_p99"]),
            f"{b['drifted']} of {b['judged']}" if b["judged"] else "-",
        ]
        for b in status["bundles"]
    ]


def device_rows(device: dict[str, Any]) -> list[list[str]]:
    """A row for each slot of a device; one where it has none."""
    from rich.markup import escape

    heat = device["health"].get("temperature")
    hot = ("-" if heat is None else f"{heat:.0f}") + (" throttled" if device["health"].get("throttled") else "")
    job = device["job"]
    share = f" {job['progress']:.0%}" if job and job["state"] == "DOWNLOADING" else ""
    does = f"{job['job']} {job['state']}{share}" if job else ""
    head = [device["device"], escape(", ".join(device["groups"])), ago(device["seen_seconds_ago"])]
    if not device["online"]:
        head[2] = f"[red]{head[2]}[/]"
    rows = []
    for slot in device["slots"] or [None]:
        fares = ["-"] * 7
        if slot is not None:
            drifted = slot["drifted"]
            state = "ready" if slot["ready"] else "not ready"
            fares = [
                escape(slot["slot"]),
                slot["digest"][:16] or "-",
                f"[red]{escape(slot['degraded'])}[/]" if slot["degraded"] else state,
                "-" if slot["requests"] is None else f"{slot['requests']:,}",
                "-" if slot["errors"] is None else f"{slot['errors']:,}",
                milliseconds(slot["p99"]),
                "-" if drifted is None else escape(", ".join(drifted)) or "no",
            ]
        rows.append([*head, *fares, hot, does])
        head, hot, does = ["", "", ""], "", ""
    return rows


def milliseconds(seconds: float | None) -> str:
    """A latency as it is printed."""
    return "-" if seconds is None else f"{1000 * seconds:.2f}"


def ago(seconds: float) -> str:
    """A duration, as coarse as one reads it."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _quoted(name: str) -> str:
    import urllib.parse

    return urllib.parse.quote(name, safe="")
