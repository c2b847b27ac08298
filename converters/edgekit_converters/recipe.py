"""A recipe: an ordered list of passes as plain data, replayable; and what goes through it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgekit_converters.limits import TargetLimits
from edgekit_runtime.manifest import Binding
from edgekit_runtime.native import machine

Feeds = Mapping[str, np.ndarray]
"""Model input name to an array with batch axis."""

Recipe = tuple[dict[str, Any], ...]
"""Passes in order, each a ``pass`` name and its settings, as `passes.apply_recipe` takes them."""


@dataclass(frozen=True)
class Converted:
    """A model file on its way to become a variant.

    Attributes:
        path: The file; passes never change it but write a new one.
        format: ``onnx`` or ``tflite`` or what a plug-in brings.
        precision: ``fp32`` until a pass changes it.
        inputs: How the source's inputs are found in the file, in the source's order.
        outputs: The same for outputs.
        recipe: Passes that were applied, plain data.
        tools: Package name to version of what took part.
        beside: Files that belong to it and lie in its folder, as a C source's header.
        builds: Machine to the library that is compiled for it, where `path` is source code.
        sizes: Machine to bytes of code and tables, where `path` is source code; the target's own machine first.
        compiled: For which accelerator a compiler has made it; empty for what runs on the CPU.
        tag: What tells it from other models of the same format and precision; empty where it is the only one.
    """

    path: Path
    format: str
    precision: str
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    recipe: tuple[Mapping[str, Any], ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[Path, ...] = ()
    builds: Mapping[str, Path] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    compiled: str = ""
    tag: str = ""

    @property
    def runnable(self) -> Path:
        """What an interpreter of this machine opens: the file, or the build for this machine."""
        return self.builds[machine()] if self.builds else self.path

    @property
    def bytes(self) -> int:
        """Size of the file; of source code that of its code and tables on the first machine of `sizes`."""
        return next(iter(self.sizes.values())) if self.sizes else self.path.stat().st_size

    @property
    def name(self) -> str:
        """Name of the variant it becomes."""
        return "-".join(part for part in (self.format, self.precision, self.tag, self.compiled) if part)


@dataclass(frozen=True)
class PassContext:
    """What a pass may use besides the model.

    Attributes:
        limits: The target's limits.
        folder: Where new files go.
        samples: Gives the quantization calibration samples anew at each call: model inputs (as the source has them,
            float32, batch of 1); None where there are none.
        progress: Called with (done, total) from time to time.
    """

    limits: TargetLimits
    folder: Path
    samples: Callable[[], Iterable[Feeds]] | None = None
    progress: Callable[[int, int], None] = lambda _done, _total: None


class Pass(ABC):
    """One transformation of a converted model. Subclasses are frozen dataclasses whose fields are the settings.

    Attributes:
        name: What it is called in a recipe.
        format: The model format it works on.
    """

    name: ClassVar[str]
    format: ClassVar[str]

    @abstractmethod
    def __call__(self, model: Converted, context: PassContext) -> Converted:
        """Apply.

        Raises:
            ConversionError: The quantizer refused; names the op or tensor where it is known.
            UsageError: Calibration samples are needed and there are none.
        """
