"""Data sets as people have them, and the ways they can be wrong."""

from __future__ import annotations

import wave
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.data import Sample, open_dataset, overlap
from edgekit.data.splits import settle, split_by_hash
from edgekit.errors import DataError
from edgekit.material import gather
from edgekit.plan import ExportPlan


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)


def sound(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.random.default_rng(seed).integers(-99, 99, 160, np.int16).tobytes())


def ids(samples) -> set[str]:
    return {s.id for s in samples}


def test_pictures_in_split_folders(tmp_path):
    for n, name in enumerate(("train/cat/a.png", "train/dog/b.jpg", "val/dog/c.bmp", "testing/cat/d.PNG", "test.txt")):
        if name.endswith("txt"):
            (tmp_path / name).write_text("not a picture")
        else:
            picture(tmp_path / name, n)
    data = open_dataset(str(tmp_path))
    assert (data.kind, data.task, data.labels, data.remarks) == ("image", "classification", ("cat", "dog"), ())
    assert ids(data.split("test")) == {"testing/cat/d.PNG"} and ids(data.split("validation")) == {"val/dog/c.bmp"}
    sample = data.split("train")[1]
    assert sample.label == 1 and sample.load() == (tmp_path / "train/dog/b.jpg").read_bytes()
    assert open_dataset(str(tmp_path), labels_order=["dog", "cat", "cow"]).split("train")[1].label == 0


def test_validation_measures_where_there_is_no_test_split(tmp_path):
    picture(tmp_path / "train/a/1.png", 1)
    picture(tmp_path / "valid/a/2.png", 2)
    assert ids(open_dataset(str(tmp_path)).split("test")) == {"valid/a/2.png"}


def test_a_training_split_alone_is_split_and_that_is_said(tmp_path):
    for n in range(60):
        picture(tmp_path / f"train/{'ab'[n % 2]}/{n}.png", n)
    data = open_dataset(str(tmp_path))
    assert data.split("train") and data.split("test") and "held out" in data.remarks[0]
    assert not overlap(data.split("train"), data.split("test"))


def test_a_class_called_train_is_a_class(tmp_path):
    for n, name in enumerate(("train", "bus", "test")):
        picture(tmp_path / name / "1.png", n)
        picture(tmp_path / name / "2.png", n + 10)
    assert open_dataset(str(tmp_path)).labels == ("bus", "test", "train")


def test_hidden_folders_and_background_noise_are_no_classes(tmp_path):
    for n, name in enumerate(("yes/1.wav", "_silence_/2.wav", "_background_noise_/3.wav", ".cache/4.wav")):
        sound(tmp_path / name, n)
    data = open_dataset(str(tmp_path))
    assert data.kind == "audio" and data.labels == ("_silence_", "yes")


def test_loose_pictures_are_unlabelled(tmp_path):
    for n in range(5):
        picture(tmp_path / f"{n}.png", n)
    data = open_dataset(str(tmp_path))
    assert data.task == "none" and {s.label for s in data.split("train")} == {None}


def test_held_out_duplicates_leave_the_training_split_and_are_named(tmp_path):
    picture(tmp_path / "train/a/same.png", 1)
    picture(tmp_path / "train/a/other.png", 2)
    picture(tmp_path / "test/a/copy.png", 1)
    data = open_dataset(str(tmp_path))
    assert ids(data.split("train")) == {"train/a/other.png"}
    assert "1 training sample is held out too, as train/a/same.png" in data.remarks[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a/x.jpg", b"", "x.jpg is empty"),
        ("a/x.png", b"<html>", "x.png is not a JPEG, PNG or BMP"),
        ("a/x.wav", b"RIFF", "x.wav is not a wav"),
    ],
)
def test_an_unusable_file_is_named(tmp_path, name, content, message):
    (tmp_path / "a").mkdir()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        open_dataset(str(tmp_path))
    assert error.value.hint and "\n" not in str(error.value)


def test_a_file_that_vanishes_is_named(tmp_path):
    picture(tmp_path / "test/a/1.png", 1)
    sample = open_dataset(str(tmp_path)).split("test")[0]
    Path(sample.source).unlink()
    with pytest.raises(DataError, match="cannot read sample test/a/1.png"):
        sample.load()


def test_wrong_folders(tmp_path):
    picture(tmp_path / "train/a/1.png", 1)
    picture(tmp_path / "test/b/2.png", 2)
    with pytest.raises(DataError, match="class 'b'.*not among the labels"):
        open_dataset(str(tmp_path), labels_order=["a"])
    (tmp_path / "test/empty").mkdir()
    with pytest.raises(DataError, match="'empty' in .*test has no image samples"):
        open_dataset(str(tmp_path))
    picture(tmp_path / "testing/b/3.png", 3)
    with pytest.raises(DataError, match="both test splits"):
        open_dataset(str(tmp_path))
    with pytest.raises(DataError, match="no data set of a known kind"):
        open_dataset(str(tmp_path / "test/empty"))


# -- tables ---------------------------------------------------------------------------------------------------------


