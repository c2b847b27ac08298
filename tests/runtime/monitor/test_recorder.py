"""A monitor around a model: what it counts, when windows end, and that answers stay what they were."""

import json

import numpy as np
import pytest

from edgekit_runtime.backends import choose
from edgekit_runtime.errors import EdgekitError, MissingRequirement, SpecificationError
from edgekit_runtime.manifest import (
    SCHEMA,
    Binding,
    ConfidenceBin,
    DataInfo,
    Manifest,
    Member,
    Monitoring,
    Quantiles,
    SourceInfo,
    SpecificationData,
    TensorInfo,
    Variant,
)
from edgekit_runtime.monitor.grid import Grid
from edgekit_runtime.monitor.recorder import Monitor, Watched
from edgekit_runtime.monitor.sketch import Sketch
from edgekit_runtime.monitor.watching import OTHERS
from edgekit_runtime.monitor.window import Window
from edgekit_runtime.plain import PlainDataError
from edgekit_runtime.runtime import Runtime

from .test_drift import LIMITS

EVEN = Quantiles(tuple(i / 32 for i in range(33)), limits=LIMITS)
LABELS = ("low", "mid", "high", "top")


def manifest_of(**changes) -> Manifest:
    settings = {
        "task": "classification",
        "labels": LABELS,
        "specification": SpecificationData(
            "table",
            ({"step": "columns", "names": ["a", "b", "c", "colour"], "categories": {"colour": ["red", "blue"]}},),
            ({"step": "softmax"}, {"step": "top_k", "k": 2}),
        ),
        "data": (DataInfo("reference", 500, "0" * 64),),
        "monitoring": Monitoring(
            inputs={"a": EVEN, "b": EVEN, "c": EVEN, "colour": Quantiles((0.0,) * 33, nulls=1.0)},
            outputs=dict.fromkeys(LABELS, EVEN),
            confidence=(ConfidenceBin(0.2, 0.5, 50, 0.4), ConfidenceBin(0.5, 1.0, 50, 0.8)),
        ),
    }
    settings.update(changes)
    variant = Variant(
        "v",
        "onnx",
        "fp32",
        "m",
        (Binding("x", "x", (1, 4)),),
        (Binding("y", "y", (1, 4)),),
        ("onnx", "litert", "tflite"),
    )
    ends = {"inputs": (TensorInfo("x", (1, 4)),), "outputs": (TensorInfo("y", (1, 4)),)}
    return Manifest(
        SCHEMA,
        "m",
        "generic-cpu",
        variants=(variant,),
        chosen="v",
        source=SourceInfo("onnx", "m", "0"),
        **ends,
        **settings,
    )


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Doubled:
    """A session of ``2 * x``, so that a monitor is tested where no interpreter is installed."""

    inputs = (TensorInfo("x", (1, 4)),)
    outputs = (TensorInfo("y", (1, 4)),)

    def run(self, arrays):
        return [2 * arrays[0]]

    def close(self):
        pass


def watched(**settings) -> tuple[Watched, Clock]:
    clock = Clock()
    manifest = manifest_of(**settings)
    runtime = Runtime(manifest, manifest.variants[0], None, Doubled())
    return Watched(runtime, Monitor(runtime, seconds=60, clock=clock)), clock


ROW = {"a": 0.25, "b": 0.5, "c": None, "colour": "red"}


def test_answers_are_the_runtimes_own_and_everything_is_counted():
    model, _ = watched()
    assert model({**ROW, "c": 0.1}) == model.runtime({**ROW, "c": 0.1})
    model({"a": 7, "b": "0.5", "c": 0.9, "colour": "green"})
    with pytest.raises(SpecificationError):
        model({"a": "many", "b": 0, "c": 0, "colour": "blue"})
    totals, window = model.monitor.current()
    assert totals == window
    assert (window.requests, window.errors, window.latency.count, window.unfit) == (3, 1, 2, 0)
    assert window.inputs["a"].over == 1
    assert window.inputs["b"].bins[16] == 2
    assert "colour" not in window.inputs
    assert window.categories["colour"].counts == {"red": 1, "blue": 0}
    assert window.categories["colour"].unseen == 1
    assert all(s.count == 2 for s in window.outputs.values())
    assert sum(window.classes.counts.values()) == 2
    assert sum(window.confidence.counts) == 2


def test_missing_values_and_rows_without_names_are_counted():
    model, _ = watched()
    monitor = model.monitor
    monitor.count(0.1, raw=ROW)
    monitor.count(0.1, raw={"a": float("nan")})
    monitor.count(0.1, raw=[0.1, 0.2, 0.3, "blue"])
    window = monitor.current()[1]
    assert (window.inputs["a"].nulls, window.inputs["c"].nulls) == (1, 2)
    assert window.categories["colour"].counts == {"red": 1, "blue": 1}
    assert window.categories["colour"].nulls == 1


