"""What a device interpreter must offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Optional, Union

from edgekit_runtime.errors import MissingRequirement, UsageError

if TYPE_CHECKING:
    import numpy as np

Model = Union[bytes, memoryview]


@dataclass(frozen=True)
class FileTensor:
    """An input or output as the model file has it.

    Attributes:
        name: Name inside the file; unique among its inputs or outputs.
        shape: Extents; -1 for one that may vary.
        dtype: numpy dtype name, or ``string``.
        scale: Quantization step of whole-number tensors, 0 where there is none.
        zero_point: Whole number that stands for 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0


class Session(ABC):
    """A model that an interpreter holds ready. Not to be used from two threads at once.

    Attributes:
        inputs: Its inputs, in the file's order.
        outputs: Its outputs, in the file's order.
        placement: Where it runs, in words, as ``CPU (XNNPACK)``.
    """

    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]
    placement: str

    @abstractmethod
    def run(self, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One inference.

        Args:
            feeds: One array per input, in order, of the file's dtype and shape (C-contiguous where possible).

        Returns:
            One array per output, in order; each is the caller's to keep.

        Raises:
            BackendError: A feed does not fit, the interpreter failed, or the session is closed.
        """

    def run_named(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`run` by tensor name."""
        outputs = self.run([feeds[i.name] for i in self.inputs])
        return {o.name: value for o, value in zip(self.outputs, outputs)}

    def close(self) -> None:
        """Release the interpreter's memory; further calls of `run` are refused. Closing twice is allowed."""


class Backend(ABC):
    """One interpreter.

    Attributes:
        name: What it is called in manifests and on the command line.
        package: Import name of what it needs.
        extra: The ``edgekit-runtime[...]`` extra that brings it, or what it runs on where its maker brings the rest.
        formats: Model formats it opens.
        native: Whether its models are machine code, which may do anything and runs only where the user trusts it.
        accelerator: What it runs on, as ``Edge TPU``; empty for the CPU. Nothing takes the place of one in silence.
        install: What to do where it is missing, if the extra alone does not bring it.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    extra: ClassVar[str]
    formats: ClassVar[tuple[str, ...]]
    native: ClassVar[bool] = False
    accelerator: ClassVar[str] = ""
    install: ClassVar[str] = ""

    @abstractmethod
    def version(self) -> Optional[str]:
        """Version of the interpreter, or None where it is not installed. Imports nothing heavy."""

    @abstractmethod
    def open(self, model: Model, *, threads: Optional[int] = None) -> Session:
        """Load a model.

        Args:
            model: The file's content. Python's interpreters take ``bytes`` alone, so that a view into a memory-mapped
                bundle is copied once, here; TFLite's keep pointing into that copy, onnxruntime makes its own.
            threads: Threads for one inference, at least 1; None for the interpreter's own choice.

        Raises:
            MissingRequirement: The interpreter is not installed; names the extra.
            UsageError: A number of threads that makes no sense.
            BackendError: It refused the model.
        """

    @abstractmethod
    def probe_model(self) -> bytes:
        """A model of one operation that gives ``2 * x`` for a float32 input of shape (1, 4), for `doctor`."""


def check_threads(threads: Optional[int]) -> None:
    """Refuse a number of threads below 1.

    Raises:
        UsageError: It is.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"{threads} threads are too few", "give at least 1, or none for the interpreter's own choice")


def missing(absent: Backend) -> MissingRequirement:
    """The error that says how to install a back end's interpreter."""
    return MissingRequirement(
        f"the {absent.name} back end needs {absent.package}, which is not installed",
        advice(absent),
    )


def advice(absent: Backend) -> str:
    """What brings a back end's interpreter."""
    return absent.install or f'pip install "edgekit-runtime[{absent.extra}]"'
