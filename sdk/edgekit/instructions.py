"""Instructions of a bundle's plain code on an emulated Cortex-M: what its golden samples cost, and what they answer."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.errors import EvaluationError
from edgekit_converters.plaincode.emulate import Call, count_instructions
from edgekit_runtime import Bundle
from edgekit_runtime.errors import UsageError
from edgekit_runtime.manifest import Manifest, Variant
from edgekit_runtime.samples import array_from, decode_raw
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.step import Context

_BOUND = 1e-5  # of answers, at the size of the largest


@dataclass(frozen=True)
class Instructions:
    """What one prediction costs on an emulated processor; instructions, not time.

    Attributes:
        variant: Variant that ran.
        processor: As ``cortex-m4``.
        emulator: What emulated it.
        instructions: Of one prediction, the mean over the rows.
        rows: Golden samples that ran.
        flash_bytes: Code and tables.
        largest: Largest difference of an answer from the expected one.
    """

    variant: str
    processor: str
    emulator: str
    instructions: float
    rows: int
    flash_bytes: int
    largest: float


def processor_of(manifest: Manifest, variant: str | None = None) -> str:
    """The Cortex-M that a bundle's variant was compiled for; empty for none."""
    return next((name for name in manifest.variant(variant).sizes if name.startswith("cortex-")), "")


def count(path: Path, variant: str | None = None) -> Instructions:
    """Run a bundle's golden samples on the emulated processor that it was made for.

    Raises:
        UsageError: It was made for none, or takes texts.
        EvaluationError: The emulated processor answers otherwise than was expected.
        MissingRequirement, ConversionError: As `count_instructions`.
    """
    with Bundle.open(path) as bundle, tempfile.TemporaryDirectory(prefix="edgekit-cortex-") as folder:
        manifest, chosen = bundle.manifest, bundle.manifest.variant(variant)
        processor = processor_of(manifest, variant)
        if not processor:
            raise UsageError(f"variant {chosen.name} was made for no Cortex-M", "export it with --target cortex-m4")
        if manifest.inputs[0].dtype == "string":
            raise UsageError("instructions are counted for rows of numbers, not for texts", "count them on the chip")
        home = chosen.file.rpartition("/")[0]
        for member in manifest.files:
            if member.startswith(f"{home}/") and member.endswith((".c", ".h")):
                bundle.extract(member, folder)
        expectation = next(e for e in manifest.golden.expected if e.variant == chosen.name)
        parts = [array_from(bundle.read(expectation.outputs[o.name]), o.name) for o in manifest.outputs]
        raws = [decode_raw(s.raw, bundle.read(s.raw)) for s in manifest.golden.samples]
        prepare = Specification.from_data(manifest.specification).preprocess
        rows = np.stack([np.asarray(prepare(raw, Context()), np.float64) for raw in raws])
        expected = np.concatenate([p.reshape(len(rows), -1) for p in parts], axis=1).astype(np.float64)
        call = _call(manifest, chosen)
        if call.returns == "int" and expected.shape[1] > 1:  # classes alone: their places
            expected = expected.argmax(axis=1)[:, None].astype(np.float64)
        found = count_instructions(Path(folder) / Path(chosen.file).name, call, rows, processor)
    largest = float(np.abs(found.answers - expected).max(initial=0.0))
    if not largest <= _BOUND * (1 + float(np.abs(expected).max(initial=0.0))):
        raise EvaluationError(
            f"the emulated {processor} answers {largest:.3g} off from what was expected", "do not use this bundle there"
        )
    return Instructions(
        chosen.name, processor, found.emulator, found.instructions, len(rows), chosen.sizes[processor], largest
    )


def _call(manifest: Manifest, variant: Variant) -> Call:
    prefix = str(variant.recipe[0]["prefix"])
    names = [o.name for o in manifest.outputs]
    method = names[0] if len(names) == 1 else re.sub(r"_\d+$", "", names[0])
    width = sum(o.shape[1] for o in manifest.outputs)
    row = "float" if variant.inputs[0].dtype == "float32" else "double"
    if method == "predict" and len(names) == 1 and width == len(manifest.labels) > 1:
        return Call(prefix, method, 1, "int", row)
    return Call(prefix, method, width, "double" if width == 1 else "", row)