def test_windows_end_by_the_clock_and_are_given_once():
    model, clock = watched()
    monitor = model.monitor
    monitor.count(0.5)
    clock.now += 59
    monitor.count(0.5)
    assert monitor.take() == []
    clock.now += 1
    monitor.failed()
    (window,) = monitor.take()
    assert (window.begun, window.ended, window.requests) == (1000, 1060, 2)
    assert monitor.take() == []
    (rest,) = monitor.take(everything=True)
    assert (rest.begun, rest.requests, rest.errors) == (1060, 1, 1)
    assert monitor.current()[0].requests == 3


def test_quiet_windows_are_not_sent_and_a_clock_set_back_ends_one():
    model, clock = watched()
    monitor = model.monitor
    clock.now += 600
    assert monitor.take() == []
    monitor.count(0.5)
    clock.now -= 10_000
    monitor.count(0.5)
    (window,) = monitor.take()
    assert (window.requests, window.ended) == (1, window.begun)


def test_windows_that_nobody_takes_are_bounded_and_told():
    model, clock = watched()
    for _ in range(70):
        model.monitor.count(0.1)
        clock.now += 60
    assert len(model.monitor.take()) == 64
    assert model.monitor.lost == 6
    assert model.monitor.current()[0].requests == 70


def test_a_window_is_read_back_and_merges_to_the_whole():
    model, clock = watched()
    generator = np.random.default_rng(0)
    rows = [dict(zip("abc", r), colour="red") for r in generator.random((40, 3)).tolist()]
    for n, row in enumerate(rows):
        model.monitor.count(0.01 * n, raw=row, scores=generator.random(4))
        if n == 20:
            clock.now += 60
    windows = model.monitor.take(everything=True)
    assert len(windows) == 2
    manifest = model.monitor.manifest
    sent = [json.loads(json.dumps(w.to_plain(), allow_nan=False)) for w in windows]
    read = [Window.from_plain(s, manifest) for s in sent]
    assert read == windows
    assert read[0].merge(read[1]).inputs == model.monitor.current()[0].inputs
    with pytest.raises(PlainDataError, match="monitoring window"):
        Window.from_plain({**sent[0], "inputs": {}}, manifest)
    with pytest.raises(PlainDataError, match="monitoring window"):
        Window.from_plain({**sent[0], "requests": None}, manifest)
    with pytest.raises(ValueError, match="different models"):
        read[0].merge(Window(0.0))


def test_scores_that_do_not_fit_the_reference_are_told_apart():
    model, _ = watched()
    for scores in (np.zeros(3), np.array([]), np.array(["a"]), [[0.1, 0.2], [0.3, 0.4]]):
        model.monitor.count(0.1, scores=scores)
    window = model.monitor.current()[1]
    assert (window.unfit, window.outputs["low"].count) == (3, 1)


def test_a_single_probability_is_of_the_second_class():
    model, _ = watched(labels=("no", "yes"), monitoring=Monitoring(outputs={"0": EVEN}))
    for p in (0.9, 0.2, 0.1):
        model.monitor.count(0.1, scores=[p])
    assert model.monitor.current()[1].classes.counts == {"no": 2, "yes": 1}


def test_tensors_are_counted_sample_by_sample():
    model, _ = watched()
    feeds = {"x": np.ones((3, 4), np.float32)}
    assert np.array_equal(model.run(feeds)["y"], model.runtime.run(feeds)["y"])
    with pytest.raises(EdgekitError):
        model.run({})
    window = model.monitor.current()[1]
    assert (window.requests, window.errors, window.outputs["low"].count) == (4, 1, 3)
    assert len(model.predict_batch([{**ROW, "c": 0.0}] * 2)) == 2


def pictures_monitor(**settings) -> Monitor:
    reference = Monitoring(inputs={"brightness": Quantiles(tuple(float(i) for i in range(33)))})
    return Monitor(manifest_of(specification=SpecificationData("image"), monitoring=reference), seconds=320, **settings)


def test_pictures_are_summarised_as_often_as_the_budget_and_the_window_ask():
    moments = [0.0]

    def timer() -> float:
        moments[0] += 0.0005  # so that a summary takes half a millisecond
        return moments[0]

    monitor = pictures_monitor(budget=20e-6, timer=timer)
    for _ in range(1000):
        monitor.count(0.1, raw=np.full((8, 8, 3), 16, np.uint8))
    monitor.count(0.1, raw=object())
    sketch = monitor.current()[1].inputs["brightness"]
    # 1000 calls pay for 20 ms, which are 40 summaries; the first came before any was paid for
    assert sketch.bins[16] == sketch.count and 38 <= sketch.count <= 42
    for _ in range(5):
        moments[0] += 10  # a tenth of a call a second: a window of 320 s would have one only
        monitor.count(0.1, raw=np.full((8, 8, 3), 16, np.uint8))
    assert monitor.current()[1].inputs["brightness"].count == sketch.count + 5


def test_a_budget_that_is_ample_summarises_every_picture():
    monitor = pictures_monitor(budget=1.0)
    for _ in range(20):
        monitor.count(0.1, raw=np.full((8, 8, 3), 16, np.uint8))
    assert monitor.current()[1].inputs["brightness"].count == 20


