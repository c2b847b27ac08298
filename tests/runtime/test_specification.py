"""Pre- and post-processing steps: what comes out, equal paths, hostile settings and inputs."""

from __future__ import annotations

import io
import struct
import wave
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit_runtime import Specification
from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.specification import files_of
from edgekit_runtime.specification.audio import read_wav
from edgekit_runtime.specification.detection import suppress
from edgekit_runtime.specification.pictures import decode_picture
from edgekit_runtime.specification.presets import AUDIO_PRESETS, IMAGE_PRESETS, audio_specification, image_specification
from edgekit_runtime.specification.resampling import INTERPOLATIONS, resize, resize_by_numpy
from edgekit_runtime.specification.step import Context


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("preset", sorted(IMAGE_PRESETS))
@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_fused_steps_are_bit_identical_to_single_ones(preset, layout):
    specification = image_specification(preset, 20, 30, layout=layout)
    value, context = picture(40, 50), Context()
    for step in specification.input:
        value = step(value, context)
    fused = specification.preprocess(picture(40, 50), Context())
    assert fused.dtype == np.float32 and fused.shape == ((20, 30, 3) if layout == "hwc" else (3, 20, 30))
    assert np.array_equal(fused, value)


def test_presets_have_the_values_they_name():
    white = np.full((4, 4, 3), 255, np.uint8)
    for preset, expected in {"0..255": 255, "0..1": 1, "-1..1": 1}.items():
        assert image_specification(preset, 4, 4).preprocess(white, Context()) == pytest.approx(expected, abs=1e-6)
    got = image_specification("imagenet", 4, 4).preprocess(white, Context())[0, 0]
    assert got == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], abs=1e-5)


