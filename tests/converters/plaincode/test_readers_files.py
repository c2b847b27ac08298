"""Model files of XGBoost and LightGBM that are damaged, changed or mean harm: read, or refused in one sentence."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit_converters.errors import ConversionError, SourceError, UsageError
from edgekit_converters.plaincode import reader
from edgekit_converters.plaincode.readers import ubjson
from tests.converters.plaincode.treedata import data, features

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")
FEW: dict[str, Any] = {"n_estimators": 2, "num_leaves": 15, "verbose": -1, "n_jobs": 1}


def _document() -> dict[str, Any]:
    x, y = data("diabetes")
    found: dict[str, Any] = json.loads(
        xgboost.XGBRegressor(n_estimators=2, max_depth=2).fit(x, y).get_booster().save_raw("json")
    )
    return found


def _first(document: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = document["learner"]["gradient_booster"]["model"]["trees"][0]
    return tree


@pytest.mark.parametrize(
    ("name", "value"),
    [("left_children", [0] * 7), ("left_children", [1, 3, 5, -1, -1, -1, 10**9]), ("left_children", "1234567"),
     ("right_children", [1] * 7), ("split_indices", [10**6] * 7), ("split_indices", [-4] * 7),
     ("split_conditions", [float("nan")] * 7), ("split_conditions", [10.0**300] * 7), ("split_conditions", {}),
     ("split_conditions", [-float("inf")] * 7), ("default_left", None), ("categories_nodes", [99]),
     ("left_children", [[[]]]), ("tree_param", 3), ("left_children", [])],
)  # fmt: skip
def test_damaged_xgboost_json(name: str, value: Any, tmp_path: Path) -> None:
    document = _document()
    _first(document)[name] = value
    (tmp_path / "m.json").write_text(json.dumps(document))
    with pytest.raises((ConversionError, SourceError)) as caught:
        reader.read_model(reader.load(tmp_path / "m.json"), features(10))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 100_000, b'{"learner": 3}', b"[1, 2]", b'{"learner": {}, "version": "x"}',
     b'{"learner": {}, "version": [9, 0, 0]}', b'{"learner": {}, "version": [3, 2, 0]}', b"\xff\xfe\x00"],
)  # fmt: skip
def test_json_that_is_no_model(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises((ConversionError, SourceError)):
        reader.read_model(reader.load(tmp_path / "m.json"), features(10))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 1000, b"[$d#L" + struct.pack(">q", 1 << 60), b"[$d#L" + struct.pack(">q", -5), b"{i\x05ab",
     b"[#L" + struct.pack(">q", 1 << 50), b"[$Z#L" + struct.pack(">q", 1 << 50), b"[$d", b"[#Z", b"?", b"{i\xff"],
)  # fmt: skip
def test_damaged_ubjson(content: bytes) -> None:
    with pytest.raises(SourceError):
        ubjson.parse(content)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_ubjson_or_refused(content: bytes) -> None:
    try:
        ubjson.parse(content)
    except SourceError as e:
        assert "\n" not in str(e)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_model_file_is_read_or_refused(draw: st.DataObject) -> None:
    from edgekit_converters.plaincode.readers.lightgbm_file import LightGBMFile

    x, y = data("codes")
    text = _TEXT.setdefault(
        "m", lightgbm.LGBMClassifier(**FEW).fit(x, y, categorical_feature=[0]).booster_.model_to_string()
    )  # fmt: skip
    at = draw.draw(st.integers(0, text.index("end of trees")))
    put = draw.draw(st.text(alphabet="0123456789 -.=\nenx", max_size=6))
    try:
        reader.read_model(LightGBMFile(text[:at] + put + text[at + draw.draw(st.integers(0, 30)) :]), features(30))
    except ConversionError as e:
        assert "\n" not in str(e)


_TEXT: dict[str, str] = {}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("version=v4", "version=v9", "format 'v9'"), ("num_leaves=", "num_leaves=9", "instead of"),
     ("left_child=", "left_child=77 ", "instead of"), ("end of trees", "", "no end"),
     ("objective=regression", "objective=mystery", "'mystery'"), ("leaf_value=", "leaf_value=nan", "cannot be under"),
     ("is_linear=0", "is_linear=1", "linear trees"), ("num_tree_per_iteration=1", "num_tree_per_iteration=0", "0 outputs")],
)  # fmt: skip
def test_damaged_lightgbm_text(old: str, new: str, said: str, tmp_path: Path) -> None:
    x, y = data("diabetes")
    text = lightgbm.LGBMRegressor(**FEW).fit(x, y).booster_.model_to_string()
    (tmp_path / "m.txt").write_text(text.replace(old, new))
    with pytest.raises(ConversionError, match=said):
        reader.read_model(reader.load(tmp_path / "m.txt"), features(10))


def test_files_that_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("tree houses\n")
    with pytest.raises(SourceError, match=r"notes\.txt is no model of LightGBM"):
        reader.load(tmp_path / "notes.txt")
    with pytest.raises(UsageError, match="no model file"):
        reader.load(tmp_path / "m.bin")
    with pytest.raises(UsageError, match="there is no file"):
        reader.load(tmp_path / "m.ubj")
