"""TFLite files on an interpreter with TensorFlow Lite's Python API; shared by the `litert` and `tflite` back ends.

Tensors go by the names they have in the file's main subgraph (``serving_default_x:0``), not by those of a signature:
every file has the former, not every file the latter, and their order may differ between versions of a converter, so
that nothing is ever bound by position. Files that give one name to several tensors exist; the second is ``NAME#2``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Callable, Optional

import numpy as np

from edgekit_runtime.backends.base import FileTensor, Model, Session, check_threads
from edgekit_runtime.errors import BackendError

IDENTIFIER = b"TFL3"

# a piece of the interpreter's message -> what to do
_HINTS = {
    "An older version of this builtin": "the file is newer than this interpreter: update it, or export again for this "
    "target",
    "Didn't find op for builtin opcode": "the file is newer than this interpreter: update it, or export again for this "
    "target",
    "Flex delegate": "the model holds TensorFlow's own operations, which no device interpreter has; export it without "
    "them",
    "edgetpu-custom-op": "the file is compiled for an Edge TPU and runs on the edgetpu back end alone; without one, "
    "ask for its CPU twin in the same bundle with --backend litert",
}
COMPILED = b"edgetpu-custom-op"
"""Stands in every file that is compiled for an Edge TPU."""


def _tensor(detail: dict[str, Any]) -> FileTensor:
    scales, zeros = detail["quantization_parameters"]["scales"], detail["quantization_parameters"]["zero_points"]
    kind = np.dtype(detail["dtype"])
    whole = kind.kind in "iu" and len(scales) == 1
    signature = detail.get("shape_signature", detail["shape"])
    return FileTensor(
        name=str(detail["name"]),
        shape=tuple(int(s) for s in signature),
        dtype="string" if kind.kind in "SUO" else kind.name,
        scale=float(scales[0]) if whole else 0.0,
        zero_point=int(zeros[0]) if whole else 0,
    )


def _tensors(details: Sequence[dict[str, Any]]) -> tuple[FileTensor, ...]:
    seen: dict[str, int] = {}
    found = []
    for tensor in map(_tensor, details):
        seen[tensor.name] = seen.get(tensor.name, 0) + 1
        again = seen[tensor.name] > 1
        found.append(replace(tensor, name=f"{tensor.name}#{seen[tensor.name]}") if again else tensor)
    return tuple(found)


class FlatbufferSession(Session):
    """A TFLite model held by an interpreter; inputs and outputs are copied once each, as its Python API does.

    Args:
        make: Builds the interpreter from the file's bytes and a number of threads.
        model: The file's content.
        threads: Threads, None for the interpreter's own choice.
        label: Where it runs, in words.
    """

    def __init__(self, make: Callable[..., Any], model: Model, threads: Optional[int], label: str) -> None:
        check_threads(threads)
        # The interpreter keeps a pointer into the bytes object; a memoryview must be copied once into bytes.
        content = model if isinstance(model, bytes) else bytes(model)
        if content[4:8] != IDENTIFIER:
            raise BackendError("the model is not a TFLite file (its identifier is missing)")
        try:
            self._interpreter = make(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, SystemError) as error:
            message = _one_line(error)
            hint = next((h for piece, h in _HINTS.items() if piece in message), "")
            raise BackendError(f"the interpreter refuses the model ({message})", hint) from error
        ins, outs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.inputs, self.outputs = _tensors(ins), _tensors(outs)
        self.placement = _placement(self._interpreter, label)
        self._ins = [d["index"] for d in ins]
        self._outs = [d["index"] for d in outs]
        self._shapes = [tuple(int(s) for s in d["shape"]) for d in ins]

    def run(self, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One inference; inputs are resized where the file lets an extent vary."""
        interpreter = self._interpreter
        if interpreter is None:
            raise BackendError("the model was closed already")
        if len(feeds) != len(self._ins):
            raise BackendError(f"the model takes {len(self._ins)} inputs, not {len(feeds)}")
        if [feed.shape for feed in feeds] != self._shapes:
            self._resize(feeds)
        for number, (feed, index) in enumerate(zip(feeds, self._ins)):
            try:
                interpreter.set_tensor(index, feed)
            except (ValueError, TypeError) as error:
                raise self._misfit(number, feed) from error
        try:
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"the interpreter failed ({_one_line(error)})") from error
        return [interpreter.get_tensor(index) for index in self._outs]

    def _resize(self, feeds: Sequence[np.ndarray]) -> None:
        for number, (feed, wanted) in enumerate(zip(feeds, self.inputs)):
            if len(feed.shape) != len(wanted.shape) or any(
                want not in (-1, have) for have, want in zip(feed.shape, wanted.shape)
            ):
                raise self._misfit(number, feed)
        self._shapes = []  # unknown until all of it has worked
        try:
            for feed, index in zip(feeds, self._ins):
                self._interpreter.resize_tensor_input(index, feed.shape)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            shapes = ", ".join(str(feed.shape) for feed in feeds)
            raise BackendError(f"the interpreter cannot take inputs of shape {shapes} ({_one_line(error)})") from error
        self._shapes = [feed.shape for feed in feeds]

    def _misfit(self, number: int, feed: np.ndarray) -> BackendError:
        wanted = self.inputs[number]
        return BackendError(f"input {wanted.name!r} takes {wanted.dtype} {wanted.shape}, not {feed.dtype} {feed.shape}")

    def close(self) -> None:
        """Drop the interpreter and with it the model."""
        self._interpreter = None


def _placement(interpreter: Any, label: str) -> str:
    """Where it runs: `label`, with how many of the operators a delegate took where the interpreter tells.

    An interpreter lists the file's operators first, then those that its delegates put in their place; both kinds run
    in the order of a plan that Python does not show. What a delegate took is found by going from its outputs back to
    its inputs.
    """
    try:
        details = interpreter._get_ops_details()
    except (AttributeError, RuntimeError, ValueError):
        return label
    delegates = [d for d in details if d["op_name"] == "DELEGATE"]
    originals = [d for d in details if d["op_name"] != "DELEGATE"]
    if any(d["op_name"] == COMPILED.decode() for d in originals) or not originals:
        return label  # the Edge TPU's share is one operator, which stands for many
    taken = _taken(delegates, originals)
    return f"{label}, {taken} of {len(originals)} operators delegated"


def _taken(delegates: list[dict[str, Any]], originals: list[dict[str, Any]]) -> int:
    makers = {int(t): d for d in originals for t in d["outputs"]}
    found = set()
    for delegate in delegates:
        ends = {int(t) for t in delegate["inputs"]}
        waiting = [int(t) for t in delegate["outputs"]]
        while waiting:
            tensor = waiting.pop()
            maker = makers.get(tensor)
            if tensor in ends or maker is None or maker["index"] in found:
                continue
            found.add(maker["index"])
            waiting += [int(t) for t in maker["inputs"]]
    return len(found)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
