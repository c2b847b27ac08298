"""What to search, for what and where: plain data out of TOML or JSON, read strictly."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.contract.tune.space import Choices, Range, check_name, read_space
from edgekit.plan import ExportPlan
from edgekit.training import TrainPlan
from edgekit_converters.registry import pass_class, pass_names
from edgekit_converters.train import TrainConfig
from edgekit_runtime.errors import UsageError

SAMPLERS = ("tpe", "random", "grid", "nsga2")
OBJECTIVES = ("accuracy", "latency", "size")
EXPORT = ("quantize", "format", "calibration_samples", "layout", "leaves")
"""What of an export can be searched."""
_FIXED = ("task", "devices", "nodes", "options")


@dataclass(frozen=True)
class TunePlan:
    """A study.

    Attributes:
        space: Parameter to choices or range, as `space.read_space` reads it.
        export: Settings of `ExportPlan` that stay; empty where only training is searched.
        train: Settings of `TrainPlan` that stay (``data``, ``config``, …); empty where only an export is searched.
        objectives: Of `OBJECTIVES`: accuracy is the task's first metric on validation samples; latency is measured here
            in turns with the float model, as a ratio; size is that of the variant's file.
        sampler: Of `SAMPLERS`.
        trials: How many in all, over all workers; a grid has as many as it has points at most.
        seed: Of every sampler.
        prune: Whether a training that is worse than the median of the others at its epoch ends early (one objective).
        name: Of the study.
        output: Study folder.
    """

    space: Mapping[str, Any]
    export: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    objectives: tuple[str, ...] = ("accuracy",)
    sampler: str = "tpe"
    trials: int = 20
    seed: int = 0
    prune: bool = True
    name: str = "study"
    output: str = "study"

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            check_name(self.sampler, SAMPLERS, "there is no sampler")
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise UsageError("a study needs objectives, each once", f"give some of {', '.join(OBJECTIVES)}")
        for name in self.objectives:
            check_name(name, OBJECTIVES, "there is no objective")
        if self.trials < 1:
            raise UsageError("--trials must be at least 1", "leave it out for 20")
        if not self.export and not self.train:
            raise UsageError("there is nothing to try", "give [export] with model, target and data, or [train]")
        if not self.export and set(self.objectives) - {"accuracy"}:
            raise UsageError("latency and size are of an exported model", "give [export] with a target")
        for name in self.export:
            check_name(name, [f.name for f in dataclasses.fields(ExportPlan)], "[export] has no setting")
        for name in self.export.get("passes", {}):
            check_name(name, pass_settings(), "no pass has a setting")
        for name in self.train:
            check_name(name, [f.name for f in dataclasses.fields(TrainPlan)], "[train] has no setting")
        for name in self.train.get("config", {}):
            check_name(name, [f.name for f in dataclasses.fields(TrainConfig)], "[train.config] has no setting")
        self.parameters()

    def parameters(self) -> dict[str, Choices | Range]:
        """The space, read.

        Raises:
            UsageError: See `space.read_space`.
        """
        return read_space(self.space, self.known())

    def known(self) -> set[str]:
        """Names that the space may have."""
        names: set[str] = set()
        if self.train:
            names |= {f.name for f in dataclasses.fields(TrainConfig)} - set(_FIXED)
            names |= {n for n in self.space if n.startswith("option.")}
        if self.export:
            names |= {*EXPORT, *pass_settings()}
        return names

    def to_data(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any], **changes: Any) -> TunePlan:
        """Read a plan.

        Raises:
            UsageError: A setting that there is not, or that cannot be.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for name in data:
            check_name(name, known, "a study has no setting")
        settings = {**data, **{k: v for k, v in changes.items() if v is not None}}
        objectives = settings.get("objectives", ("accuracy",))
        settings["objectives"] = (objectives,) if isinstance(objectives, str) else tuple(objectives)
        try:
            return cls(**settings)
        except TypeError as error:
            raise UsageError(f"the study cannot be read ({error})", "see docs/guide/tuning.md") from error


def read_plan(path: str | Path, **changes: Any) -> TunePlan:
    """A plan out of a ``.toml`` or ``.json`` file; `changes` override it.

    Raises:
        UsageError: It cannot be read.
    """
    file = Path(path)
    try:
        text = file.read_text("utf-8")
        data = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read --config {file} ({error})", "give a TOML or JSON file") from error
    if not isinstance(data, dict):
        raise UsageError(f"--config {file} is no study", "give a table with [space]")
    return TunePlan.from_data(data, **changes)


def pass_settings() -> set[str]:
    """Names of what passes can be told."""
    return {setting for name in pass_names() for setting in settings_of(name)}


def settings_of(name: str) -> set[str]:
    """What one pass can be told."""
    kind: Any = pass_class(name)
    return {f.name for f in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
