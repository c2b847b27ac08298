"""What a diagnosis is made of: specifications and their neighbours, bundles as sources, and input that cannot be used."""

from __future__ import annotations

import json
from dataclasses import replace

import joblib
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from edgekit import DiagnosePlan, ExportPlan, diagnose, export
from edgekit.contract.diagnose import FINDERS
from edgekit.contract.diagnose.against import difference, read_specification
from edgekit.contract.diagnose.finding import short_name
from edgekit.contract.diagnose.neighbours import neighbours, scaling_name
from edgekit_converters.errors import NoConversion, SourceError
from edgekit_converters.limits import TargetLimits
from edgekit_converters.registry import conversion, load_source
from edgekit_converters.source import SourceRequest
from edgekit_runtime import Bundle
from edgekit_runtime.errors import EdgekitError, UsageError
from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.presets import IMAGE_PRESETS, image_specification
from edgekit_runtime.specification.step import Context

from .conftest import edgekit, plan

PICTURES = list(np.random.default_rng(0).integers(0, 256, (6, 20, 30, 3), np.uint8))


def picture(preset: str = "0..1", **changes) -> SpecificationData:
    return image_specification(preset, 16, 16, **changes).to_data()


# -- two specifications ------------------------------------------------------------------------------------------------


def test_a_specification_differs_nowhere_from_itself():
    found = difference(picture(), picture(), PICTURES)
    assert (found.values, found.bits, found.largest, found.step) == (0, 0, 0, 0)
    assert "bit by bit, on 6 samples" in found.in_words()


def test_the_first_step_that_differs_is_named_and_how_much():
    found = difference(picture(), picture(interpolation="nearest"), PICTURES)
    assert found.step == 2 and found.there["interpolation"] == "nearest"
    assert 0.5 < found.values <= 1 and 0 < found.bits < found.values and 0.1 < found.largest <= 1
    said = "step 2 differs first: resize (interpolation bilinear) here, resize (interpolation nearest) there"
    assert said in found.in_words()


def test_a_swapped_colour_order_differs_by_as_much_as_the_channels_do():
    found = difference(picture("0..255"), picture("0..255", colour="bgr"), PICTURES)
    upside = [Specification.from_data(picture("0..255")).preprocess(p, Context()) for p in PICTURES]
    wanted = [np.mean(u != u[..., ::-1]) for u in upside]
    assert found.step == 1 and found.values == pytest.approx(np.mean(wanted))
    assert found.largest == max(float(np.abs(u - u[..., ::-1]).max()) for u in upside)


def test_the_same_arithmetic_in_other_words_is_no_difference():
    one = replace(picture(), input=({"step": "decode"}, {"step": "cast", "dtype": "float32"}))
    other = replace(picture(), input=({"step": "decode"}, {"step": "scale", "factor": 1.0, "offset": 0.0}))
    assert difference(one, other, PICTURES).step == 0


def test_another_shape_or_kind_is_told():
    found = difference(picture(), image_specification("0..1", 8, 8).to_data(), PICTURES)
    assert (found.values, found.bits, found.largest) == (1.0, 1.0, None)
    with pytest.raises(UsageError, match="one specification is for image samples, the other for tensor samples"):
        difference(picture(), SpecificationData("tensor"), PICTURES)


@pytest.mark.parametrize("text", ["", "[1]", '{"input": []}', "\x00"])
def test_what_is_no_specification_is_one_sentence(text, tmp_path):
    (tmp_path / "s.json").write_text(text)
    for name in ("s.json", "nothing.json"):
        with pytest.raises(UsageError, match="is neither a bundle nor a specification") as error:
            read_specification(tmp_path / name)
        assert "\n" not in str(error.value)