def table(path: Path, *rows: str, header: str = "a,kind,y") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_numbers_categories_and_what_is_missing(tmp_path):
    path = table(tmp_path / "t.csv", "1,red,no", "2.5,,yes", "NaN,3,no", " 4 ,blue,yes")
    data = open_dataset(str(path), label="y")
    rows = {s.id: s for v in data.splits.values() for s in v}
    assert rows["line 2"].load() == {"a": 1.0, "kind": "red"}
    assert rows["line 3"].load() == {"a": 2.5, "kind": None}
    assert rows["line 4"].load() == {"a": None, "kind": "3"}, "a column is numbers or text, never both"
    assert rows["line 5"].load()["a"] == 4.0 and rows["line 5"].label == 1


def test_number_classes_are_in_the_order_of_numbers(tmp_path):
    path = table(tmp_path / "t.csv", *(f"{i},x,{i % 12}" for i in range(48)))
    assert open_dataset(str(path), label="y").labels == tuple(map(str, range(12)))


@pytest.mark.parametrize("separator", [";", "\t"])
def test_separators_byte_order_marks_and_row_names(tmp_path, separator):
    lines = ["a,y"] + [f"{i},{i}.5,{i % 2}" for i in range(30)]  # R: row names without a heading
    (tmp_path / "t.csv").write_text("\ufeff" + "\n".join(lines).replace(",", separator), encoding="utf-8")
    data = open_dataset(str(tmp_path / "t.csv"), label="y")
    assert data.columns == ("a",) and data.labels == ("0", "1")


def test_a_folder_of_tables_by_split(tmp_path):
    table(tmp_path / "d/train.csv", "1,x,0", "2,x,1")
    table(tmp_path / "d/test.csv", "3,x,1")
    data = open_dataset(str(tmp_path / "d"), label="y")
    assert ids(data.split("test")) == {"test.csv line 2"} and len(data.split("train")) == 2
    table(tmp_path / "d/test.csv", "3,1", header="a,y")
    with pytest.raises(DataError, match="other columns"):
        open_dataset(str(tmp_path / "d"), label="y")


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("a,kind,y", ["1,x,1", "2,x,"], "line 3 of .* has no y"),
        ("a,kind,y", ["1,x,1", "inf,x,0"], "line 3 of .* has inf in column 'a'"),
        ("a,a,y", ["1,x,1"], "two columns called 'a'"),
        ("a,kind,y", [], "no rows"),
        ("a,kind,y", ["1,x,1", "2,0"], "line 3 .* 3 values"),
    ],
)
def test_wrong_tables(tmp_path, header, rows, message):
    with pytest.raises(DataError, match=message) as error:
        open_dataset(str(table(tmp_path / "t.csv", *rows, header=header)), label="y")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("label", "message"), [(None, "--label"), ("z", "no column 'z'.*a, kind, y")])
def test_a_table_without_its_label(tmp_path, label, message):
    with pytest.raises(DataError, match=message):
        open_dataset(str(table(tmp_path / "t.csv", "1,x,1")), label=label)


def test_many_different_numbers_are_a_regression(tmp_path):
    path = table(tmp_path / "t.csv", *(f"{i},{i % 3},{'yes' if i % 2 else 'no'}" for i in range(200)))
    numbers, words = open_dataset(str(path), label="a"), open_dataset(str(path), label="y")
    assert numbers.task == "regression" and numbers.columns == ("kind", "y")
    assert words.task == "classification" and words.labels == ("no", "yes")
    assert not overlap(words.split("train"), words.split("test"))


def test_a_class_that_is_not_among_the_labels(tmp_path):
    with pytest.raises(DataError, match="line 3 of .* class 'c'"):
        open_dataset(str(table(tmp_path / "t.csv", "1,x,b", "2,x,c")), label="y", labels_order=["a", "b"])


# -- arrays ---------------------------------------------------------------------------------------------------------


def archive(folder: Path, **arrays) -> str:
    np.savez(folder / "d.npz", **arrays)
    return str(folder / "d.npz")


