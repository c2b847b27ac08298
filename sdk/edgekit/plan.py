"""The plan of an export: all that was asked for as plain data, which `--dry-run` prints and `--config` replays."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from edgekit_converters.plaincode.emitter import EmitSettings, emitter
from edgekit_runtime.errors import UsageError
from edgekit_runtime.plain import PlainDataError, decode, encode


@dataclass(frozen=True)
class ExportPlan:
    """What to export, for what, how, and how good it must be.

    Attributes:
        model: Path, or ``file.py:factory``.
        target: Target name.
        output: Bundle to write; None for ``<model>-<target>.edgekit`` in the working folder.
        data: Data set; its test split evaluates, its training split calibrates.
        label: Label column of a table.
        text: Text column of a table, for models that take a text.
        calibration_data: Data set for quantization calibration instead of the training split of `data`.
        calibration_samples: How many samples calibrate.
        preprocess: Name of a preset (``0..255``, ``0..1``, ``-1..1``, ``imagenet``, …) or a JSON file.
        format: Model format; None for the target's first that the source can become.
        quantize: Precision, or ``auto`` for what the target declares, checked.
        passes: Settings of the pass that quantizes, as ``{"method": "percentile"}``; `edgekit tune` finds them.
        max_drop: Largest allowed drop of the primary metric against the source, as a share (0.01 = 1 point).
        weights: Weights file for factories.
        input_shape: Shape of the only input with batch axis, where the model does not say.
        labels: File with one class name a line, in the order of the model's scores.
        task: ``classification``, ``regression``, ``detection`` or ``none``; None to follow the data set.
        keep: ``chosen`` to put only the chosen variant into the bundle, ``all`` for every one.
        limit: Largest number of evaluation samples, None for all.
        trust: Whether files that run code when they are loaded are allowed.
        overwrite: Whether existing files may be replaced.
        licences: Licence files that go into the bundle.
        report: Whether a report is written beside the bundle.
        prefix: Of every public name in plain code.
        layout: Of trees in plain code: ``speed``, ``size`` or ``auto``; None for the target's.
        leaves: Of trees in plain code: ``exact``, ``float`` or ``fixed``; None for the target's.
        unpack: Folder that plain code is written to besides.
        language: Output language of the code in `unpack`; what the bundle holds is C.
        arduino: Whether `unpack` becomes an Arduino library.
        min_offload: Least share of the chosen variant's operators on the target's accelerator.
        require_accelerator: Whether all of its operators must be there.
        require_compiled: Whether the target's compiler must make the bundle's model; a prediction will not do.
    """

    model: str
    target: str
    output: str | None = None
    data: str | None = None
    label: str | None = None
    text: str | None = None
    calibration_data: str | None = None
    calibration_samples: int = 200
    preprocess: str | None = None
    format: str | None = None
    quantize: str = "auto"
    passes: Mapping[str, Any] = field(default_factory=dict)
    max_drop: float | None = None
    weights: str | None = None
    input_shape: tuple[int, ...] = ()
    labels: str | None = None
    task: str | None = None
    keep: str = "chosen"
    limit: int | None = None
    trust: bool = False
    overwrite: bool = False
    licences: tuple[str, ...] = ()
    report: bool = False
    prefix: str | None = None
    layout: str | None = None
    leaves: str | None = None
    unpack: str | None = None
    language: str = "c"
    arduino: bool = False
    min_offload: float | None = None
    require_accelerator: bool = False
    require_compiled: bool = False

    def __post_init__(self) -> None:
        if self.max_drop is not None and not 0 <= self.max_drop < 1:
            raise UsageError(f"--max-drop {self.max_drop:g} is not a share", "give 0.01 for one point")
        if self.max_drop is not None and self.data is None:
            raise UsageError("--max-drop needs a data set to measure with", "add --data")
        if self.keep not in ("chosen", "all"):
            raise UsageError(f"--keep {self.keep!r} is neither 'chosen' nor 'all'", "give one of them")
        if self.min_offload is not None and not 0 <= self.min_offload <= 1:
            raise UsageError(f"--min-offload {self.min_offload:g} is not a share", "give 0.95 for 95 %")
        if self.calibration_samples < 1:
            raise UsageError("--calibration-samples must be at least 1", "leave it out for 200")
        if self.limit is not None and self.limit < 1:
            raise UsageError("--limit must be at least 1", "leave it out for all samples")

    def code(self, wanted: EmitSettings) -> EmitSettings:
        """How plain code is written: as the target has it, but for what was asked for.

        Raises:
            UsageError: There is no such layout or kind of leaves, or the prefix cannot begin a name in C.
        """
        return replace(
            wanted,
            prefix=self.prefix or wanted.prefix,
            layout=self.layout or wanted.layout,
            leaves=self.leaves or wanted.leaves,
        )

    def bundle_path(self) -> Path:
        """Where the bundle goes."""
        if self.output is not None:
            path = Path(self.output)
            return path if path.suffix == ".edgekit" else path.with_name(path.name + ".edgekit")
        return Path(f"{self.model_name()}-{self.target}.edgekit")

    def report_path(self) -> Path:
        """Where the report goes: beside the bundle."""
        return self.bundle_path().with_suffix(".html")

    def check_free(self) -> None:
        """Look, before any work, whether what is asked for can be written at its place.

        Raises:
            UsageError: A file is there already and may not be replaced, or is a folder, or its folder does not let
                files be made.
        """
        if self.output is not None and (self.output.endswith("/") or Path(self.output).is_dir()):
            raise UsageError(f"--output {self.output} is a folder", "give the name of a file")
        for path in (self.bundle_path(), *([self.report_path()] if self.report else [])):
            if path.is_dir():
                raise UsageError(f"{path} is a folder", "give another --output")
            if path.exists() and not self.overwrite:
                raise UsageError(f"{path} exists already", "give --overwrite or another --output")
            there = next(p for p in (path.absolute().parent, *path.absolute().parents) if p.exists())
            if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
                raise UsageError(f"{path} cannot be written: {there} is not a folder that lets files be made in it",
                                 "give another --output")  # fmt: skip

    def check_unpack(self) -> None:
        """Look whether plain code may be written to its folder.

        Raises:
            UsageError: It is a file, or holds something and may not be replaced; or there is no such language.
        """
        emitter(self.language)
        if self.language != "c" and not self.unpack:
            raise UsageError(f"--language {self.language} needs a folder to be written to", "add --unpack DIR")
        if self.arduino and (self.language != "c" or not self.unpack):
            raise UsageError("--arduino makes a library of the C in --unpack", "give --unpack DIR and no --language")
        folder = Path(self.unpack) if self.unpack else None
        if folder is None or not folder.exists():
            return
        if not folder.is_dir():
            raise UsageError(f"--unpack {folder} is a file", "give a folder")
        if not self.overwrite and any(folder.iterdir()):
            raise UsageError(f"--unpack {folder} holds files already", "give --overwrite or another folder")

    def model_name(self) -> str:
        """Short name of the model, safe in file names."""
        stem = self.model.rsplit(":", 1)[-1] if ":" in self.model else Path(self.model.rstrip("/")).stem
        return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem) or "model"

    def to_json(self) -> str:
        """Plain data, settings at their default left out."""
        return json.dumps(encode(self), indent=2)

    @classmethod
    def from_json(cls, text: str, **changes: Any) -> ExportPlan:
        """Read a plan; `changes` override it.

        Raises:
            UsageError: Not a plan, or one with a setting that there is not: a misspelt one must not be a default.
        """
        try:
            data = json.loads(text)
            plan = decode(cls, data, "plan")
        except (ValueError, PlainDataError) as error:
            raise UsageError(f"the configuration is not an export plan ({error})", "make one with --dry-run") from error
        known = [f.name for f in fields(cls)]
        if unknown := [name for name in data if name not in known]:
            close = difflib.get_close_matches(unknown[0], known, 1)
            hint = f"did you mean {close[0]}?" if close else "make one with --dry-run"
            raise UsageError(f"an export plan has no setting {unknown[0]!r:.60}", hint)
        return replace(plan, **changes)
