"""What a target is: data, plus a hook for checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit_converters.limits import TargetLimits
from edgekit_converters.placement import Placement


@dataclass(frozen=True)
class Check:
    """What a target's checker says about one model file.

    Attributes:
        ok: Whether the model may ship.
        message: What is wrong, in half a sentence that follows "does not fit": ``it has an operator that ...``.
    """

    ok: bool
    message: str


@dataclass(frozen=True)
class Compiler:
    """A program that makes a file for an accelerator out of one for the CPU.

    Attributes:
        program: What must be on PATH.
        backend: Device back end that runs what it makes.
        suffix: Of the compiled variant's name: ``edgetpu`` makes ``tflite-int8-edgetpu``.
        command: The line for people, given a file's name.
        compile: Compiles a file to another place and says where its operators are.
    """

    program: str
    backend: str
    suffix: str
    command: Callable[[str], str]
    compile: Callable[[Path, Path], Placement]


@dataclass(frozen=True)
class Target:
    """A device, as far as an exporter needs to know it.

    Attributes:
        name: What people type.
        title: What it is called in print.
        limits: Formats, precisions, op versions, memory.
        backends: Format to the device back ends that run it there, best first.
        python: Python versions that its system brings, newest last.
        extra: Extra of ``edgekit-runtime`` to install there.
        notes: Facts a user should know, one sentence each.
        checks: Each looks at a finished model file, and what it refuses is left out of the bundle with its message; the
            checkers of plug-ins register here.
        compiler: What compiles a finished file for the accelerator, where it needs that.
        placement: Format to what says where each operator of a finished file will run; empty where every operator runs
            on the same processor.
    """

    name: str
    title: str
    limits: TargetLimits
    backends: dict[str, tuple[str, ...]]
    python: tuple[str, ...]
    extra: str
    notes: tuple[str, ...] = ()
    checks: tuple[Callable[[Path], Check], ...] = ()
    placement: Mapping[str, Callable[[Path], Placement]] = field(default_factory=dict)
    compiler: Compiler | None = None
