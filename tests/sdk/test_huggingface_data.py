"""Folders of Hugging Face's datasets library, and JSON lines."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from edgekit import open_dataset
from edgekit.data import Box
from edgekit.errors import DataError

datasets = pytest.importorskip("datasets")


def png(seed: int) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 9, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def saved(place, columns: dict, features: dict, splits=("train", "test")) -> str:
    half = len(next(iter(columns.values()))) // len(splits)
    parts = {
        split: datasets.Dataset.from_dict(
            {n: v[i * half : (i + 1) * half] for n, v in columns.items()}, features=datasets.Features(features)
        )
        for i, split in enumerate(splits)
    }
    datasets.DatasetDict(parts).save_to_disk(str(place))
    return str(place)


def test_pictures_stay_the_very_bytes_that_were_saved(tmp_path):
    files = [png(i) for i in range(8)]
    columns = {"picture": [{"bytes": b, "path": None} for b in files], "kind": [0, 1] * 4}
    features = {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["shoe", "hat"])}
    data = open_dataset(saved(tmp_path / "d", columns, features))
    assert (data.kind, data.task, data.labels) == ("image", "classification", ("shoe", "hat"))
    assert [s.load() for s in data.split("train")] == files[:4] and [s.label for s in data.split("test")] == [
        0,
        1,
        0,
        1,
    ]
    assert open_dataset(str(tmp_path / "d"), labels_order=["hat", "shoe"]).split("test")[0].label == 1
    with pytest.raises(DataError, match="no column 'colour'"):
        open_dataset(str(tmp_path / "d"), label="colour")


def test_the_same_picture_is_never_on_both_sides(tmp_path):
    files = [png(i % 4) for i in range(8)]
    columns = {"image": [{"bytes": b, "path": None} for b in files], "label": [0, 1] * 4}
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    data = open_dataset(saved(tmp_path / "d", columns, features))
    assert not data.split("train") and "held out too" in data.remarks[0]


def test_boxes_are_read_as_coco_writes_them(tmp_path):
    objects = [{"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": [1]}, {"bbox": [], "category": []}]
    columns = {"image": [{"bytes": png(i), "path": None} for i in range(4)], "objects": objects * 2}
    features = {"image": datasets.Image(), "objects": {
        "bbox": datasets.List(datasets.List(datasets.Value("float32"))),
        "category": datasets.List(datasets.ClassLabel(names=["cat", "dog"]))}}  # fmt: skip
    data = open_dataset(saved(tmp_path / "d", columns, features))
    assert (data.task, data.labels) == ("detection", ("cat", "dog"))
    assert [s.boxes for s in data.split("test")] == [(Box(1, (1.0, 2.0, 4.0, 6.0)),), ()]


def test_tables_and_arrays(tmp_path):
    columns = {"watts": [1.5, 2.5, 3.5, None], "room": ["a", "b", "a", "b"], "target": [0.1, 0.2, 0.3, 0.4]}
    features = {"watts": datasets.Value("float32"), "room": datasets.Value("string"),
                "target": datasets.Value("float32")}  # fmt: skip
    table = open_dataset(saved(tmp_path / "t", columns, features))
    assert (table.kind, table.task, table.columns) == ("table", "regression", ("watts", "room"))
    assert table.split("test")[1].load() == {"watts": None, "room": "b"}
    windows = np.arange(4 * 5 * 2, dtype=np.float32).reshape(4, 5, 2)
    features = {"window": datasets.Array2D((5, 2), "float32"), "label": datasets.Value("int64")}
    arrays = open_dataset(saved(tmp_path / "a", {"window": list(windows), "label": [0, 1, 0, 1]}, features))
    assert (arrays.kind, arrays.labels) == ("tensor", ("0", "1"))
    np.testing.assert_array_equal(arrays.split("test")[1].load(), windows[3])


def test_what_cannot_be_used_is_named(tmp_path):
    columns = {"image": [{"bytes": png(i), "path": None} for i in range(4)], "label": [0, 1, -1, 1]}
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    with pytest.raises(DataError, match=r"test\[0\] of .* has no label"):
        open_dataset(saved(tmp_path / "d", columns, features))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "dataset_info.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be read as a data set"):
        open_dataset(str(broken))


def test_json_lines_are_a_table(tmp_path):
    rows = [{"x": i, "y": i * 0.5, "ok": i % 2 == 0, "what": "odd" if i % 2 else "even"} for i in range(20)]
    rows[3].pop("y")
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    data = open_dataset(str(file), label="what")
    assert (data.columns, data.labels) == (("x", "y", "ok"), ("even", "odd"))
    samples = {s.id: s for split in data.splits.values() for s in split}
    assert samples["line 4"].load() == {"x": 3.0, "y": None, "ok": 0.0} and samples["line 4"].label == 1
    for text, said in (
        ("[1]\n", "not a JSON object"),
        ("{", "not JSON"),
        ('{"x": [1], "what": "a"}\n', "a list"),
        ("\n", "no rows"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=said):
            open_dataset(str(file), label="what")
