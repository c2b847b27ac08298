"""What a diagnosis is asked to do."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from edgekit.contract.choice import HELD
from edgekit_runtime.errors import UsageError


@dataclass(frozen=True)
class DiagnosePlan:
    """What to diagnose, on what data, against what.

    Attributes:
        bundle: The ``.edgekit`` file.
        data: Labelled data set: its test split measures, its training split calibrates what is tried.
        label: Label column of a table.
        source: The model that the bundle was made from; None for the bundle's own float variant.
        weights: Weights file for a source that is a factory.
        input_shape: Of the source's only input, where it does not say.
        calibration_data: Data set for quantization calibration instead of the training split of `data`.
        against: Another bundle, or a specification file, whose pre-processing is held against this one's.
        variant: Which variant is looked at; None for the one that ships.
        only: Kinds of finding to look for; empty for all.
        limit: Largest number of evaluation samples, None for all.
        max_drop: Drop against the float model that a repaired bundle may have.
        apply: Whether a repaired bundle is made.
        output: Where it goes; None for ``<bundle>-repaired.edgekit`` beside the bundle.
        overwrite: Whether existing files may be replaced.
        trust: Whether files that run code when they are loaded are allowed.
        report: Whether a page about it is written beside the bundle.
    """

    bundle: str
    data: str | None = None
    label: str | None = None
    source: str | None = None
    weights: str | None = None
    input_shape: tuple[int, ...] = ()
    calibration_data: str | None = None
    against: str | None = None
    variant: str | None = None
    only: tuple[str, ...] = ()
    limit: int | None = None
    max_drop: float = HELD
    apply: bool = False
    output: str | None = None
    overwrite: bool = False
    trust: bool = False
    report: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop < 1:
            raise UsageError(f"--max-drop {self.max_drop:g} is not a share", "give 0.01 for one point")
        if self.limit is not None and self.limit < 1:
            raise UsageError("--limit must be at least 1", "leave it out for all samples")
        if self.data is None and self.against is None:
            raise UsageError(
                "what makes a bundle worse can only be told from labelled samples",
                "give --data with labels, one folder a class; or --against to hold two specifications together",
            )
        if self.data is None and self.apply:
            raise UsageError("--apply measures whether a repair helps", "give --data with labels")

    def repaired_path(self) -> Path:
        """Where the repaired bundle goes."""
        if self.output is not None:
            path = Path(self.output)
            return path if path.suffix == ".edgekit" else path.with_name(path.name + ".edgekit")
        bundle = Path(self.bundle)
        return bundle.with_name(f"{bundle.stem}-repaired.edgekit")

    def report_path(self) -> Path:
        """Where the page goes."""
        bundle = Path(self.bundle)
        return bundle.with_name(f"{bundle.stem}-diagnosis.html")

    def check_free(self) -> None:
        """Look, before any work, whether what will be written has a free place.

        Raises:
            UsageError: It has not.
        """
        made = [*([self.repaired_path()] if self.apply else []), *([self.report_path()] if self.report else [])]
        for path in made:
            if path.resolve() == Path(self.bundle).resolve():
                raise UsageError("--output is the bundle itself", "give another name, so that both can be compared")
            if path.is_dir() or not path.absolute().parent.is_dir():
                raise UsageError(f"{path} cannot be written", "give another --output")
            if path.exists() and not self.overwrite:
                raise UsageError(f"{path} exists already", "give --overwrite or another --output")

    def command(self, kind: str) -> str:
        """What to type to have one kind of finding repaired."""
        words = ["edgekit diagnose", shlex.quote(self.bundle)]
        for option in ("data", "label", "source", "weights", "calibration_data", "against", "variant"):
            if value := getattr(self, option):
                words.append(f"--{option.replace('_', '-')} {shlex.quote(value)}")
        if self.input_shape:
            words.append(f"--input-shape={','.join(map(str, self.input_shape))}")
        if self.trust:
            words.append("--trust")
        return " ".join([*words, f"--only {kind}", "--apply"])
