"""Latencies and memory of variants on the user's own board, over ssh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from edgekit.contract.choice import Choice
from edgekit.contract.latency import Latency, spread, undecided
from edgekit.progress import Progress
from edgekit.result import VariantResult
from edgekit.workbench import Workbench
from edgekit_runtime.bundle import write_bundle

_ALONE, _TURNS, _MOST_TURNS = 3, 5, 9
"""Of a second each and as long again to begin: for float by itself, for a pair, and for one that is not told apart."""


@dataclass(frozen=True)
class Board:
    """How a board is reached.

    Attributes:
        host: As ssh takes it, or ``local:FOLDER`` for a trial here.
        ssh_options: For ssh.
        wheelhouse: Folder of wheels, or None for the index.
        python: The only Python of the board that will do.
    """

    host: str
    ssh_options: tuple[str, ...] = ()
    wheelhouse: Path | None = None
    python: str | None = None

    @property
    def name(self) -> str:
        """For the table."""
        return self.host

    def reach(self) -> None:
        """See that it answers.

        Raises:
            RemoteError: It does not.
        """
        from edgekit.remote.transport import connect

        with connect(self.host, self.ssh_options) as transport:
            transport.run(["true"])

    def stopwatch(self, bench: Workbench) -> There:
        """What times variants of a bench there."""
        return There(self, bench)


class There:
    """Times variants on a board: a bundle of both is brought there, and they run in turns.

    Args:
        board: Where.
        bench: Where variants were made.
    """

    def __init__(self, board: Board, bench: Workbench) -> None:
        self._board, self._bench, self._where = board, bench, board.host

    def __call__(self, result: VariantResult) -> Latency:
        """Time a variant next to float.

        Raises:
            RemoteError: The board cannot be reached, or failed.
            UsageError: It is emulated: its times say nothing.
        """
        bench = self._bench
        floating = bench.described(bench.made[bench.floating.name], {})
        other = result.variant
        pair = [VariantResult(floating, 0)] + ([VariantResult(other, 0)] if other.name != floating.name else [])
        path = bench.folder / f"timed-{other.name}.edgekit"
        choice = Choice(other.name, True)
        quiet = Progress()
        # no distributions for monitoring: they would take longer than the timing
        lean = replace(bench.assembly(), material=replace(bench.material, dataset=None))
        manifest, members = lean.finish(pair, choice, bench.made, None, bench.open, quiet)
        write_bundle(path, manifest, members, overwrite=True)
        times = self._times(path, [v.variant.name for v in pair])
        mine, theirs = times[-1], times[0]
        ratios = [a / b for a, b in zip(mine, theirs, strict=True)]  # each 1 where float is timed by itself
        return Latency(median(mine), median(theirs), median(ratios), self._where, len(mine), *spread(ratios))

    def _times(self, path: Path, names: Sequence[str]) -> list[list[float]]:
        """Medians in milliseconds of each variant, one for each turn."""
        from edgekit.remote.deploy import carry_out, plan
        from edgekit.remote.measure import measure, refuse_emulated
        from edgekit.remote.transport import connect

        times: list[list[float]] = [[] for _ in names]
        board = self._board
        with connect(board.host, board.ssh_options) as transport:
            planned = plan(transport, path, wheelhouse=board.wheelhouse, python=board.python)
            refuse_emulated(planned.board, transport.name)
            carry_out(transport, planned)
            least = _TURNS if len(names) > 1 else _ALONE
            while len(times[-1]) < least or (len(times[-1]) < _MOST_TURNS and _unsure(times)):
                for place, name in enumerate(names):
                    found = measure(transport, planned, path, [f"--variant={name}", "--seconds=1"])
                    times[place].append(found.p50_ms)
            self._where = f"{board.host}: {found.measured_on}"
        return times


def _unsure(times: Sequence[Sequence[float]]) -> bool:
    """Whether a pair's times do not tell faster from slower; one alone has nothing to tell."""
    return len(times) > 1 and undecided([mine / other for other, mine in zip(*times, strict=True)])