def test_a_grey_picture_stays_as_it_is_in_grey():
    """Without OpenCV as well, and with numpy 1, whose rules for scalars once wrapped the sum around."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(decode_picture(ramp, "gray")[..., 0], ramp)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", [(64, 48), (17, 31), (100, 90)])
def test_resizing_without_opencv_is_within_a_grey_level_of_it(interpolation, size):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is what is compared with")
    flags = {
        "nearest": cv2.INTER_NEAREST,
        "bilinear": cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
    }
    original = picture(64, 48)
    expected = cv2.resize(original, size[::-1], interpolation=flags[interpolation]).astype(int)
    got = resize_by_numpy(original, *size, interpolation).astype(int)
    assert np.abs(got - expected).max() <= 1


@settings(max_examples=60, deadline=None)
@given(*[st.integers(1, 90)] * 4, st.sampled_from([1, 3]))
def test_bilinear_resizing_is_bit_equal_with_and_without_opencv(height, width, to_height, to_width, channels):
    pytest.importorskip("cv2", reason="OpenCV is what is compared with")
    original = np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)
    without = resize_by_numpy(original, to_height, to_width, "bilinear")
    assert np.array_equal(resize(original, to_height, to_width, "bilinear"), without)


def test_letterbox_and_crop_map_boxes_back_to_the_picture():
    for fit in ("letterbox", "crop", "stretch"):
        data = SpecificationData(
            "image",
            ({"step": "decode"}, {"step": "resize", "height": 100, "width": 100, "fit": fit}),
            ({"step": "boxes", "pixels": True}, {"step": "nms", "score": 0.5}),
        )
        specification, context = Specification.from_data(data), Context(labels=("thing",))
        specification.preprocess(picture(200, 400), context)
        left, top = context.mapping[2:]
        scale_x, scale_y = context.mapping[:2]
        # a box around picture pixels 100..300 x 50..150, as a detector would see it in the resized picture
        box = [100 / scale_x + left, 50 / scale_y + top, 300 / scale_x + left, 150 / scale_y + top]
        found = specification.postprocess(
            {"boxes": np.array([box], np.float32), "scores": np.array([[0.9]], np.float32)}, context
        )
        assert found[0].label == "thing" and found[0].box == pytest.approx((100, 50, 300, 150), abs=0.5)


# 32-bit Arm flushes subnormal numbers to zero
_share = st.floats(0, 1, width=32, allow_subnormal=False)
boxes_strategy = st.lists(st.tuples(*[_share] * 4, st.integers(0, 2), _share), max_size=25)


@settings(max_examples=150, deadline=None)
@given(boxes_strategy, st.floats(0.1, 0.9))
def test_suppression_equals_the_textbook(rows, overlap):
    rows = sorted(rows, key=lambda r: -r[5])
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d, *_ in rows], np.float32).reshape(
        -1, 4
    )
    classes = np.array([r[4] for r in rows], int)

    def iou(p, q):
        shared = max(0, min(p[2], q[2]) - max(p[0], q[0])) * max(0, min(p[3], q[3]) - max(p[1], q[1]))
        union = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - shared
        return shared / union if union > 0 else 0.0

    kept: list[int] = []
    for i in range(len(boxes)):
        if all(classes[i] != classes[k] or iou(boxes[k], boxes[i]) <= overlap for k in kept):
            kept.append(i)
    got = suppress(boxes, classes, overlap, 100).tolist()
    if got != kept:  # float32 against Python floats at the very edge
        edge = [abs(iou(boxes[a], boxes[b]) - overlap) for a in range(len(boxes)) for b in range(a)]
        assert min(edge) < 1e-5
    else:
        assert got == kept


@pytest.mark.parametrize(
    "step",
    [
        {"step": "resize", "height": 10**9, "width": 10},
        {"step": "resize", "height": -1},
        {"step": "resize", "interpolation": "magic"},
        {"step": "normalize", "mean": [0.0], "std": [0.0]},
        {"step": "normalize", "mean": "x"},
        {"step": "cast", "dtype": "object"},
        {"step": "launch"},
        {"step": "decode", "color": "rgb"},
        {"colour": "rgb"},
        {"step": "waveform", "samples": 10**12},
        {"step": "mfcc", "low": 9000.0},
        {"step": "top_k", "k": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(step):
    with pytest.raises(SpecificationError) as error:
        Specification.from_data(SpecificationData("image", (step,)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"GIF89a",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
        3,
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_not_a_picture_is_refused(raw):
    with pytest.raises(SpecificationError):
        decode_picture(raw)


def test_a_decompression_bomb_is_refused_by_its_header():
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">II5B", 100_000, 100_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(SpecificationError, match="pixels"):
        decode_picture(bomb)


def wav(samples: np.ndarray, rate: int = 16000, width: int = 2) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=200))
@settings(max_examples=50, deadline=None)
def test_wav_samples_come_back(values):
    got, rate = read_wav(wav(np.array(values, "<i2")))
    assert rate == 16000 and np.array_equal(got, np.array(values, np.float32) / 32768)


@pytest.mark.parametrize("raw", [b"", b"RIFF", wav(np.zeros(0, "<i2"))])
def test_what_is_not_sound_is_refused(raw):
    with pytest.raises(SpecificationError):
        read_wav(raw)


@pytest.mark.parametrize("preset", sorted(AUDIO_PRESETS))
def test_a_tone_lights_up_its_own_band_and_another_rate_is_refused(preset):
    tone = (np.sin(np.arange(16000) * 2 * np.pi * 1000 / 16000) * 20000).astype("<i2")
    assert audio_specification(preset).preprocess(wav(tone), Context()).shape == (49, 10, 1)
    data = SpecificationData("audio", ({"step": "waveform"}, {"step": "log_mel"}))
    mel = Specification.from_data(data).preprocess(wav(tone), Context())
    centres = 700 * np.expm1(np.linspace(np.log1p(20 / 700), np.log1p(4000 / 700), 42)[1:-1])
    assert abs(centres[mel.mean(axis=0).argmax()] - 1000) < 100
    with pytest.raises(SpecificationError, match="8000"):
        audio_specification(preset).preprocess(wav(tone, rate=8000), Context())


def test_keywords_from_raw_sound_are_as_accurate_as_published(assets, needs_backend):
    """The MLPerf Tiny keyword model on 720 real wavs: 0.9014 was measured with TensorFlow's own front end."""
    needs_backend("litert")
    from edgekit_runtime.backends import backend

    words = ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "_silence_", "_unknown_"]
    front = audio_specification("kws-mfcc")
    files = [(p, words.index(p.parent.name)) for p in sorted((assets / "data/speech_commands_test60").glob("*/*.wav"))]
    assert len(files) == 720
    features = [front.preprocess(path, Context())[None] for path, _ in files]
    for name in ("kws_ref_model.tflite", "kws_ref_model_float32.tflite"):
        session = backend("litert").open((assets / "models/kws_ref" / name).read_bytes())
        end = session.inputs[0]
        right = 0
        for value, (_, label) in zip(features, files):
            fed = value.reshape([abs(e) for e in end.shape])
            if end.scale:
                fed = np.clip(np.rint(fed / end.scale) + end.zero_point, -128, 127).astype(end.dtype)
            right += int(session.run([fed])[0].argmax() == label)
        assert right / len(files) >= 0.9014 - 0.01, name


