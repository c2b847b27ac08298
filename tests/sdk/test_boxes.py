"""Pictures with boxes: three formats say the same, hostile files are refused, and mAP is what can be counted by hand."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgekit.data import Box, Sample, open_dataset
from edgekit.errors import DataError, EvaluationError
from edgekit.evaluate import compare, evaluate, interval_of, primary_metric
from edgekit.evaluate.matches import mean_average_precision, picture_precision
from edgekit_runtime.specification.detection import Detection

from ..detectors import detector_bundle
from .conftest import edgekit

WIDTH, HEIGHT = 80, 40
OBJECTS = {"a": [("dog", (10, 4, 30, 24))], "b": [("cat", (0, 0, 80, 40)), ("dog", (40, 20, 60, 30))], "c": []}


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    cv2.imwrite(str(path), pixels)


def coco(root, objects=OBJECTS, names=("cat", "dog")):
    annotations = []
    for number, (stem, found) in enumerate(objects.items()):
        picture(root / "val2017" / f"{stem}.png", number)
        for name, (left, top, right, bottom) in found:
            box = [left, top, right - left, bottom - top]
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": 7 + names.index(name), "bbox": box}
            )
    content = {
        "images": [{"id": i, "file_name": f"{s}.png"} for i, s in enumerate(objects)],
        "categories": [{"id": 7 + i, "name": n} for i, n in enumerate(names)],
        "annotations": annotations,
    }
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return root


def yolo(root):
    for number, (stem, found) in enumerate(OBJECTS.items()):
        picture(root / "images" / "val" / f"{stem}.png", number)
        lines = []
        for name, (left, top, right, bottom) in found:
            centre = (left + right) / 2 / WIDTH, (top + bottom) / 2 / HEIGHT
            lines.append(
                f"{['cat', 'dog'].index(name)} {centre[0]} {centre[1]} {(right - left) / WIDTH} {(bottom - top) / HEIGHT}"
            )
        if lines:  # a picture without objects has no file
            (root / "labels" / "val").mkdir(parents=True, exist_ok=True)
            (root / "labels" / "val" / f"{stem}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("path: /somewhere/else\nval: images/val\nnames: {0: cat, 1: dog}\n")
    return root


def voc(root):
    for number, (stem, found) in enumerate(OBJECTS.items()):
        picture(root / "JPEGImages" / f"{stem}.png", number)
        objects = "".join(
            f"<object><name>{n}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
            f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for n, (x0, y0, x1, y1) in found
        )
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{objects}</annotation>")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "val.txt").write_text("a\nb\nc\n")
    return root


@pytest.mark.parametrize("write", [coco, yolo, voc])
def test_every_format_says_the_same(tmp_path, write):
    dataset = open_dataset(str(write(tmp_path)))
    assert (dataset.kind, dataset.task, dataset.labels) == ("image", "detection", ("cat", "dog"))
    samples = sorted(dataset.split("test"), key=lambda s: s.id)
    assert [len(s.boxes) for s in samples] == [1, 2, 0]
    assert samples[0].boxes[0].index == 1 and samples[0].boxes[0].box == pytest.approx((10, 4, 30, 24))
    assert samples[1].boxes[0].box == pytest.approx((0, 0, 80, 40)) and samples[0].load()[:4] == b"\x89PNG"
    assert dataset.info("evaluation", samples, "--data").classes == {"cat": 1, "dog": 2}


def test_labels_are_in_the_model_s_order(tmp_path):
    dataset = open_dataset(str(coco(tmp_path)), labels_order=["dog", "bird", "cat"])
    assert dataset.labels == ("dog", "bird", "cat")
    assert {b.index for s in dataset.split("test") for b in s.boxes} == {0, 2}


def edit(root, change):
    path = root / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"][0].update(file_name="../../etc/passwd"), "outside of the data set"),
        (lambda c: c["images"][0].update(file_name="/etc/passwd"), "outside of the data set"),
        (lambda c: c["images"][0].update(file_name="gone.png"), "gone.png, which is not there"),
        (lambda c: c["annotations"][0].update(bbox=[0, 0, 500, 10]), "the picture has 80 by 40"),
        (lambda c: c["annotations"][0].update(bbox=[0, 0, "wide", 10]), "no usable bbox"),
        (lambda c: c["annotations"][0].update(bbox=[0, 0, float("nan"), 10]), "has edges"),
        (lambda c: c["annotations"][0].update(category_id=99), "no usable category"),
        (lambda c: c["annotations"][0].pop("bbox"), "does not have image_id, category_id, bbox"),
    ],
)
def test_what_is_wrong_in_a_coco_file_is_said(tmp_path, change, message):
    edit(coco(tmp_path), change)
    with pytest.raises(DataError, match=message) as raised:
        open_dataset(str(tmp_path))
    assert "\n" not in str(raised.value)


def test_an_annotation_with_entities_is_refused(tmp_path):
    voc(tmp_path)
    (tmp_path / "Annotations" / "a.xml").write_text('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>')
    with pytest.raises(DataError, match="document type"):
        open_dataset(str(tmp_path))


def test_a_line_that_is_no_box_is_named(tmp_path):
    yolo(tmp_path)
    (tmp_path / "labels" / "val" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n1 0.5 0.5\n")
    with pytest.raises(DataError, match="line 2 of .* not five numbers"):
        open_dataset(str(tmp_path))
    (tmp_path / "labels" / "val" / "a.txt").write_text("9 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DataError, match="a class that the YAML file does not name"):
        open_dataset(str(tmp_path))


def test_yaml_cannot_make_objects(tmp_path):
    yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("names: !!python/object/apply:os.system ['touch owned']\n")
    with pytest.raises(DataError, match="cannot read"):
        open_dataset(str(tmp_path))


def seen(*boxes) -> list[Sample]:
    return [Sample("p", None, "0" * 64, None, tuple(Box(0, b) for b in boxes))]


def found(*boxes) -> list[list[Detection]]:
    return [[Detection("dog", 0, score, box) for score, box in boxes]]


def test_average_precision_counted_by_hand():
    truth = seen((0, 0, 10, 10), (20, 0, 30, 10))
    right = evaluate(found((0.9, (0, 0, 10, 10)), (0.8, (20, 0, 30, 10))), truth, "detection", ["dog"])
    assert right.metrics["map"] == right.metrics["mar"] == pytest.approx(1.0)
    assert (
        right.classes == {"dog": (2, pytest.approx(1.0))}
        and next(iter(right.metrics)) == primary_metric("detection")[0]
    )
    # one of two found: precision 1 up to recall 0.5, which is 51 of COCO's 101 points
    half = evaluate(found((0.9, (0, 0, 10, 10))), truth, "detection", ["dog"])
    assert half.metrics["map50"] == pytest.approx(51 / 101) and half.metrics["mar"] == pytest.approx(0.5)
    # an overlap of 9/11 counts up to 0.80: 7 of the ten thresholds
    shifted = evaluate(found((0.9, (1, 0, 11, 10))), seen((0, 0, 10, 10)), "detection", ["dog"])
    assert shifted.metrics["map"] == pytest.approx(0.7)


def test_nothing_found_is_nought_and_nothing_there_is_an_error():
    assert evaluate([[]], seen((0, 0, 10, 10)), "detection", ["dog"]).metrics["map"] == 0.0
    with pytest.raises(DataError, match="no object in any"):
        evaluate([[]], seen(), "detection", ["dog"])
    with pytest.raises(DataError, match="has no label"):
        evaluate([[]], [Sample("p", None, "0" * 64, None)], "detection", ["dog"])
    with pytest.raises(EvaluationError, match="no list of boxes: its specification must end in nms"):
        evaluate([np.zeros(3)], seen((0, 0, 10, 10)), "detection", ["dog"])


def test_a_crowd_is_neither_right_nor_wrong():
    truth = [Sample("p", None, "0" * 64, None, (Box(0, (0, 0, 10, 10)), Box(0, (50, 0, 90, 40), crowd=True)))]
    result = evaluate(found((0.9, (0, 0, 10, 10)), (0.8, (50, 0, 60, 10))), truth, "detection", ["dog"])
    assert result.metrics["map"] == pytest.approx(1.0) and result.classes["dog"][0] == 1


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(2, 20), st.floats(0.01, 1)), max_size=8))
def test_metrics_are_shares_whatever_is_found(boxes):
    given_boxes = [(s, (float(x), float(y), float(x + w), float(y + w))) for x, y, w, s in boxes]
    metrics = evaluate(found(*given_boxes), seen((5, 5, 15, 15)), "detection", ["dog"]).metrics
    assert all(0 <= v <= 1 for v in metrics.values()) and metrics["map"] <= metrics["map50"]


boxes_of_pictures = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(0, 30), st.integers(4, 20), st.booleans())),
    min_size=1,
    max_size=6,
)
finds_of_pictures = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(0, 30), st.integers(4, 20), st.floats(0, 1))),
    min_size=6,
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(boxes_of_pictures, finds_of_pictures)
def test_the_figure_on_all_pictures_is_pycocotools_own(there, finds):
    truth = [
        Sample(f"p{i}", None, f"{i:064x}", None,
               tuple(Box(k, (float(x), float(y), float(x + w), float(y + w)), c) for k, x, y, w, c in picture))
        for i, picture in enumerate(there)
    ]  # fmt: skip
    assume(any(not b.crowd for s in truth for b in s.boxes))
    answers = [
        [Detection("?", k, s, (float(x), float(y), float(x + w), float(y + w))) for k, x, y, w, s in picture]
        for picture in finds[: len(there)]
    ]
    found = evaluate(answers, truth, "detection", ["a", "b", "c"])
    once = mean_average_precision([c.ranked() for c in found.matches], np.ones(len(truth), np.int64))
    assert once == pytest.approx(found.metrics["map"], abs=1e-9)
    # the same pictures twice are the same pictures
    twice = mean_average_precision([c.ranked() for c in found.matches], np.full(len(truth), 2))
    assert twice == pytest.approx(once, abs=1e-9)
    alone = picture_precision(found.matches)
    for i, sample in enumerate(truth):
        if any(not b.crowd for b in sample.boxes):
            own = evaluate([answers[i]], [sample], "detection", ["a", "b", "c"])
            assert alone[i] == pytest.approx(own.metrics["map"], abs=1e-9)


def scenes(shift: float, count: int = 60, missed: int = 0):
    """A detector that sees every object `shift` pixels to the right, but for the first `missed` pictures' objects."""
    random = np.random.default_rng(0)
    truth, answers = [], []
    for i in range(count):
        x, y = (float(v) for v in random.integers(0, 30, 2))
        truth.append(Sample(f"p{i}", None, f"{i:064x}", None, (Box(i % 2, (x, y, x + 20, y + 20)),)))
        score = float(random.uniform(0.3, 1))
        box = (x + shift, y, x + 20 + shift, y + 20)
        answers.append([] if i < missed else [Detection("?", i % 2, score, box)])
    return evaluate(answers, truth, "detection", ["a", "b"])


