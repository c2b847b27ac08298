"""A trained model as loaded, whatever framework made it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from edgekit_converters.limits import TargetLimits
from edgekit_converters.recipe import Converted, Feeds
from edgekit_runtime.manifest import SpecificationData, TensorInfo


@dataclass(frozen=True)
class SourceRequest:
    """What the user said about the model.

    Attributes:
        model: Path, or ``file.py:factory`` / ``package.module:factory``.
        weights: File with the weights, for factories.
        shapes: Input name to shape with batch axis (-1 = may vary), where the model does not say; the key ``""``
            stands for the only input.
        trust: Whether files that run code when they are loaded are allowed.
    """

    model: str
    weights: Path | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    trust: bool = False


class Source(ABC):
    """A loaded model that can be run for reference and lowered to a format.

    Attributes:
        framework: Name of its kind, as ``torch``.
        name: File or factory name without folder.
        sha256: Hash over its files (and weights).
        inputs: Its inputs, batch axis first.
        outputs: Its outputs, batch axis first.
        tools: Package name to version of what loaded it.
        labels: Class names in the order of its scores, where the model itself knows them.
        task: ``classification``, ``regression`` or ``none``, where the model itself knows it; else empty.
        probes: How many of the user's inputs its conversions are compared on.
        specification: How raw samples become its inputs, where the model itself knows it, as a text model's tokenizer.
        files: Content of the files that `specification` names.
    """

    framework: str
    name: str
    sha256: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    tools: Mapping[str, str]
    labels: tuple[str, ...] = ()
    task: str = ""
    probes: int = 4
    specification: SpecificationData | None = None
    files: Mapping[str, bytes] = MappingProxyType({})

    @abstractmethod
    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Reference outputs (name to array with batch axis) in the source's own framework."""

    def layers(self, feeds: Feeds) -> Sequence[tuple[str, np.ndarray]]:
        """What each layer gives, by name, in order; empty where the framework does not tell. For finding faults."""
        return []

    def traps(self, feeds: Sequence[Feeds]) -> Sequence[Feeds]:
        """Inputs made of the user's ones (batches of 1) that converters are known to get wrong; none by default."""
        return ()

    def invented(self, count: int) -> Sequence[Feeds]:
        """Inputs (batches of 1) out of nothing, always the same ones, where the user gave none."""
        from edgekit_converters.fidelity import random_feeds

        return random_feeds(self.inputs, count, seed=0)

    def refuses(self, format: str) -> str:
        """Why this very model cannot become a format that its kind can become, in words; empty where it may."""
        return ""

    def close(self) -> None:
        """End child processes, free memory."""


Conversion = Callable[[Source, Path, TargetLimits], Converted]
"""(source, folder for the file, limits) to a float model in one format."""


class SourceKind(ABC):
    """One framework: how its models are recognised, loaded and lowered.

    Attributes:
        name: As in the source × format table.
        extra: The ``edgekit[...]`` extra it needs.
    """

    name: ClassVar[str]
    extra: ClassVar[str]

    @abstractmethod
    def claims(self, request: SourceRequest) -> bool:
        """Whether this kind loads that model; looks at names and first bytes only, imports nothing heavy."""

    @abstractmethod
    def load(self, request: SourceRequest) -> Source:
        """Load it.

        Raises:
            SourceError: Corrupt, or not what its name says.
            MissingRequirement: The framework is not installed; names the extra.
            UntrustedPickle: It would run code and `trust` is not set.
        """

    @abstractmethod
    def conversions(self) -> Mapping[str, Conversion]:
        """Format name to the function that lowers a source to it: this kind's row of the source × format table."""