def test_rows_by_name_and_by_order_with_missing_and_unseen_values():
    step = {"step": "columns", "names": ["a", "b", "c"], "fill": -1.0, "categories": {"c": ["x", "y"]}}
    specification = Specification.from_data(SpecificationData("table", (step,)))
    assert specification.preprocess({"b": "2.5", "c": "y"}, Context()).tolist() == [-1.0, 2.5, 1.0]
    assert specification.preprocess([1, 2, "z"], Context()).tolist() == [1.0, 2.0, -1.0]
    with pytest.raises(SpecificationError, match="'b'"):
        specification.preprocess({"b": "many"}, Context())


def test_answers_carry_labels_and_nan_is_refused():
    specification = Specification.from_data(
        SpecificationData("tensor", (), ({"step": "softmax"}, {"step": "top_k", "k": 2}))
    )
    context = Context(labels=("cat", "dog", "cow"))
    best, second = specification.postprocess({"y": np.array([0.0, 3.0, 1.0], np.float32)}, context)
    assert (best.label, best.index, second.label) == ("dog", 1, "cow") and 0.8 < best.score < 0.9
    with pytest.raises(SpecificationError, match="NaN"):
        specification.postprocess({"y": np.array([np.nan, 1, 2], np.float32)}, context)


PIECES = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nturn\nun\n##aff\n##able\nlight\n\xe5\xad\x97\n!\n"


def wordpiece(**settings) -> Specification:
    data = SpecificationData("text", ({"step": "wordpiece", **settings},))
    return Specification.from_data(data, {settings.get("vocabulary", "vocab.txt"): PIECES})


def test_texts_become_pieces_of_words():
    prepare = wordpiece().preprocess
    given = prepare("Tu\u0301rn unaffable\u200b [MASK]\u5b57light!! nonsense", Context())
    assert given["input_ids"].tolist() == [2, 5, 6, 7, 8, 4, 10, 9, 11, 11, 1, 3]
    assert given["attention_mask"].tolist() == [1] * 12 and not given["token_type_ids"].any()
    assert prepare("", Context())["input_ids"].tolist() == [2, 3]
    assert prepare("\ud800", Context())["input_ids"].tolist() == [2, 1, 3]  # half a character is no word
    short = wordpiece(max_length=4, pad_to=6, tensors=["input_ids"]).preprocess("turn turn turn turn", Context())
    assert {n: v.tolist() for n, v in short.items()} == {"input_ids": [2, 5, 5, 3, 0, 0]}


def test_a_long_text_costs_no_more_than_its_beginning():
    found = wordpiece(max_length=8).preprocess("turn " * 200_000, Context())
    assert len(found["input_ids"]) == 8


def test_a_vocabulary_that_is_not_there_or_not_one_is_said():
    data = SpecificationData("text", ({"step": "wordpiece"},))
    with pytest.raises(SpecificationError, match=r"needs the file 'vocab.txt'"):
        Specification.from_data(data)
    with pytest.raises(SpecificationError, match=r"no piece '\[UNK\]'"):
        Specification.from_data(data, {"vocab.txt": b"a\nb\n"})
    with pytest.raises(SpecificationError, match="not UTF-8"):
        Specification.from_data(data, {"vocab.txt": b"\xff\n"})
    for hostile in ("../vocab.txt", "/etc/passwd", "", "a/b"):
        with pytest.raises(SpecificationError, match="names a file"):
            files_of(SpecificationData("text", ({"step": "wordpiece", "vocabulary": hostile},)))


@pytest.mark.parametrize(
    "settings",
    [{"max_length": 1}, {"max_length": 10**9}, {"pad_to": 1}, {"pad_to": 8}, {"max_word": 0}, {"special": [""]},
     {"tensors": []}, {"tensors": ["ids"]}, {"tensors": ["input_ids", "input_ids"]}],
)  # fmt: skip
def test_lengths_and_tensors_of_tokens_are_within_reason(settings):
    with pytest.raises(SpecificationError):
        wordpiece(**settings)
