"""The TOML file of ``edgekit-runtime watch``."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from edgekit_runtime.capture.settings import nearest, path_field, read_table
from edgekit_runtime.capture.sinks import SINKS, Sink
from edgekit_runtime.capture.sources import SOURCES, Source
from edgekit_runtime.errors import MissingRequirement, UsageError

_MAX_FILE = 2**20


@dataclass(frozen=True)
class ModelSettings:
    """The table ``[model]``.

    Attributes:
        bundle: The ``.edgekit`` file.
        variant: Variant to run; the chosen one by default.
        backend: The only back end that will do.
        threads: Threads for one inference.
        trust: Whether native code in the bundle may run.
    """

    bundle: str = path_field()
    variant: Optional[str] = None
    backend: Optional[str] = None
    threads: Optional[int] = None
    trust: bool = False


@dataclass(frozen=True)
class WatchSettings:
    """The table ``[watch]``: what is answered, and what is told.

    Attributes:
        every: Answer for every sample, in order, however long that takes; else only for the newest.
        fps: Samples a second at most; 0 for all.
        region: Part of the picture the model sees: left, top, width, height, in pixels, or all of them as shares of it.
        min_score: Classes and boxes under it are left out.
        release_score: With `changes_only`, what was told stays told down to this score; `min_score` by default.
        classes: The only labels that are told; all by default.
        changes_only: Tell only when what is seen changes.
        agree: With `changes_only`, (n, m): n of the last m answers must agree on a change.
        min_change: With `changes_only`, a number is told when it moved further than this.
        skip_empty: Tell nothing where nothing is left of the answer.
        answer_timeout: Seconds after which an inference counts as stuck, and the run ends with an error.
        reopen_after: Longest pause in seconds before a source that was lost is opened again (pauses double from 0.5).
        wait_for_source: Whether a source that is not there at the start is waited for.
        metrics_port: Port on loopback for Prometheus; 0 for none.
    """

    every: bool = False
    fps: float = 0.0
    region: Optional[tuple[float, float, float, float]] = None
    min_score: float = 0.0
    release_score: Optional[float] = None
    classes: tuple[str, ...] = ()
    changes_only: bool = False
    agree: tuple[int, int] = (1, 1)
    min_change: float = 0.0
    skip_empty: bool = False
    answer_timeout: float = 30.0
    reopen_after: float = 30.0
    wait_for_source: bool = False
    metrics_port: int = 0

    def __post_init__(self) -> None:
        if self.fps < 0 or self.answer_timeout <= 0 or self.reopen_after <= 0 or self.min_change < 0:
            raise ValueError("fps and min_change must not be negative, answer_timeout and reopen_after over 0")
        if not 0 < self.agree[0] <= self.agree[1] <= 1000 or 2 * self.agree[0] <= self.agree[1]:
            raise ValueError("agree must be [n, m] with n of 1 to m and more than half of it, m up to 1000")
        if self.release_score is not None and self.release_score > self.min_score:
            raise ValueError("release_score must not be over min_score")
        if self.region is not None and (min(self.region) < 0 or min(self.region[2:]) <= 0):
            raise ValueError("region must be [left, top, width, height], none negative, with an area")
        if not 0 <= self.metrics_port <= 65535:
            raise ValueError("metrics_port must be 0 to 65535")


@dataclass(frozen=True)
class Plan:
    """A whole file.

    Attributes:
        model: What answers.
        source: Where samples come from.
        source_kind: Its name in the registry.
        watch: What is answered and told.
        sinks: Where answers go.
    """

    model: ModelSettings
    source: Source
    source_kind: str
    watch: WatchSettings
    sinks: tuple[Sink, ...]


def read_plan(path: Path) -> Plan:
    """Read and check a file; nothing is opened but secrets.

    Raises:
        UsageError: It cannot be read, is not TOML, or says what does not exist.
        MissingRequirement: Python is older than 3.11, and tomli is not installed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror or error})") from error
    if len(content) > _MAX_FILE:
        raise UsageError(f"{path} has {len(content):,} bytes, more than {_MAX_FILE:,}")
    data = _toml(content, path)
    parts = {"model": None, "source": None, "watch": None, "sink": None}
    for key in data:
        if key not in parts:
            raise UsageError(f"{path} has no table {key!r:.60}", nearest(key, parts))
    folder = path.parent
    tables = data.get("sink", [{"kind": "stdout"}])
    if not isinstance(tables, list) or not tables:
        raise UsageError(f"{path}: sinks are written [[sink]], one table each")
    kind, source = _of_kind(SOURCES, data.get("source"), "[source]", folder)
    sinks = tuple(_of_kind(SINKS, t, f"[[sink]] {i}", folder)[1] for i, t in enumerate(tables, 1))
    model = read_table(ModelSettings, data.get("model"), "[model]", folder)
    watch = read_table(WatchSettings, data.get("watch", {}), "[watch]", folder)
    if watch.every and hasattr(source, "paced"):  # nothing is dropped: there is no need to wait
        source = dataclasses.replace(source, paced=False)
    return Plan(model, source, kind, watch, sinks)


def _toml(content: bytes, path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError:
            raise MissingRequirement(
                "TOML needs tomli on Python before 3.11", "pip install 'edgekit-runtime[watch]'"
            ) from None
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML ({error})") from error


def _of_kind(registry: Mapping[str, Any], data: object, where: str, folder: Path) -> tuple[str, Any]:
    if not isinstance(data, Mapping) or not isinstance(data.get("kind"), str):
        raise UsageError(f"{where} needs a kind", f"one of {', '.join(registry)}")
    kind = data["kind"]
    if kind not in registry:
        raise UsageError(f"{where} has no kind {kind!r:.60}", nearest(kind, registry))
    rest = {k: v for k, v in data.items() if k != "kind"}
    return kind, read_table(registry[kind](), rest, f"{where} of kind {kind}", folder)


def described(plan: Plan) -> dict[str, Any]:
    """What ``--check`` says: kinds and names, no secret (settings hold none)."""
    return {
        "bundle": plan.model.bundle,
        "source": plan.source_kind,
        "sinks": [type(s).__name__.lower() for s in plan.sinks],
        "watch": dataclasses.asdict(plan.watch),
    }


_PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):[^/\s]*@")


def masked(text: Union[str, object]) -> str:
    """Text without the passwords of URLs in it."""
    return _PASSWORD.sub(r"\1:***@", str(text))