def test_drift_is_found_in_the_window_where_it_happened():
    model, clock = watched()
    generator = np.random.default_rng(1)
    for shift in (0.0, 0.3):
        for row in generator.random((400, 3)):
            model.monitor.count(0.1, raw=dict(zip("abc", (row + np.array([shift, 0, 0])).tolist())))
        clock.now += 60
    before, after = (model.monitor.drift(w) for w in model.monitor.take())
    assert not any(d.drifted for d in before["inputs"].values())
    assert [n for n, d in after["inputs"].items() if d.drifted] == ["a"]
    assert after["outputs"] == {}


@pytest.mark.parametrize("settings", [{"seconds": 0}, {"seconds": float("nan")}, {"budget": -1}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match="a monitor needs"):
        Monitor(manifest_of(), **settings)


def test_a_real_interpreter_is_watched_too(double):
    try:
        choose(("litert", "tflite", "onnx"), None)
    except MissingRequirement as error:
        pytest.skip(str(error))
    with Runtime.open(double) as runtime:
        model = Watched(runtime)
        assert np.array_equal(model(np.ones(4, np.float32))["y"], [2, 2, 2, 2])
        assert model.monitor.current()[0].latency.count == 1


def test_many_scores_are_counted_as_few_are():
    generator = np.random.default_rng(5)
    edges = [tuple(sorted(generator.integers(0, 20, 33) / 4)) for _ in range(40)]
    sketches = [Sketch(tuple(float(v) for v in e)) for e in edges]
    expected = [Sketch(s.edges) for s in sketches]
    grid = Grid(sketches)
    for n in range(120):
        row = (generator.integers(-2, 24, 40) / 4).astype(np.float32)
        row[generator.integers(0, 40, 3)] = generator.choice([np.nan, np.inf, -np.inf])
        grid.row()[:] = row
        for sketch, value in zip(expected, row.tolist()):
            sketch.add(value)
        if n % 50 == 0:
            grid.drain()
    grid.drain()
    assert sketches == expected


def test_a_model_of_many_classes_is_counted_by_its_most_frequent_and_the_best_of_the_others():
    labels = tuple(f"c{i}" for i in range(100))
    frequent = labels[-32:]
    reference = Monitoring(outputs=dict.fromkeys((*frequent, OTHERS), EVEN))
    model, clock = watched(labels=labels, monitoring=reference)
    scores = np.linspace(0, 0.99, 100, dtype=np.float32)
    for _ in range(3):
        model.monitor.count(0.1, scores=scores)
    model.monitor.count(0.1, scores=scores[:32])
    assert model.monitor.current()[1].outputs["c70"].count == 3
    model.monitor.count(0.1, scores=scores[::-1])
    clock.now += 60
    (window,) = model.monitor.take()
    assert set(window.outputs) == {*frequent, OTHERS}
    assert all(s.count == 4 for s in window.outputs.values())
    assert (window.outputs["c70"].low, window.outputs["c70"].high) == pytest.approx((0.29, 0.70))
    assert (window.outputs[OTHERS].low, window.outputs[OTHERS].high) == pytest.approx((0.67, 0.99))
    assert (window.unfit, window.classes.counts["c99"], window.classes.counts["c0"]) == (1, 3, 1)
    read = Window.from_plain(json.loads(json.dumps(window.to_plain())), model.monitor.manifest)
    assert read == window


def test_a_reference_of_a_thousand_classes_is_cut_to_the_most_frequent():
    labels = tuple(f"c{i}" for i in range(1000))
    priors = {"c999": 0.5, "c7": 0.5}
    model, _ = watched(labels=labels, monitoring=Monitoring(outputs=dict.fromkeys(labels, EVEN), priors=priors))
    model.monitor.count(0.1, scores=np.arange(1000) / 1000)
    window = model.monitor.current()[1]
    assert len(window.outputs) == 32 and window.outputs["c999"].high == 0.999 and window.outputs["c7"].high == 0.007
    assert len(json.dumps(window.to_plain())) < 8000


def test_scores_keep_their_classes_when_the_manifest_was_read_from_its_file():
    """JSON sorts the names of the reference; the scores stay in the order of the labels."""
    model, _ = watched()
    written = model.monitor.manifest.replace(files={"m": Member(1, "0" * 64)}).to_json()
    monitor = Monitor(Manifest.from_json(written))
    monitor.count(0.1, scores=[0.1, 0.2, 0.3, 0.4])
    assert {n: s.high for n, s in monitor.current()[1].outputs.items()} == dict(zip(LABELS, (0.1, 0.2, 0.3, 0.4)))


def test_numbers_without_labels_and_a_score_that_was_never_a_number_keep_their_places():
    empty = Quantiles((0.0,) * 33, nulls=1.0)
    outputs = {str(i): empty if i == 1 else EVEN for i in range(12)}
    model, _ = watched(labels=(), task="regression", monitoring=Monitoring(outputs=dict(sorted(outputs.items()))))
    model.monitor.count(0.1, scores=np.arange(12) / 100)
    window = model.monitor.current()[1]
    assert {n: s.high for n, s in window.outputs.items()} == {str(i): i / 100 for i in range(12) if i != 1}
    model.monitor.count(0.1, scores=np.arange(11))
    assert model.monitor.current()[1].unfit == 1
