"""A bundle's latency on a board, kept in the sidecar here, beside those of other machines."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import RemoteError
from edgekit.remote.deploy import Plan, ask_runtime
from edgekit.remote.facts import Board
from edgekit.remote.transport import Transport
from edgekit_runtime.benchmark import Benchmark, kept_results, store
from edgekit_runtime.errors import UsageError
from edgekit_runtime.plain import PlainDataError, decode


def refuse_emulated(board: Board, name: str) -> None:
    """Times of an emulated processor are never reported.

    Raises:
        UsageError: It is emulated.
    """
    if board.emulator:
        raise UsageError(
            f"{name} is emulated by {board.emulator}, and its times say nothing about a board",
            "measure on the board itself; edgekit deploy tests the answers there",
        )


def measure(transport: Transport, planned: Plan, path: Path, options: Sequence[str] = ()) -> Benchmark:
    """Time a deployed bundle on its board and keep the result beside the bundle here.

    Args:
        transport: The way to the board.
        planned: What was deployed there.
        path: The bundle here.
        options: Further options of ``edgekit-runtime benchmark``.

    Raises:
        UsageError: The board is emulated.
        RemoteError: It failed there, or answered nonsense.
    """
    refuse_emulated(planned.board, transport.name)
    answer = ask_runtime(transport, planned, "benchmark", options)
    try:
        found = decode(Benchmark, answer, "benchmark")
    except PlainDataError as error:
        raise RemoteError(f"{transport.name} answers nonsense when asked for latencies ({error})") from error
    if found.digest != planned.digest:
        raise RemoteError(f"{transport.name} timed another bundle ({found.digest[:16]})", "deploy it again")
    where = found.measured_on if transport.remote else f"{found.measured_on}, this workstation and not a board"
    result = dataclasses.replace(found, host=transport.name, measured_on=where)
    store(path, result)
    return result


def side_by_side(path: Path, digest: str) -> list[dict[str, Any]]:
    """The latest figures of this bundle for each host and variant, in the order they were first measured."""
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for row in kept_results(path, digest):
        latest[(str(row.get("host", "")), str(row.get("variant", "")))] = row
    return list(latest.values())
