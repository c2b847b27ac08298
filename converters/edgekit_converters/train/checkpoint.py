"""What a run that is cut off goes on with: one small file names the others, and is replaced in one step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekit_converters.errors import TrainingError
from edgekit_runtime.atomic import replacing
from edgekit_runtime.plain import PlainDataError, decode, encode

FOLDER = "checkpoint"


@dataclass(frozen=True)
class Progressed:
    """How far a run is.

    Attributes:
        epoch: Epochs that are done.
        best_epoch: The best of them; 0 for none.
        best: Figures of the best one.
        ended: Whether training is over: all epochs done, or nothing got better, or whoever watches had enough.
        file: Everything that is needed to go on, in the checkpoint folder.
        best_file: Weights of the best epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    best: Mapping[str, float] = field(default_factory=dict)
    ended: bool = False
    file: str = ""
    best_file: str = ""

    def step(self, epoch: int, metrics: Mapping[str, float], better: str, files: tuple[str, str]) -> Progressed:
        """After one more epoch.

        Args:
            epoch: The epoch that is done.
            metrics: Its figures.
            better: Which of them decides; the smaller the better.
            files: Names of its checkpoint and of its weights as the best ones.
        """
        done = replace(self, epoch=epoch, file=files[0])
        if self.best and metrics[better] >= self.best[better]:
            return done
        return replace(done, best_epoch=epoch, best=dict(metrics), best_file=files[1])


def read(run: Path) -> Progressed:
    """How far the run in a folder is; the beginning where there is nothing.

    Raises:
        TrainingError: The checkpoint is damaged.
    """
    path = run / FOLDER / "state.json"
    if not path.is_file():
        return Progressed()
    try:
        return decode(Progressed, json.loads(path.read_text("utf-8")), path.name)
    except (OSError, ValueError, PlainDataError) as error:
        raise TrainingError(f"the checkpoint {path} is damaged ({error})", "give --overwrite to begin anew") from error


def write(run: Path, state: Progressed) -> None:
    """Make it what the run goes on with; files that nobody needs any more go."""
    folder = run / FOLDER
    with replacing(folder / "state.json") as out:
        out.write(json.dumps(encode(state)).encode())
    for path in folder.iterdir():
        if path.name not in ("state.json", state.file, state.best_file):
            path.unlink()