# -- neighbours --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(sorted(IMAGE_PRESETS)),
    st.sampled_from(["rgb", "bgr", "gray"]),
    st.sampled_from(["stretch", "letterbox", "crop"]),
    st.sampled_from(["hwc", "chw"]),
    st.sampled_from(["nearest", "bilinear", "bicubic", "area"]),
)
def test_every_neighbour_is_a_specification_one_change_away(preset, colour, fit, layout, interpolation):
    channels = 1 if colour == "gray" else 3
    if channels == 1 and preset == "imagenet":
        preset = "0..1"
    made = picture(preset, colour=colour, fit=fit, layout=layout, interpolation=interpolation)
    found = list(neighbours(made, PICTURES[:2]))
    assert {n.axis for n in found} >= {"scaling", "resizing", "axis order"}
    assert any(n.axis == "colour order" for n in found) == (colour != "gray")
    assert len({json.dumps(n.specification.input) for n in found}) == len(found)
    for neighbour in found:
        assert neighbour.specification != made and neighbour.specification.output == made.output
        Specification.from_data(neighbour.specification)


def test_a_mistake_and_what_rights_it_are_neighbours_of_each_other():
    for wrong, right in ((picture(colour="rgb"), picture(colour="bgr")), (picture("0..255"), picture("imagenet"))):
        for one, other in ((wrong, right), (right, wrong)):
            found = [Specification.from_data(n.specification) for n in neighbours(one, PICTURES[:2])]
            assert Specification.from_data(other) in found


@pytest.mark.parametrize("preset", IMAGE_PRESETS)
def test_a_scaling_is_called_by_its_preset_however_it_is_written(preset):
    assert scaling_name(picture(preset).input) == preset
    if preset == "0..1":
        other = [{"step": "decode"}, {"step": "normalize", "mean": [0.0], "std": [255.0]}]
        assert scaling_name(other) == "0..1"


def test_standardising_is_a_neighbour_of_a_table_and_of_sound():
    table = SpecificationData("table", ({"step": "columns", "names": ["a", "b"]},))
    rows = [[100.0, 0.0], [300.0, 0.0]]
    (found,) = [n for n in neighbours(table, rows) if n.axis == "normalisation"]
    assert found.specification.input[1] == {"step": "normalize", "mean": [200.0, 0.0], "std": [100.0, 1.0]}
    sound = SpecificationData("audio", ({"step": "waveform", "peak": True},))
    assert [n.specification.input[0]["peak"] for n in neighbours(sound, [])] == [False]


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("conv1", "conv1"),
        ("torch.nn.modules.container.Sequential/net.Block_2;;a/torch.nn.modules.conv.Conv2d_first;1", "Conv2d_first"),
        ("model/block_1/Relu;model/block_1/Conv2D", "block_1/Conv2D"),
        (";1", ";1"),
    ],
)
def test_layers_are_called_by_what_tells_them_apart(name, short):
    assert short_name(name) == short


# -- tables ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """A linear network that learnt standardised irises, in ONNX, and a bundle of it whose rows are not."""
    folder = tmp_path_factory.mktemp("flowers")
    x, y = load_iris(return_X_y=True)
    x = x * [1, 10, 100, 1000]
    scaler = StandardScaler().fit(x)
    learnt = LogisticRegression(max_iter=500).fit(scaler.transform(x), y)
    weights = [numpy_helper.from_array(learnt.coef_.astype(np.float32), "w"),
               numpy_helper.from_array(learnt.intercept_.astype(np.float32), "b")]  # fmt: skip
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [-1, s]) for n, s in (("x", 4), ("y", 3))]
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], "dense", transB=1)
    graph = helper.make_graph([node], "linear", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), folder / "net.onnx")
    lines = ["a,b,c,d,y", *(",".join(map(str, [*row, f"kind {k}"])) for row, k in zip(x, y, strict=True))]
    (folder / "iris.csv").write_text("\n".join(lines))
    made = export(ExportPlan(str(folder / "net.onnx"), "generic-cpu", data=str(folder / "iris.csv"), label="y",
                             quantize="fp32", output=str(folder / "linear")))  # fmt: skip
    return folder, made


