"""Golden samples: raw inputs with the answers this workstation gave, and how exactly a device must repeat them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgekit_converters.fidelity import random_feeds
from edgekit_runtime.manifest import Expectation, Golden, GoldenSample, TensorInfo, Tolerance, Variant
from edgekit_runtime.runtime import Runtime
from edgekit_runtime.samples import array_bytes, decode_raw, encode_raw
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.pictures import decode_picture

COUNT = 8

# Measured on emulated boards: whole-number TFLite outputs were bit-equal across architectures for one interpreter;
# float ones and onnxruntime's QDQ differed in the last digits or by a rounding of single activations.
_FLOAT = Tolerance(absolute=1e-4, relative=1e-3)
_INT8_ONNX_SHARE = 0.05
_STEPS_OTHER = 4
_TEXTS = ("good morning", "turn the light off", "a", "it does not work at all!", "what is it?", "1 2 3", "Hello", "no")


def pick(items: Sequence[Any], labels: Sequence[Any], count: int = COUNT) -> list[Any]:
    """`count` items spread evenly over the labels, always the same ones."""
    groups: dict[Any, list[Any]] = {}
    for item, label in zip(items, labels, strict=True):
        groups.setdefault(label, []).append(item)
    queues = [list(reversed(g)) for _, g in sorted(groups.items(), key=lambda g: str(g[0]))]
    picked: list[Any] = []
    while len(picked) < count and any(queues):
        for queue in queues:
            if queue and len(picked) < count:
                picked.append(queue.pop())
    return picked


def invent(specification: Specification, inputs: Sequence[TensorInfo], count: int) -> list[Any]:
    """Raw samples out of nothing, always the same ones, where the user gave no data."""
    generator = np.random.default_rng(0)
    if specification.kind == "image":
        return list(generator.integers(0, 256, (count, 96, 128, 3), np.uint8))
    if specification.kind == "audio":
        return list(generator.uniform(-0.5, 0.5, (count, 16_000)).astype(np.float32))
    if specification.takes_text:
        return [_TEXTS[i % len(_TEXTS)] for i in range(count)]
    if specification.kind == "table":
        return [generator.uniform(0, 1, inputs[0].shape[1:]).tolist() for _ in range(count)]
    feeds = [{n: v[0] for n, v in f.items()} for f in random_feeds(inputs, count, seed=0)]
    return [next(iter(f.values())) for f in feeds] if len(inputs) == 1 else feeds


def tolerances(variant: Variant, outputs: Mapping[str, np.ndarray]) -> tuple[Tolerance, Tolerance]:
    """(same back end, other back end) for one variant.

    Args:
        variant: The variant.
        outputs: Its expected outputs over the golden samples; their spread scales the tolerances.
    """
    spread = max((float(np.ptp(v)) for v in outputs.values() if v.size and v.dtype.kind == "f"), default=1.0) or 1.0
    step = max((b.scale for b in variant.outputs), default=0.0)
    quantized = variant.precision in ("int8", "w8a16", "dynamic")
    loose = Tolerance(absolute=max(_INT8_ONNX_SHARE * spread, _STEPS_OTHER * step), relative=0.0, exempt=0.02)
    if not quantized:
        same = Tolerance(absolute=_FLOAT.absolute * spread, relative=_FLOAT.relative)
        return same, Tolerance(absolute=10 * same.absolute, relative=10 * same.relative)
    if variant.precision == "dynamic":
        # interpreters quantize activations on the way each in its own manner: single answers near a tie may turn
        return loose, Tolerance(absolute=2 * loose.absolute, relative=0.0, exempt=0.05)
    if variant.format == "tflite":
        # half a step: equal whole numbers, whatever the float arithmetic of dequantizing does to the last digit
        return Tolerance(absolute=0.5 * step if step else 1e-3 * spread), loose
    return loose, Tolerance(absolute=2 * loose.absolute, relative=0.0, exempt=loose.exempt)


def golden(
    raws: Sequence[Any], kind: str, variants: Sequence[Variant], run: Callable[[Variant], Runtime]
) -> tuple[Golden, dict[str, bytes]]:
    """Golden samples with the answers of every variant on this workstation's interpreters.

    Args:
        raws: Raw samples.
        kind: Of the specification.
        variants: Variants in the bundle.
        run: Opens one; closed here.

    Returns:
        What the manifest says, and the members of the bundle.
    """
    members: dict[str, bytes] = {}
    samples = []
    for i, raw in enumerate(raws):
        suffix, content = encode_raw(kind, raw)
        member, decoded = f"golden/{i}{suffix}", ""
        members[member] = content
        if kind == "image":
            decoded = f"golden/{i}.decoded.npy"
            members[decoded] = array_bytes(decode_picture(decode_raw(member, content)))
        samples.append(GoldenSample(member, decoded))
    expected, same, other = [], {}, {}
    for variant in variants:
        with run(variant) as runtime:
            each = [runtime.tensors(decode_raw(s.raw, members[s.raw])) for s in samples]
        outputs = {o.name: np.stack([e[o.name] for e in each]) for o in runtime.manifest.outputs}
        places = {}
        for number, (name, value) in enumerate(outputs.items()):
            places[name] = f"golden/expected/{variant.name}.{runtime.backend.name}.{number}.npy"
            members[places[name]] = array_bytes(value)
        version = runtime.backend.version() or ""
        expected.append(Expectation(variant.name, runtime.backend.name, version, platform.machine(), places))
        same[variant.name], other[variant.name] = tolerances(variant, outputs)
    return Golden(tuple(samples), tuple(expected), same, other), members
