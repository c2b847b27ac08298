"""NNCF's default int8 of an ONNX file, run by a Python that has it: ``nncf_int8.py MODEL SAMPLES.npz OUT.onnx``."""

from __future__ import annotations

import sys

import nncf
import numpy as np
import onnx


def main(model: str, samples: str, out: str) -> None:
    """`nncf.quantize` with its defaults."""
    loaded = onnx.load(model)
    name = loaded.graph.input[0].name
    data = nncf.Dataset(list(np.load(samples)["x"]), lambda row: {name: row})
    onnx.save(nncf.quantize(loaded, data), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