def test_a_table_that_is_not_standardised_as_in_training_is_found_without_any_source(flowers, tmp_path):
    folder, made = flowers
    assert made.source.metrics["accuracy"] < 0.8
    found = diagnose(DiagnosePlan(str(made.bundle), data=str(folder / "iris.csv"), label="y", apply=True,
                                  output=str(tmp_path / "mended")))  # fmt: skip
    (first,) = found.findings
    assert first.subject == "missing normalisation" and first.evidence["after"].startswith("mean 0, spread 1")
    assert found.repair.held and found.repair.accuracy > 0.85
    with Bundle.open(found.repair.bundle) as mended:
        step = mended.manifest.specification.input[1]
    assert step["step"] == "normalize" and step["mean"][3] == pytest.approx(1199, rel=0.1)


# -- a bundle as a source ----------------------------------------------------------------------------------------------


def test_a_bundle_is_exported_again_from_its_float_variant(flowers, tmp_path):
    folder, made = flowers
    again = export(ExportPlan(str(made.bundle), "pi4", data=str(folder / "iris.csv"), label="y", format="onnx",
                              output=str(tmp_path / "again")))  # fmt: skip
    assert again.source.metrics == made.source.metrics
    assert again.manifest.source.framework == "bundle" and again.manifest.target == "pi4"


def test_a_bundle_gives_only_the_formats_that_it_holds(flowers, tmp_path):
    source = load_source(SourceRequest(str(flowers[1].bundle)))
    assert source.refuses("tflite") and not source.refuses("onnx")
    with pytest.raises(NoConversion, match="holds no float tflite file: give --format onnx"):
        conversion("bundle", "tflite")(source, tmp_path, TargetLimits(("tflite",)))
    source.close()


# -- what cannot be used -----------------------------------------------------------------------------------------------


def test_a_bundle_without_a_float_variant_says_what_to_give(trained, digits_onnx, tmp_path):
    made = export(plan(trained, tmp_path / "small", model=str(digits_onnx), weights=None, input_shape=(),
                       quantize="int8"))  # fmt: skip
    with pytest.raises(UsageError, match="holds no float variant to hold onnx-int8 against: give --source"):
        diagnose(DiagnosePlan(str(made.bundle), data=str(trained / "digits.npz")))
    with pytest.raises(SourceError, match="holds no float network to start from, only onnx-int8: give the original"):
        load_source(SourceRequest(str(made.bundle)))
    unlabelled = tmp_path / "rows.npz"
    np.savez(unlabelled, x=np.load(trained / "digits.npz")["x_test"])
    with pytest.raises(UsageError, match="has no labels.*give --data with labels"):
        diagnose(DiagnosePlan(str(made.bundle), data=str(unlabelled), source=str(digits_onnx)))
    held = tmp_path / "held.npz"
    arrays = np.load(trained / "digits.npz")
    np.savez(held, x_test=arrays["x_test"], y_test=arrays["y_test"])
    with pytest.raises(UsageError, match="no training samples to quantize anew with: give --calibration-data"):
        diagnose(DiagnosePlan(str(made.bundle), data=str(held), source=str(digits_onnx)))


def test_plain_code_of_a_classic_model_is_not_diagnosed(tmp_path):
    x, y = load_iris(return_X_y=True)
    joblib.dump(LogisticRegression(max_iter=500).fit(x, y), tmp_path / "linear.joblib")
    (tmp_path / "rows.csv").write_text("a,b,c,d,y\n" + "\n".join(f"{','.join(map(str, r))},{k}" for r, k in zip(x, y)))
    made = export(ExportPlan(str(tmp_path / "linear.joblib"), "generic-cpu", data=str(tmp_path / "rows.csv"), label="y",
                             format="c", trust=True, output=str(tmp_path / "linear")))  # fmt: skip
    with pytest.raises(UsageError, match="plain code of a classic model, proven equal to its source"):
        diagnose(DiagnosePlan(str(made.bundle), data=str(tmp_path / "rows.csv"), label="y"))


