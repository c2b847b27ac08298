"""What every pass must hold with its settings at their defaults."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.fidelity import compare, random_feeds
from edgekit_converters.passes import apply_recipe
from edgekit_converters.recipe import PassContext
from edgekit_converters.registry import conversion, load_source, pass_class, pass_names
from edgekit_converters.source import SourceRequest

from ..dense import dense_onnx, dense_tflite
from ..models import LIMITS, calibration

CLOSE = {"fp16": 0.01, "w8a16": 0.05, "w8": 0.03, "w4": 0.25}
"""Largest error as a share of the output's range; 0.1 for the others."""


@pytest.fixture(scope="module")
def networks(request, tmp_path_factory):
    """Call with a format: (source, float model) of a convolutional network and of a dense one."""
    made = {}

    def load(format: str):
        if format not in made:
            folder = tmp_path_factory.mktemp(format)
            content = dense_tflite() if format == "tflite" else dense_onnx(False).SerializeToString()
            (folder / f"dense.{format}").write_bytes(content)
            made[format] = []
            for path in (request.getfixturevalue(f"{format}_file"), folder / f"dense.{format}"):
                source, place = load_source(SourceRequest(str(path))), tmp_path_factory.mktemp(format)
                made[format].append((source, conversion(format, format)(source, place, LIMITS)))
        return made[format]

    return load


def context(source, folder) -> PassContext:
    info = source.inputs[0]
    shape = tuple(1 if extent == -1 else extent for extent in info.shape)
    return PassContext(LIMITS, folder, lambda: calibration(12, shape, info.name))


def applied(name, networks, folder):
    """The pass on the first network that it does not refuse; a refusal is one sentence and leaves nothing."""
    for source, model in networks(pass_class(name).format):
        try:
            return source, model, apply_recipe([{"pass": name}], model, context(source, folder))
        except ConversionError as error:
            assert "\n" not in str(error) and error.hint and not list(folder.iterdir())
    pytest.fail(f"{name} refuses both networks")


@pytest.mark.parametrize("name", pass_names())
def test_a_pass_is_plain_data_and_named_after_what_it_makes(name):
    cls = pass_class(name)
    assert cls.name == name and dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen
    assert re.fullmatch(rf"{cls.format}-\w+", name), "FORMAT-PRECISION is how --quantize finds it"
    cls()  # every setting has a default


@pytest.mark.parametrize("name", pass_names())
def test_a_pass_stays_close_leaves_its_input_alone_and_replays(name, networks, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    before = {id(m): m.path.read_bytes() for _, m in networks(pass_class(name).format)}
    source, model, made = applied(name, networks, tmp_path / "a")
    assert model.path.read_bytes() == before[id(model)] and made.path != model.path
    assert made.name == name and made.tools and made.path.stat().st_size < model.path.stat().st_size
    assert compare(source, made, random_feeds(source.inputs, 6, 3), strict=False).relative < CLOSE.get(
        made.precision, 0.1
    )
    for binding in (*made.inputs, *made.outputs):
        assert binding.dtype == "float32", "ends stay float unless a setting says otherwise"
    (entry,) = made.recipe
    assert entry["pass"] == name and json.loads(json.dumps(made.recipe)) == list(made.recipe)
    again = apply_recipe(made.recipe, model, context(source, tmp_path / "b"))
    assert again.path.read_bytes() == made.path.read_bytes()


@pytest.mark.parametrize("name", pass_names())
def test_a_pass_refuses_another_format_and_an_unknown_setting(name, networks, tmp_path):
    source, model = networks(pass_class(name).format)[0]
    with pytest.raises(UsageError, match="works on .* models, this one is plain"):
        apply_recipe([{"pass": name}], dataclasses.replace(model, format="plain"), context(source, tmp_path))
    with pytest.raises(UsageError, match="no setting 'colour'"):
        apply_recipe([{"pass": name, "colour": 1}], model, context(source, tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [n for n in pass_names() if n.endswith(("int8", "w8a16"))])
def test_calibration_is_never_a_hidden_default(name, networks, tmp_path):
    _, model = networks(pass_class(name).format)[0]
    with pytest.raises(UsageError, match="--calibration-data"):
        apply_recipe([{"pass": name}], model, PassContext(LIMITS, tmp_path))
