"""Every peer's own default int8 of a subject, as a model that can be judged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from subjects import LIMITS, Subject

from edgekit_converters.files import open_model
from edgekit_converters.passes.onnx_file import prepare
from edgekit_converters.passes.tflite_file import arguments, rebound
from edgekit_converters.passes.tflite_file import prepare as signed
from edgekit_converters.quiet import quiet
from edgekit_converters.recipe import Converted
from edgekit_runtime.manifest import Binding

HERE = Path(__file__).parent
Peer = Callable[[Subject, Path], Converted]


class Unfit(Exception):
    """The peer does not take this subject, or fails on it; the words say why."""


def ai_edge_quantizer(subject: Subject, folder: Path) -> Converted:
    """``static_wi8_ai8`` with the quantizer's own calibration."""
    from ai_edge_quantizer import quantizer, recipe

    _only(subject, "tflite")
    path = signed(subject.floating.path, folder / "signed.tflite")
    key, names = arguments(path)
    samples = [{names[n]: v for n, v in _arrays(subject, row).items()} for row in subject.calibration]
    worker = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
    with quiet():
        result = worker.quantize(worker.calibrate({key: samples}))
    written = folder / "aeq.tflite"
    written.write_bytes(bytes(result.quantized_model))
    return rebound(subject.floating, written)


def tensorflow(subject: Subject, folder: Path) -> Converted:
    """`TFLiteConverter` on the Keras model."""
    _only(subject, "tflite")
    if subject.keras is None:
        raise Unfit("no Keras model")
    written = folder / "tensorflow.tflite"
    _child(sys.executable, "tf_int8.py", subject, subject.keras, written)
    session = open_model(written, "tflite")
    (given,), (made,) = session.inputs, session.outputs
    session.close()
    ends = [
        Binding(old.tensor, new.name, new.shape, new.dtype, new.scale, new.zero_point)
        for old, new in ((subject.floating.inputs[0], given), (subject.floating.outputs[0], made))
    ]
    return replace(subject.floating, path=written, inputs=(ends[0],), outputs=(ends[1],))


def onnxruntime(subject: Subject, folder: Path) -> Converted:
    """`quantize_static` as it stands, on the file prepared as its manual says."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    _only(subject, "onnx")

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.waiting = iter([_arrays(subject, row) for row in subject.calibration])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.waiting, None)

    written = folder / "onnxruntime.onnx"
    with quiet():
        quantize_static(str(prepare(subject.floating.path, folder, LIMITS)), str(written), Reader())
    return replace(subject.floating, path=written)


def nncf(python: str | None) -> Peer:
    """NNCF by the Python of its own environment."""

    def peer(subject: Subject, folder: Path) -> Converted:
        _only(subject, "onnx")
        if python is None:
            raise Unfit("not installed: give --nncf PYTHON")
        written = folder / "nncf.onnx"
        _child(python, "nncf_int8.py", subject, prepare(subject.floating.path, folder, LIMITS), written)
        return replace(subject.floating, path=written)

    return peer


def _only(subject: Subject, format: str) -> None:
    if subject.floating.format != format:
        raise Unfit(f"{format} only")


def _arrays(subject: Subject, row: object) -> dict[str, np.ndarray]:
    return {b.name: np.asarray(row[b.tensor], np.float32) for b in subject.floating.inputs}  # type: ignore[index]


def _child(python: str, script: str, subject: Subject, model: Path, written: Path) -> None:
    samples = written.with_suffix(".npz")
    np.savez(samples, x=np.stack([next(iter(_arrays(subject, row).values())) for row in subject.calibration]))
    done = subprocess.run(
        [python, str(HERE / script), str(model), str(samples), str(written)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unfit("fails: " + (done.stderr.strip().splitlines() or ["?"])[-1][:80])