def test_without_data_two_bundles_are_held_together_on_golden_samples(flowers, tmp_path):
    made = flowers[1]
    steps = made.manifest.specification.input
    other = {"kind": "table", "input": [*steps, {"step": "scale", "factor": 2.0}]}
    (tmp_path / "other.json").write_text(json.dumps(other))
    done = edgekit("diagnose", str(made.bundle), "--against", "other.json", "--json", cwd=tmp_path)
    said = json.loads(done.stdout)
    assert done.returncode == 0 and said["metric"] is None and said["shipped"] is None and said["repair"] is None
    (finding,) = said["findings"]
    assert finding["kind"] == "against" and finding["evidence"]["step"] == 2 and finding["evidence"]["values"] > 0.9
    assert "here" not in finding["evidence"] and finding["evidence"]["there"]["factor"] == 2.0
    done = edgekit("diagnose", str(made.bundle), "--against", str(made.bundle), cwd=tmp_path)
    assert done.returncode == 0 and "nothing found" in done.stdout and "bit by bit" in done.stdout


def test_a_better_specification_of_another_bundle_is_taken_over(flowers, tmp_path):
    folder, made = flowers
    x = load_iris().data * [1, 10, 100, 1000]
    step = {"step": "normalize", "mean": x.mean(0).tolist(), "std": x.std(0).tolist()}
    (tmp_path / "training.json").write_text(
        json.dumps({"kind": "table", "input": [*made.manifest.specification.input, step]})
    )
    found = diagnose(DiagnosePlan(str(made.bundle), data=str(folder / "iris.csv"), label="y",
                                  against=str(tmp_path / "training.json")))  # fmt: skip
    (first,) = found.findings
    assert first.kind == "against" and first.explains > 0.2 and first.evidence["values"] == 1.0
    assert first.fix.name == "pre-process as training.json does" and found.reachable > 0.85


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": None}, "what makes a bundle worse can only be told from labelled samples.*--data"),
        ({"data": None, "against": "a.json", "apply": True}, "--apply measures whether a repair helps: give --data"),
        ({"max_drop": 2.0}, "--max-drop 2 is not a share"),
        ({"limit": 0}, "--limit must be at least 1"),
    ],
)
def test_a_plan_that_cannot_work_is_refused_before_any_work(changes, said):
    with pytest.raises(UsageError, match=said):
        DiagnosePlan(**{"bundle": "b.edgekit", "data": "d.npz", **changes})


def test_the_command_line_says_in_one_sentence_what_is_wrong(flowers, tmp_path):
    bundle, data = str(flowers[1].bundle), str(flowers[0] / "iris.csv")
    (tmp_path / "broken.edgekit").write_bytes(b"PK")
    for words, code, said in (
        ([bundle], 2, "give --data with labels"),
        ([bundle, "--data", data, "--label", "y", "--only", "weather"], 2, f"there are {', '.join(FINDERS)}"),
        ([bundle, "--data", data, "--label", "y", "--apply", "-o", bundle], 2, "--output is the bundle itself"),
        ([bundle, "--data", data, "--label", "y", "--source", "gone.onnx"], 1, "there is no file gone.onnx"),
        (["broken.edgekit", "--data", data], 1, "broken.edgekit"),
    ):
        done = edgekit("diagnose", *words, cwd=tmp_path)
        assert done.returncode == code and said in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 3


def test_a_sample_that_the_specification_refuses_is_an_error_of_ours(flowers, tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"kind": "table", "input": [{"step": "columns", "names": ["z"]}]}))
    with pytest.raises(EdgekitError, match="columns"):
        diagnose(DiagnosePlan(str(flowers[1].bundle), against=str(tmp_path / "other.json")))