def test_arrays_of_every_kind_of_label(tmp_path):
    x = np.arange(60, dtype=np.float32).reshape(30, 2)
    classes = open_dataset(archive(tmp_path, x=x, y=np.arange(30) % 3))
    assert (classes.kind, classes.task, classes.labels) == ("tensor", "classification", ("0", "1", "2"))
    named = open_dataset(archive(tmp_path, x=x, y=np.array(["off", "on"] * 15)))
    assert named.labels == ("off", "on") and {s.label for s in named.split("train")} == {0, 1}
    assert open_dataset(archive(tmp_path, x=x, y=np.linspace(0, 1, 30))).task == "regression"
    pictures = open_dataset(archive(tmp_path, x=np.zeros((4, 8, 8), np.uint8), y=np.zeros(4, int)))
    assert pictures.kind == "image"
    np.save(tmp_path / "rows.npy", x)
    rows = open_dataset(str(tmp_path / "rows.npy"))
    assert rows.task == "none" and sum(map(len, rows.splits.values())) == 30


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 3)), "y": np.zeros(3, int)}, "2 rows"),
        ({"x": np.zeros((2, 3)), "y": np.eye(2)}, "one label a row"),
        ({"x": np.zeros((2, 3)), "y": np.array([0, -1])}, "class -1"),
        ({"x": np.zeros((2, 3)), "y": np.array([0, 2**40])}, "class 1099511627776"),
        ({"x": np.zeros((2, 3)), "y": np.array([0.5, np.nan])}, "label is NaN"),
        ({"x": np.array([[0, 1], [np.nan, 1]])}, "row 1 .*NaN"),
        ({"x": np.array(["a"])}, "not numbers"),
        ({"x": np.zeros((0, 3))}, "no rows"),
        ({"x": np.array([{}], object)}, "without objects"),
        ({"z": np.zeros(3)}, "it has z"),
    ],
)
def test_wrong_arrays(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        open_dataset(archive(tmp_path, **arrays))


def test_too_few_labels_for_the_classes(tmp_path):
    with pytest.raises(DataError, match="class 4, there are 3 labels"):
        open_dataset(archive(tmp_path, x=np.zeros((5, 1)), y=np.arange(5)), labels_order=["a", "b", "c"])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_files_that_are_no_arrays(tmp_path, content):
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(DataError, match="not a numpy file"):
        open_dataset(str(tmp_path / "d.npz"))


# -- splits ---------------------------------------------------------------------------------------------------------

HASHES = st.lists(st.integers(0, 2**256 - 1).map(lambda n: f"{n:064x}"), min_size=1, max_size=40)


@given(HASHES)
def test_hash_splits_never_share_content_and_always_measure(hashes):
    samples = [Sample(str(i), 0, h, None) for i, h in enumerate(hashes)]
    splits = split_by_hash(samples)
    assert splits["test"] or splits["validation"]
    assert sorted(s.id for v in splits.values() for s in v) == sorted(s.id for s in samples)
    assert not overlap(splits["train"], [*splits["test"], *splits["validation"]])
    assert {n: ids(v) for n, v in split_by_hash(samples[::-1]).items()} == {n: ids(v) for n, v in splits.items()}


@given(HASHES, HASHES)
def test_what_is_held_out_never_trains(train, test):
    given_ = {"train": [Sample(f"a{i}", 0, h, None) for i, h in enumerate(train)],
              "test": [Sample(f"b{i}", 0, h, None) for i, h in enumerate([*test, train[0]])]}  # fmt: skip
    splits, remarks, _ = settle(given_, "data")
    assert not overlap(splits["train"], splits["test"]) and len(splits["test"]) == len(test) + 1
    assert remarks


def test_what_the_manifest_says_of_samples(tmp_path):
    data = open_dataset(archive(tmp_path, x_train=np.eye(4), y_train=[0, 1, 1, 1], x_test=np.ones((1, 4)), y_test=[0]))
    info = data.info("calibration", data.split("train"), "training split")
    assert (info.samples, info.classes) == (4, {"0": 1, "1": 3})
    assert info == data.info("calibration", data.split("train")[::-1], "training split"), "order does not matter"
    assert info.sha256 != data.info("calibration", data.split("train")[1:], "training split").sha256


# -- real ones ------------------------------------------------------------------------------------------------------


def test_real_clothes_and_words(assets):
    clothes = open_dataset(str(assets / "data/clothing_small_160"))
    assert (
        len(clothes.labels) == 10 and clothes.kind == "image" and {"train", "validation", "test"} <= set(clothes.splits)
    )
    assert not overlap(clothes.split("train"), clothes.split("test"))
    words = open_dataset(str(assets / "data/speech_commands_test60"))
    assert words.kind == "audio" and len(words.labels) == 12


def test_a_real_table_as_r_writes_it(assets, tmp_path):
    for ours, theirs in (("train", "datatraining"), ("test", "datatest")):
        (tmp_path / f"{ours}.csv").write_bytes((assets / f"data/occupancy/{theirs}.txt").read_bytes())
    rooms = open_dataset(str(tmp_path), label="Occupancy")
    assert rooms.columns == ("date", "Temperature", "Humidity", "Light", "CO2", "HumidityRatio")
    assert rooms.labels == ("0", "1") and len(rooms.split("test")) == 2665


def test_linked_folders_are_followed_and_circles_are_not(tmp_path):
    for i in range(6):
        picture(tmp_path / f"elsewhere/cat/{i}.png", i)
        picture(tmp_path / f"set/train/dog/{i}.png", 10 + i)
    (tmp_path / "set/train/cat").symlink_to(tmp_path / "elsewhere/cat")
    (tmp_path / "elsewhere/cat/again").symlink_to(tmp_path / "elsewhere")
    found = open_dataset(str(tmp_path / "set"))
    assert found.labels == ("cat", "dog") and sum(len(s) for s in found.splits.values()) == 12


def test_what_nobody_held_out_of_calibrates_whole(tmp_path):
    for i in range(30):
        picture(tmp_path / f"ranges/{'ab'[i % 2]}/{i}.png", i)
    plan = ExportPlan(model="m.onnx", target="pi5", calibration_data=str(tmp_path / "ranges"))
    assert len(gather(plan).calibration) == 30
