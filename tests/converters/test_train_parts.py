"""What training is made of: weights of classes, variation, what is broken, networks by name, the detector's targets."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit_converters.errors import MissingRequirement, SourceError, TrainingError, UsageError
from edgekit_converters.train import TrainMaterial, Watch
from edgekit_converters.train.backbones import BACKBONES, backbone
from edgekit_converters.train.checkpoint import Progressed, read, write
from edgekit_converters.train.material import class_weights
from edgekit_converters.train.pictures import Decoded, Pictures, Variation
from edgekit_converters.train.stock import Stock


@dataclass(frozen=True)
class Held:
    id: str
    label: int | float | None
    raw: Any
    boxes: Any = None

    def load(self) -> Any:
        return self.raw


class Heard(Watch):
    def __init__(self) -> None:
        self.remarks: list[str] = []

    def say(self, remark: str) -> None:
        self.remarks.append(remark)


def encoded(mode: str, form: str = "PNG", orientation: int = 1, size=(12, 8)) -> bytes:
    from PIL import Image

    picture = Image.new(mode, size)
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    picture.save(out, form, exif=exif)
    return out.getvalue()


def test_rare_classes_weigh_more_and_the_mean_weight_is_one():
    examples = [Held(str(i), label, None) for i, label in enumerate([0] * 6 + [1] * 2)]
    weights = class_weights(examples, 3)
    assert weights[1] == 3 * weights[0] and weights[2] == 0
    assert np.mean([weights[e.label] for e in examples]) == pytest.approx(1)


def test_pictures_of_any_mode_are_upright_rgb_and_broken_ones_are_named():
    good = [encoded("RGB"), encoded("L"), encoded("P"), encoded("RGBA"), encoded("I;16"), encoded("RGB", "JPEG", 6)]
    examples = [Held(f"{i}.png", 0, raw) for i, raw in enumerate(good * 4)]
    examples.insert(2, Held("torn.png", 0, good[0][:30]))
    heard = Heard()
    pictures = Pictures(examples, heard)
    assert len(pictures.examples) == 24 and "torn.png" in heard.remarks[0] and "left out" in heard.remarks[0]
    assert {pictures[i].shape for i in range(5)} == {(8, 12, 3)}
    assert pictures[5].shape == (12, 8, 3)  # on its side, by EXIF
    with pytest.raises(TrainingError, match=r"3 of 4 training pictures cannot be used, as torn.png"):
        Pictures([Held("torn.png", 0, b"\x89PNG"), *[Held("e", 0, b"")] * 2, examples[0]], heard)


def test_what_does_not_fit_into_memory_is_decoded_again():
    calls: list[int] = []

    def decode(raw: int) -> np.ndarray:
        calls.append(raw)
        return np.full(100, raw, np.uint8)

    held = Decoded([Held(str(i), 0, i) for i in range(4)], decode, Watch(), "samples", kept_bytes=250)
    assert [held[i][0] for i in range(4)] == [0, 1, 2, 3] and sorted(calls) == [0, 1, 2, 2, 3, 3]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(12, 40), st.integers(12, 40))
def test_boxes_follow_their_objects_through_every_variation(seed, height, width):
    picture = np.zeros((height, width, 3), np.uint8)
    box = np.array([[3, 4, 9, 10, 1]], np.float32)
    picture[4:10, 3:9] = 200
    varied, boxes = Variation(least=0.4, light=0.0).boxed(picture, box, np.random.default_rng(seed))
    rows, columns = np.flatnonzero(varied.any((1, 2))), np.flatnonzero(varied.any((0, 2)))
    if len(boxes):
        assert boxes[0].tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1, 1]
    elif len(rows):  # the centre was cut off
        assert len(rows) <= 3 or len(columns) <= 3


def test_light_changes_levels_and_nothing_else():
    picture = np.full((6, 6, 3), 100, np.uint8)
    levels = {
        int(Variation(least=1.0, aspect=1.0, flip=False)(picture, np.random.default_rng(s))[0, 0, 0]) for s in range(9)
    }
    assert len(levels) > 4
    still = Variation(least=1.0, aspect=1.0, flip=False, light=0.0)(picture, np.random.default_rng(0))
    np.testing.assert_array_equal(still, picture)


def test_order_and_variation_follow_from_seed_and_epoch():
    def make(index, random):
        return np.float32(index + (random.random() if random is not None else 0)), np.int64(index)

    examples = [Held(f"s{i}", 0, i) for i in range(10)]
    one, same = Stock(examples, make, 3, True), Stock(examples, make, 3, True, threads=1)
    for epoch in (0, 7):
        for (a, _), (b, _) in zip(one.batches(4, epoch, True), same.batches(4, epoch, True), strict=True):
            np.testing.assert_array_equal(a, b)
    assert one.order(0).tolist() != one.order(1).tolist() and sorted(one.order(1)) == list(range(10))
    assert one.item(2, 0)[0] != one.item(2, 1)[0]
    assert [len(x) for x, _ in one.batches(4, 0, False)] == [4, 4, 2]
    said = one.not_finite(2, range(8)).message
    assert "epoch 2" in said and "s0, s1, s2, s3, s4 and 3 more" in said


def test_a_checkpoint_keeps_the_best_and_only_what_is_needed(tmp_path):
    state = read(tmp_path)
    assert state == Progressed()
    for epoch, loss in ((1, 0.5), (2, 0.3), (3, 0.4)):
        state = state.step(epoch, {"val_loss": loss}, "val_loss", (f"e{epoch}", f"b{epoch}"))
        for name in {state.file, state.best_file}:
            (tmp_path / "checkpoint").mkdir(exist_ok=True)
            (tmp_path / "checkpoint" / name).write_text("x")
        write(tmp_path, state)
    assert read(tmp_path) == state and (state.best_epoch, state.best["val_loss"]) == (2, 0.3)
    assert sorted(p.name for p in (tmp_path / "checkpoint").iterdir()) == ["b2", "e3", "state.json"]
    (tmp_path / "checkpoint/state.json").write_text("{")
    with pytest.raises(TrainingError, match="damaged"):
        read(tmp_path)


def test_material_says_what_is_missing():
    one, two = Held("a", 0, None), Held("b", 1, None)
    material = TrainMaterial("image", "classification", ("x", "y"), (), [one, two], [])
    with pytest.raises(TrainingError, match="no validation samples"):
        material.require("image", ("image",), ("classification",))
    with pytest.raises(TrainingError, match="this is classification of image samples"):
        material.require("audio", ("audio",), ("classification",))


def test_backbones_have_makers_and_say_what_there_is():
    for name in BACKBONES:
        assert backbone(name, None).framework in ("keras", "torch")
    with pytest.raises(UsageError, match="no backbone 'resnet'"):
        backbone("resnet", None)
    with pytest.raises(UsageError, match="is a keras one"):
        backbone("mobilenet_v2", "torch")


SHAPES = {
    "ds_cnn": ({"classes": 4, "channels": 8, "blocks": 1}, (2, 1, 49, 40)),
    "conv1d": ({"channels": 3, "outputs": 2, "width": 4}, (2, 32, 3)),
    "mlp": ({"channels": 5, "outputs": 1, "width": 4}, (2, 5)),
    "shufflenet_v2": ({"classes": 3}, (2, 3, 64, 64)),
    "huggingface": ({"configuration": {"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "patch_size": 8,
                                       "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32,
                                       "num_labels": 3}}, (2, 3, 32, 32)),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_networks_are_built_from_plain_data_and_have_backbone_and_head(name):
    import torch

    from edgekit_converters.train.networks import build

    options, shape = SHAPES[name]
    network = build(json.loads(json.dumps({"network": name, "options": options}))).eval()
    classes = options.get("classes") or options.get("outputs") or options["configuration"]["num_labels"]
    assert network(torch.zeros(shape)).shape == (2, classes)
    held = {id(p) for p in network.backbone.parameters()}
    assert 0 < len(held) < len(list(network.parameters()))


@pytest.mark.parametrize("wrong", [{}, {"network": "resnet"}, {"network": "mlp", "options": {"depth": 3}}])
def test_a_description_of_no_network_is_refused(wrong):
    from edgekit_converters.train.networks import build

    with pytest.raises(SourceError, match="describes no network"):
        build(wrong)


@pytest.mark.assets
def test_the_published_shufflenet_weights_fit_to_the_last_one(assets, tmp_path):
    import torch

    from edgekit_converters.train.networks import build
    from edgekit_converters.train.vision_torch import load_weights

    network = build({"network": "shufflenet_v2", "options": {"classes": 2}})
    load_weights(network.backbone, str(assets / "models/shufflenetv2_torch/shufflenetv2.pth"))
    assert sum(v.numel() for v in network.backbone.state_dict().values()) == 149_095
    with pytest.raises(MissingRequirement, match="no file of weights"):
        load_weights(network.backbone, "nowhere.pth")
    torch.save({"stem": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(SourceError, match="does not hold this backbone's weights"):
        load_weights(network.backbone, str(tmp_path / "other.pth"))


def test_each_object_is_some_places_target_and_large_ones_are_the_coarse_grids():
    import torch

    from edgekit_converters.train.networks.detector import assign, detection_loss, overlap, places

    centres, strides = places(96)
    boxes = torch.tensor([[10.0, 10, 30, 34], [40, 4, 95, 60], [60, 70, 68, 79]])
    chosen = assign(centres, strides, boxes)
    assert set(chosen.tolist()) == {-1, 0, 1, 2}
    assert set(strides[chosen == 1].tolist()) == {16.0} and set(strides[chosen == 0].tolist()) == {8.0}
    inside = centres[chosen == 0]
    assert bool(((inside > boxes[0, :2]) & (inside < boxes[0, 2:])).all())
    assert (assign(centres, strides, torch.zeros(0, 4)) == -1).all()
    iou, generalized = overlap(boxes[:2], torch.tensor([[10.0, 10, 30, 34], [0, 0, 4, 4]]))
    assert iou.tolist() == [1.0, 0.0] and generalized[0] == 1 and generalized[1] < 0
    wanted = torch.full((1, len(centres), 5), -1.0)
    wanted[0, chosen == 0, :4], wanted[0, chosen == 0, 4] = boxes[0], 1.0
    right = {"boxes": wanted[..., :4].clone(), "scores": torch.full((1, len(centres), 2), -9.0)}
    right["scores"][0, chosen == 0, 1] = 9.0
    swapped = {**right, "scores": right["scores"].flip(-1)}
    assert float(detection_loss(right, wanted)) < 1e-3 < float(detection_loss(swapped, wanted))
