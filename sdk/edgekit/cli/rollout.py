"""`edgekit fleet rollout create|status|undo`: a bundle to many devices, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli.bundles import Bundle_, Json_

if TYPE_CHECKING:
    from edgekit.fleet.client import Client

app = typer.Typer(help="Send a bundle to devices, and take it back.", no_args_is_help=True)

Server_ = Annotated[str | None, typer.Option(help="address of the fleet server; else EDGEKIT_FLEET_SERVER")]
Token_ = Annotated[Path | None, typer.Option(help="file of the operator's token; else EDGEKIT_FLEET_TOKEN")]
Data_ = Annotated[Path, typer.Option(help="folder of a fleet server on this machine")]
Ca_ = Annotated[Path | None, typer.Option(help="PEM file of the authorities to believe; the system's by default")]
Insecure_ = Annotated[bool, typer.Option("--insecure-http", help="talk to another machine without encryption")]
Id_ = Annotated[int, typer.Argument(help="number of the rollout")]


def client(server: str | None, token_file: Path | None, data: Path, ca: Path | None, insecure_http: bool) -> Client:
    """The server that is meant."""
    from edgekit.fleet.client import Client, Where

    return Client.find(Where(server, token_file, data, ca, insecure_http))


@app.command("create")
def create_command(
    bundle: Bundle_,
    group: Annotated[str | None, typer.Option(help="every member, those that come later included")] = None,
    device: Annotated[list[str] | None, typer.Option(help="a device; several may be given")] = None,
    soak: Annotated[float, typer.Option(help="seconds that a bundle is watched before it is kept", min=0.0)] = 60.0,
    min_requests: Annotated[int, typer.Option(help="requests that it must have answered by then", min=0)] = 0,
    max_error_rate: Annotated[float, typer.Option(help="share of requests that may fail", min=0.0, max=1.0)] = 0.01,
    max_latency_ratio: Annotated[
        float, typer.Option(help="99th percentile over that of the bundle before; 0 for no limit", min=0.0)
    ] = 0.0,
    max_parallel: Annotated[int, typer.Option(help="devices that are at it at once; 0 for all", min=0)] = 0,
    max_failures: Annotated[int, typer.Option(help="devices that may fail before it stops by itself", min=0)] = 0,
    expires: Annotated[float, typer.Option(help="hours in which a device must fetch it; 0 for ever", min=0.0)] = 0.0,
    allow_unsigned: Annotated[bool, typer.Option("--allow-unsigned", help="send a bundle without signature")] = False,
    server: Server_ = None,
    token_file: Token_ = None,
    data: Data_ = Path("edgekit-fleet"),
    ca: Ca_ = None,
    insecure_http: Insecure_ = False,
    json: Json_ = False,
) -> None:
    """Send a signed bundle to a group or to devices; each keeps it once it has proved itself there."""
    from edgekit.cli.show import console, print_json
    from edgekit_runtime.agent.protocol import Soak
    from edgekit_runtime.errors import UsageError
    from edgekit_runtime.plain import encode

    if (group is None) == (not device):
        raise UsageError("a rollout is for a group or for devices", "give --group, or --device once or more")
    settings = {
        "devices": list(device or ()),
        "soak": encode(Soak(soak, min_requests, max_error_rate, max_latency_ratio)),
        "max_parallel": max_parallel,
        "max_failures": max_failures,
        "expires": expires * 3600,
    }
    fleet = client(server, token_file, data, ca, insecure_http)
    sent = fleet.upload(bundle, allow_unsigned=allow_unsigned)
    said = fleet.call("POST", "/rollouts", {"digest": sent["digest"], "group": group, "settings": settings})
    if json:
        print_json(said)
        return
    out = console(False)
    whom = f"group {group}" if group is not None else ", ".join(device or ())
    out.print(f"rollout {said['rollout']}: bundle {sent['digest'][:16]} of {sent['name']} to {whom},"
              f" devices now: {len(said['devices'])}", markup=False, soft_wrap=True)  # fmt: skip


@app.command("status")
def status_command(
    rollout: Annotated[int | None, typer.Argument(help="number of the rollout; all of them by default")] = None,
    server: Server_ = None,
    token_file: Token_ = None,
    data: Data_ = Path("edgekit-fleet"),
    ca: Ca_ = None,
    insecure_http: Insecure_ = False,
    json: Json_ = False,
) -> None:
    """Show every rollout, or one with each of its devices."""
    from rich.markup import escape

    from edgekit.cli.show import console, print_json, table

    fleet = client(server, token_file, data, ca, insecure_http)
    said = fleet.call("GET", "/rollouts" if rollout is None else f"/rollouts/{rollout}")
    if json:
        print_json(said)
        return
    out = console(False)
    table(out, [(h, "left") for h in ("rollout", "slot", "bundle", "for", "state", "jobs", "why")],
          [_row(r) for r in (said["rollouts"] if rollout is None else [said])])  # fmt: skip
    if rollout is None:
        return
    columns = [(h, "left") for h in ("job", "device", "state", "bundle", "before", "detail")]
    rows = [
        [
            d["job"],
            d["device"],
            d["state"] + (", taken back" if d["canceling"] else ""),
            d["digest"][:16],
            d["before"][:16] or "-",
            escape(d["detail"]),
        ]
        for d in said["devices"]
    ]
    table(out, columns, rows)


@app.command("undo")
def undo_command(
    rollout: Id_,
    server: Server_ = None,
    token_file: Token_ = None,
    data: Data_ = Path("edgekit-fleet"),
    ca: Ca_ = None,
    insecure_http: Insecure_ = False,
    json: Json_ = False,
) -> None:
    """Take a rollout back: devices that have the bundle go to the one that ran before; exit 1 if one cannot."""
    from edgekit.cli.show import console, print_json

    said = client(server, token_file, data, ca, insecure_http).call("POST", f"/rollouts/{rollout}/undo")
    if json:
        print_json(said)
    else:
        out = console(False)
        how = f" as rollout {said['rollout']}" if said["rollout"] is not None else ""
        out.print(f"rollout {rollout} is undone{how}: devices that go back: {len(said['going_back'])},"
                  f" that are let off: {len(said['canceled'])}", markup=False, soft_wrap=True)  # fmt: skip
        for device, why in said["cannot"].items():
            out.print(f"{device} keeps it: {why}", markup=False, soft_wrap=True)
    if said["cannot"]:
        raise typer.Exit(1)


def _row(said: dict[str, Any]) -> list[str]:
    from rich.markup import escape

    whom = f"group {said['group']}" if said["group"] is not None else "devices"
    if said["undo_of"] is not None:
        whom = f"undo of {said['undo_of']}"
    counts = ", ".join(f"{n} {state}" for state, n in sorted(said["jobs"].items())) or "none"
    return [str(said["rollout"]), escape(said["slot"]), said["digest"][:16], escape(whom), said["state"], counts,
            escape(said["reason"])]  # fmt: skip


__all__ = ["Ca_", "Data_", "Insecure_", "Server_", "Token_", "app", "client"]