def test_a_detector_that_is_worse_everywhere_is_really_worse():
    found = compare(scenes(0), scenes(3), "detection")
    assert found.metric == "map" and found.drop == pytest.approx(0.5) and found.real
    assert found.test == "randomisation" and found.p < 0.01 and (found.only_first, found.only_second) == (60, 0)
    assert found.drop in found.interval and found.in_words().startswith("the drop of 0.5000 in map is real")


def test_one_missed_object_of_many_may_be_chance():
    found = compare(scenes(0), scenes(0, missed=1), "detection")
    assert found.drop > 0 and not found.real and found.p > 0.3 and found.needed > 60
    alike = compare(scenes(1), scenes(1), "detection")
    assert alike.p == 1.0 and not alike.real and "no sample is answered better" in alike.in_words()


def test_detectors_are_compared_on_the_same_pictures_only():
    with pytest.raises(EvaluationError, match="same samples"):
        compare(scenes(0), scenes(0, count=59), "detection")


def test_the_interval_of_map_holds_it_and_shrinks_with_more_pictures():
    few, many = (interval_of(scenes(0, n, missed=n // 4), "detection") for n in (20, 320))
    assert many.half < few.half / 2.5
    assert scenes(0, 320, missed=80).metrics["map"] in many


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    """Pictures with a dog always at one place, a detector that knows it, and one that is some pixels off."""
    folder = tmp_path_factory.mktemp("detectors")
    objects = {f"s{i}": [("dog", (8, 4, 40, 24))] if i % 4 else [] for i in range(12)}
    data = coco(folder / "data", objects)
    right, wrong = (0.1, 0.1, 0.5, 0.6), (0.16, 0.1, 0.56, 0.6)
    good = detector_bundle(folder, "good", data, [right], [1])
    bad = detector_bundle(folder, "bad", data, [wrong], [1])
    return folder, good, bad


def test_the_command_compares_detectors_and_names_the_pictures(detectors):
    folder, good, bad = detectors
    done = edgekit("compare", str(good), str(bad), "--data", "data", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "the drop of" in done.stdout and "is real" in done.stdout and "mAP of the first" in done.stdout
    said = json.loads(edgekit("compare", str(good), str(bad), "--data", "data", "--json", cwd=folder).stdout)
    assert said["test"] == "randomisation" and said["real"] and said["drop"] > 0.1
    gate = edgekit("compare", str(good), str(bad), "--data", "data", "--max-drop", "0.01", cwd=folder)
    assert gate.returncode == 3 and "drops by" in gate.stderr


def test_the_page_shows_pictures_with_boxes_worst_first(detectors):
    folder, _, bad = detectors
    done = edgekit("eval", str(bad), "--data", "data", "--report", "bad.html", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["intervals"]["map"][0] <= said["metrics"]["map"] <= said["intervals"]["map"][1]
    page = (folder / "bad.html").read_text()
    assert page.count("data:image/jpeg") == 12 and "what was found" in page
    first, last = page.index("mAP 0.000"), page.rindex("mAP 0.")
    assert first < last, "a picture without a dog in which one was found comes before those with one"
