"""A specification as a whole: raw sample in, model input out; model output in, answer out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Callable, Optional, Union

import numpy as np

from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.specification.lookup import fuse
from edgekit_runtime.specification.step import Context, Step, Tensors, step_from_plain

_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")  # as members of a bundle are called
KINDS = ("image", "audio", "table", "text", "tensor")


@dataclass(frozen=True)
class Specification:
    """Pre- and post-processing of one model.

    Attributes:
        kind: What a raw sample is: ``image`` (encoded bytes, a path, or a decoded uint8 picture of height x width x
            RGB), ``audio`` (wav bytes, a path, or a float waveform), ``table`` (a mapping or a sequence of numbers),
            ``text`` (a string) or ``tensor`` (an array without batch axis, or a mapping of input name to array).
        input: Steps from the raw sample to the model's input, without batch axis.
        output: Steps from the model's outputs (mapping of name to array, without batch axis) to the answer.
        files: Content of the files that steps name, as a vocabulary; by name.
    """

    kind: str
    input: tuple[Step, ...] = ()
    output: tuple[Step, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SpecificationError(f"a specification cannot be of kind {self.kind!r:.40}", f"use {', '.join(KINDS)}")
        for step in (*self.input, *self.output):
            if absent := [name for name in _files_of(step) if name not in self.files]:
                raise SpecificationError(f"step {step.name} needs the file {absent[0]!r:.60}, which is not there")
            step.open(self.files)

    @property
    def takes_text(self) -> bool:
        """Whether a raw sample may be a string: the text itself."""
        return bool(self.input) and self.input[0].name in ("text", "wordpiece")

    @cached_property
    def _fused(self) -> tuple[Callable[[Any, Context], Any], ...]:
        """The input steps as they are run: pointwise ones on pictures are one table look-up."""
        return fuse(self.input) if self.kind == "image" else self.input

    @classmethod
    def from_data(cls, data: SpecificationData, files: Optional[Mapping[str, bytes]] = None) -> Specification:
        """Build from the manifest's plain data.

        Args:
            data: The plain data.
            files: Content of the files that its steps name (`files_of`), by name.

        Raises:
            SpecificationError: Unknown kind, step or setting, or a file that a step names is not there.
        """
        return cls(
            kind=data.kind,
            input=tuple(step_from_plain(s, f"input step {i + 1}") for i, s in enumerate(data.input)),
            output=tuple(step_from_plain(s, f"output step {i + 1}") for i, s in enumerate(data.output)),
            files=files or {},
        )

    def to_data(self) -> SpecificationData:
        """The plain data for the manifest."""
        return SpecificationData(
            kind=self.kind,
            input=tuple(s.to_plain() for s in self.input),
            output=tuple(s.to_plain() for s in self.output),
        )

    def preprocess(self, raw: Any, context: Context) -> Union[np.ndarray, Tensors]:
        """One raw sample to the model's input, without batch axis.

        Returns:
            An array for the model's only input, or a mapping of input name to array.

        Raises:
            SpecificationError: The sample is not what the specification says.
        """
        value = raw
        for step in self._fused:
            value = step(value, context)
        return value  # type: ignore[no-any-return]

    def scores(self, outputs: Tensors, context: Context) -> Any:
        """Model outputs of one sample to scores: every output step but those that present.

        Returns:
            The first output's array where no step changed it.
        """
        value: Any = outputs
        for step in self.output:
            if step.presents:
                break
            value = step(value, context)
        if value is not outputs:
            return value
        if not outputs:
            raise SpecificationError("the model has no output")
        return next(iter(value.values()))

    def postprocess(self, outputs: Tensors, context: Context) -> Any:
        """Model outputs of one sample to the answer: every output step.

        Returns:
            What the last step gives; the mapping of outputs itself where there are no steps.
        """
        value: Any = outputs
        for step in self.output:
            value = step(value, context)
        return value

    def answer(self, outputs: Tensors, context: Context) -> tuple[Any, Any]:
        """`scores` and `postprocess` of one sample, with every step run once."""
        value: Any = outputs
        scores: Any = None
        for step in self.output:
            if step.presents and scores is None:
                scores = value
            value = step(value, context)
        scores = value if scores is None else scores
        return next(iter(outputs.values())) if scores is outputs else scores, value


FOLDER = "specification"
"""Of the bundle, where the files lie that steps name."""


def files_of(data: SpecificationData) -> tuple[str, ...]:
    """Names of the files that a specification's steps need, each once.

    Raises:
        SpecificationError: There is no such step, or a name is not one of a file.
    """
    steps = [step_from_plain(s, "a step") for s in (*data.input, *data.output)]
    return tuple(dict.fromkeys(name for step in steps for name in _files_of(step)))


def _files_of(step: Step) -> tuple[str, ...]:
    names = tuple(str(getattr(step, setting)) for setting in step.file_settings)
    for name in names:
        if not _FILE.fullmatch(name):
            raise SpecificationError(f"step {step.name} names a file {name!r:.60}", "give a name without a folder")
    return names
