"""What every source kind must hold, and every cell of its row of the source × format table.

A plug-in's kind needs a model of its own: ``EDGEKIT_EXAMPLE_<KIND>`` (capitals, underscores) names one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from edgekit_converters.fidelity import compare, random_feeds
from edgekit_converters.registry import FORMATS, SOURCES, conversion, load_source, matrix, source_kinds
from edgekit_converters.source import SourceRequest
from edgekit_runtime.errors import EdgekitError

from ..models import LIMITS
from ..text_encoders import encoder  # noqa: F401

CELLS = [(kind, format) for kind, row in matrix().items() for format in FORMATS if row[format]]
HEAVY = {"torch", "tensorflow", "keras", "tf_keras", "onnx", "onnxruntime", "ai_edge_litert"}


@pytest.fixture(scope="module")
def loaded(request):
    """Call with a kind: a small model of it, loaded once, since some kinds start a child process for it."""
    sources = {}

    def load(kind: str):
        if kind not in sources:
            sources[kind] = load_source(example(kind, request), kind)
        return sources[kind]

    yield load
    for source in sources.values():
        source.close()


def example(kind: str, request) -> SourceRequest:
    if kind not in SOURCES:
        variable = "EDGEKIT_EXAMPLE_" + kind.upper().replace("-", "_")
        if variable not in os.environ:
            pytest.skip(f"{variable} names no model of the plug-in's kind {kind!r}")
        return SourceRequest(os.environ[variable])
    if kind in ("onnx", "tflite"):
        return SourceRequest(str(request.getfixturevalue(f"{kind}_file")))
    if kind in ("sklearn", "xgboost", "lightgbm"):
        return SourceRequest(str(request.getfixturevalue("classic_models")[kind]), trust=True)
    if kind == "bundle":
        return SourceRequest(str(request.getfixturevalue("float_bundle")))
    if kind == "huggingface":
        return SourceRequest(str(request.getfixturevalue("encoder")), shapes={"": (1, 12)})
    models = request.getfixturevalue("models")
    if kind == "torch":
        return SourceRequest(f"{models['torch']}:network", models["safetensors"], {"": (-1, 3, 16, 16)})
    return SourceRequest(str(models[kind]))


def test_the_table_has_the_cells_it_promises():
    promised = {
        ("torch", "onnx"), ("torch", "tflite"), ("keras", "onnx"), ("keras", "tflite"), ("keras-legacy", "onnx"),
        ("keras-legacy", "tflite"), ("onnx", "onnx"), ("tflite", "tflite"), ("tflite", "onnx"),
        ("huggingface", "onnx"), ("huggingface", "tflite"),
        *((kind, format) for kind in ("sklearn", "xgboost", "lightgbm") for format in ("c", "onnx")),
    }  # fmt: skip
    assert promised <= set(CELLS) and ("onnx", "tflite") not in CELLS


@pytest.mark.parametrize("kind", source_kinds())
def test_a_kind_is_asked_what_it_loads_without_its_framework(kind):
    """On every load each kind is asked; an import here would be paid by all."""
    program = f"""
import sys
from edgekit_converters.registry import source_kinds
from edgekit_converters.source import SourceRequest
kind = source_kinds()[{kind!r}]
assert kind.name == {kind!r} and kind.extra
assert not kind.claims(SourceRequest("nothing/of/the.kind"))
assert kind.conversions()
sys.exit(repr({HEAVY!r} & set(sys.modules) or ""))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "''", done.stderr


@pytest.mark.parametrize("kind", source_kinds())
def test_a_model_that_is_not_there_is_one_sentence(kind, tmp_path):
    with pytest.raises(EdgekitError) as error:
        load_source(SourceRequest(str(tmp_path / "nothing.xyz")), kind)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", source_kinds())
def test_a_source_tells_what_it_is_and_answers_the_same_twice(kind, loaded):
    source = loaded(kind)
    assert source.framework == kind and "/" not in source.name and re.fullmatch("[0-9a-f]{64}", source.sha256)
    assert source.tools and all(source.tools.values())
    feeds = random_feeds(source.inputs, 2, 0)[0]
    first, second = source.run(feeds), source.run(feeds)
    assert list(first) == [o.name for o in source.outputs]
    for info in source.outputs:
        value = first[info.name]
        assert value.dtype == info.dtype and value.ndim == len(info.shape)
        assert all(want in (-1, have) for want, have in zip(info.shape, value.shape, strict=True))
        assert np.isfinite(value).all() and np.array_equal(value, second[info.name])


@pytest.mark.parametrize(("kind", "format"), CELLS)
def test_a_cell_keeps_what_the_model_does(kind, format, loaded, tmp_path):
    source = loaded(kind)
    converted = conversion(kind, format)(source, tmp_path, LIMITS)
    assert converted.format == format and converted.precision == ("fp64" if format == "c" else "fp32")
    assert all(tmp_path in path.parents for path in (converted.path, *converted.beside, *converted.builds.values()))
    assert [b.tensor for b in converted.inputs] == [i.name for i in source.inputs]
    assert [b.tensor for b in converted.outputs] == [o.name for o in source.outputs]
    assert compare(source, converted, random_feeds(source.inputs, 3, 0), strict=True).max_abs <= 1e-4
