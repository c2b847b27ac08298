"""What a model did worst on, shown as it came: pictures, sounds as picture, series, rows, texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit.data import Sample
from edgekit.evaluate.bundles import Measured
from edgekit.evaluate.clustering import silhouettes
from edgekit.evaluate.matches import picture_precision
from edgekit.report.pictures import encoded, thumbnail
from edgekit_runtime.specification.audio import LogMel
from edgekit_runtime.specification.pictures import decode_picture
from edgekit_runtime.specification.step import Context
from edgekit_runtime.specification.wav import read_wav

COUNT = 24
_COLUMNS = 16  # of a row; more are counted
_LETTERS = 400
_SIDE = 288  # of a picture with boxes, whose lines must be seen
_WIDTH, _HEIGHT = 264, 64  # of a wave or a series


@dataclass(frozen=True)
class Example:
    """One sample and what the model made of it.

    Attributes:
        name: Of the sample.
        truth: What it is, in words; empty where nobody knows.
        answer: What the model said.
        note: How sure it was, or how far off.
        right: Whether the answer is right; None where there is no right and wrong.
        picture: ``data:`` address, empty for none.
        tiny: Whether the picture is shown with hard pixels.
        cells: Column and value, for rows.
        text: For texts.
    """

    name: str
    truth: str
    answer: str
    note: str
    right: bool | None
    picture: str = field(default="", repr=False)
    tiny: bool = False
    cells: tuple[tuple[str, str], ...] = ()
    text: str = ""


def worst(measured: Measured, count: int = COUNT) -> tuple[Example, ...]:
    """The samples that the model did worst on, worst first.

    Classes: surest mistakes first, then the least sure right answers. Numbers: largest errors. Boxes: lowest mAP of the
    picture alone. Groups: lowest silhouette.

    Raises:
        EdgekitError: A sample cannot be read.
    """
    tell = {"classification": _classes, "regression": _numbers, "detection": _boxes, "clustering": _groups}
    return tuple(tell[measured.task](measured, count))


def _classes(measured: Measured, count: int) -> list[Example]:
    found, labels = measured.evaluation, measured.dataset.labels
    scores, targets = found.class_scores, found.targets.astype(int)
    own = scores[np.arange(len(targets)), targets]
    others = scores.copy()
    others[np.arange(len(targets)), targets] = -np.inf
    order = np.argsort(own - others.max(axis=1), kind="stable")[:count]
    predicted, confidence = found.predicted, found.confidence
    shares = bool(np.all(scores >= 0) and np.all(scores <= 1))
    made = []
    for i in order:
        sure = f"{confidence[i]:.1%}" if shares else f"score {confidence[i]:.3g}"
        right = bool(predicted[i] == targets[i])
        made.append(_shown(measured.samples[i], labels[targets[i]], labels[int(predicted[i])], sure, right))
    return made


def _numbers(measured: Measured, count: int) -> list[Example]:
    found = measured.evaluation
    off = found.scores[:, 0].astype(np.float64) - found.targets.astype(np.float64)
    order = np.argsort(-np.abs(off), kind="stable")[:count]
    return [
        _shown(
            measured.samples[i], f"{found.targets[i]:.6g}", f"{found.scores[i, 0]:.6g}", f"off by {off[i]:+.4g}", None
        )
        for i in order
    ]


def _groups(measured: Measured, count: int) -> list[Example]:
    found, labels = measured.evaluation, measured.dataset.labels
    groups = found.scores[:, 0].astype(int)
    fit = silhouettes(found.rows, groups)
    order = [i for i in np.argsort(fit, kind="stable") if np.isfinite(fit[i])][:count]
    made = []
    for i in order:
        label = measured.samples[i].label
        truth = "" if label is None else labels[int(label)] if labels else f"{label:.6g}"
        made.append(_shown(measured.samples[i], truth, f"group {groups[i]}", f"silhouette {fit[i]:+.3f}", None))
    return made


def _boxes(measured: Measured, count: int) -> list[Example]:
    found, labels = measured.evaluation, measured.dataset.labels
    figures = picture_precision(found.matches)
    made = []
    for i in np.argsort(figures, kind="stable")[:count]:
        sample, answer = measured.samples[i], measured.answers[i]
        picture, tiny = _with_boxes(sample, answer)
        truth = _counted([labels[b.index] for b in sample.boxes or ()])
        said = _counted([labels[d.index] for d in answer])
        right = bool(figures[i] == 1)
        made.append(Example(sample.id, truth, said, f"mAP {figures[i]:.3f}", right, picture, tiny))
    return made


def _counted(names: Sequence[str]) -> str:
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    return ", ".join(f"{n} {name}" if n > 1 else name for name, n in counts.items()) or "nothing"


def _with_boxes(sample: Sample, found: Sequence[Any]) -> tuple[str, bool]:
    """The picture with what is there (green) and what was found (orange), on light edges so that both are seen."""
    import cv2

    picture = decode_picture(sample.load())
    scale = _SIDE / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    drawn = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    for box, colour, width in [
        *((b.box, (255, 255, 255), 4) for b in sample.boxes or ()),
        *((b.box, (24, 128, 84), 2) for b in sample.boxes or ()),
        *((d.box, (255, 255, 255), 4) for d in found),
        *((d.box, (235, 110, 20), 2) for d in found),
    ]:
        left, top, right, bottom = (round(v * scale) for v in box)
        cv2.rectangle(drawn, (left, top), (right, bottom), colour, width)
    return encoded(drawn, "jpeg"), False


def _shown(sample: Sample, truth: str, answer: str, note: str, right: bool | None) -> Example:
    raw = sample.load()
    said = (sample.id, truth, answer, note, right)
    if isinstance(raw, Mapping):
        cells = [(str(k), _cell(v)) for k, v in raw.items()]
        if len(cells) == 1:
            return Example(*said, text=cells[0][1][:_LETTERS])
        more = [("…", f"{len(cells) - _COLUMNS} more")] if len(cells) > _COLUMNS else []
        return Example(*said, cells=(*cells[:_COLUMNS], *more))
    if isinstance(raw, str):
        return Example(*said, text=raw[:_LETTERS])
    if isinstance(raw, bytes) and raw[:4] == b"RIFF":
        return Example(*said, picture=sound_picture(*read_wav(raw)))
    if isinstance(raw, bytes) or (isinstance(raw, np.ndarray) and raw.dtype == np.uint8 and raw.ndim in (2, 3)):
        picture, tiny = thumbnail(decode_picture(raw))
        return Example(*said, picture=picture, tiny=tiny)
    values = np.asarray(raw)
    if values.ndim == 1 and values.size <= _COLUMNS:
        return Example(*said, cells=tuple((str(i), _cell(v)) for i, v in enumerate(values.tolist())))
    return Example(*said, picture=series_picture(values))


def _cell(value: Any) -> str:
    return "missing" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def sound_picture(sound: np.ndarray, rate: int) -> str:
    """``data:`` address of a wave above its log-mel energies, which are what most models hear."""
    import cv2

    wave = _lines(sound[:, None])
    frame = max(2, round(rate * 0.03))
    if len(sound) < frame:
        return encoded(wave, "png")
    mel = LogMel(frame=frame, hop=max(1, frame // 3), bins=40, low=20.0, high=min(8000.0, rate / 2), rate=rate)
    energies = mel(sound.astype(np.float32), Context()).T[::-1]
    low, high = np.quantile(energies, [0.02, 0.995])
    grey = np.clip((energies - low) / max(float(high - low), 1e-6) * 255, 0, 255).astype(np.uint8)
    heat = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    lower = cv2.resize(heat, (_WIDTH, _HEIGHT + 16), interpolation=cv2.INTER_AREA)
    return encoded(np.concatenate([wave, lower]), "png")


def series_picture(values: np.ndarray) -> str:
    """``data:`` address of (steps,) or (steps, channels) as lines; more axes are laid out as a picture of grey."""
    import cv2

    if values.ndim <= 2 and (values.ndim == 1 or values.shape[1] <= _COLUMNS):
        return encoded(_lines(values.reshape(len(values), -1)), "png")
    flat = values.reshape(values.shape[0], -1).astype(np.float64)
    span = max(float(np.ptp(flat)), 1e-12)
    grey = ((flat - flat.min()) / span * 255).astype(np.uint8)
    grey = cv2.resize(grey, (_WIDTH, _WIDTH // 2), interpolation=cv2.INTER_NEAREST)
    return encoded(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), "png")


_COLOURS = ((15, 98, 122), (190, 82, 36), (28, 115, 80), (120, 80, 160))


def _lines(values: np.ndarray) -> np.ndarray:
    """(steps, channels) drawn between their least and largest value, as (height, width, 3) uint8; gaps stay open."""
    import cv2

    canvas = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    known = values[np.isfinite(values)]
    low, span = (float(known.min()), float(np.ptp(known)) or 1.0) if known.size else (0.0, 1.0)
    edges = np.linspace(0, len(values), _WIDTH + 1).astype(int)
    for channel in range(values.shape[1]):
        previous = None
        for x in range(_WIDTH):
            part = values[edges[x] : max(edges[x + 1], edges[x] + 1), channel]
            part = part[np.isfinite(part)]
            if not part.size:
                previous = None
                continue
            # a column reaches from its least to its largest value: nothing short is lost between pixels
            ends = [round((_HEIGHT - 5) * (1 - (float(v) - low) / span)) + 2 for v in (part.min(), part.max())]
            colour = _COLOURS[channel % len(_COLOURS)]
            if previous is not None:
                cv2.line(canvas, (x - 1, previous), (x, ends[0]), colour, 1)
            cv2.line(canvas, (x, ends[0]), (x, ends[1]), colour, 1)
            previous = ends[1]
    return canvas
