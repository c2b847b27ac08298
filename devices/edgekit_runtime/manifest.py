"""What a bundle says about itself: `manifest.json`, as frozen dataclasses.

Readable by the standard library alone. The published JSON Schema (docs/reference/manifest.schema.json) is generated
from these classes. Nothing that varies from run to run is in here; measured latencies live in a sidecar.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from edgekit_runtime.errors import BundleError
from edgekit_runtime.plain import PlainDataError, decode, encode

SCHEMA = "1.3"
"""Version of the manifest; a reader refuses another major number, and ignores what a newer minor one added."""

DTYPES = ("float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool", "string")


@dataclass(frozen=True)
class TensorInfo:
    """A named tensor of the model as its user sees it (before any quantization of the file's own inputs).

    Attributes:
        name: Name, unique among the model's inputs or outputs.
        shape: Extents with the batch axis first; -1 stands for an extent that may vary.
        dtype: One of `DTYPES`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        if any(extent < -1 for extent in self.shape):
            raise ValueError(f"shape {self.shape} has a negative extent")


@dataclass(frozen=True)
class Binding:
    """How one tensor of the model is found in one variant's file.

    ``file = transpose(quantize(model))``: the model's tensor is transposed by `transpose`, then quantized with
    ``round(x / scale) + zero_point`` where the file wants whole numbers. Outputs go the other way round.

    Attributes:
        tensor: Name of the model's tensor (`TensorInfo.name`).
        name: Name inside the file.
        shape: Shape inside the file, after `transpose`; -1 for an extent that may vary.
        dtype: Element type inside the file.
        scale: Quantization step; 0 where the file's values are the model's values.
        zero_point: Whole number that stands for 0.
        transpose: Axes order from the model's tensor to the file's; empty for none.
    """

    tensor: str
    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    scale: float = 0.0
    zero_point: int = 0
    transpose: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        if self.scale < 0:
            raise ValueError(f"scale {self.scale} is negative")
        if self.transpose and sorted(self.transpose) != list(range(len(self.shape))):
            raise ValueError(f"transpose {self.transpose} does not reorder {len(self.shape)} axes")


@dataclass(frozen=True)
class Variant:
    """One converted model file, how it was made, and how well it does.

    Attributes:
        name: Unique in the bundle, ``<format>-<precision>`` by habit.
        format: ``tflite``, ``onnx``, ``c``, …
        precision: ``fp32``, ``fp16``, ``dynamic``, ``int8``, ``w8a16``; of plain code what its leaves are: ``fp64``,
            ``fp32``, ``int32``.
        file: Member of the bundle; for plain code its source, whose neighbours lie in the same folder.
        inputs: Bindings, in the order of `Manifest.inputs`.
        outputs: Bindings, in the order of `Manifest.outputs`.
        backends: Device interpreters that may open it, in order of preference.
        recipe: The passes that made it, plain data, replayable.
        metrics: Metric name to value, measured on `measured_with` over the evaluation split.
        measured_with: Back end and version that measured, as ``litert 2.3.0``; empty when not measured.
        fidelity: Comparison with the source model's outputs (``max_abs``, ``mean_abs``, …), no labels needed.
        builds: Machine (as `platform.machine` says it) to the member that is compiled for it, where `file` is source
            code. Since 1.1.
        sizes: Machine to bytes of code and tables, where `file` is source code. Since 1.1.
        within: Whether it is as accurate as the export asked for, so that a device may run it in place of the chosen
            one; null where nobody knows. Since 1.2.
    """

    name: str
    format: str
    precision: str
    file: str
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    backends: tuple[str, ...]
    recipe: tuple[Mapping[str, Any], ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    measured_with: str = ""
    fidelity: Mapping[str, float] = field(default_factory=dict)
    builds: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    within: Optional[bool] = None


@dataclass(frozen=True)
class SpecificationData:
    """The pre- and post-processing, as plain data; `edgekit_runtime.specification` executes it.

    Attributes:
        kind: What a raw sample is: ``image``, ``audio``, ``table``, ``text`` or ``tensor``.
        input: Steps from the raw sample to the model's input, each ``{"step": NAME, …settings}``.
        output: Steps from the model's outputs to the answer.
    """

    kind: str
    input: tuple[Mapping[str, Any], ...] = ()
    output: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class SourceInfo:
    """Where the model came from.

    Attributes:
        framework: ``torch``, ``keras``, ``keras-legacy``, ``onnx``, ``tflite``, …
        name: File or factory name, without its folder.
        sha256: Hash over the source's files.
        metrics: The source model's own metrics on the same evaluation split.
    """

    framework: str
    name: str
    sha256: str
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DataInfo:
    """One set of samples that was used, told by hash, never by path.

    Attributes:
        role: ``evaluation``, ``comparison`` (unlabelled: outputs were compared with the source's on some of them),
            ``calibration`` (quantization calibration) or ``reference`` (for monitoring).
        samples: How many.
        sha256: Hash over the sorted content hashes of its samples.
        classes: Samples per label, where there are labels.
        origin: How it was chosen, as ``--calibration-data`` or ``training split of --data``.
    """

    role: str
    samples: int
    sha256: str
    classes: Mapping[str, int] = field(default_factory=dict)
    origin: str = ""


@dataclass(frozen=True)
class GoldenSample:
    """One raw input that the device must answer as the workstation did.

    Attributes:
        raw: Member that holds the raw sample as the user has it (JPEG, wav, JSON row, ``.npy`` or ``.npz``).
        decoded: For pictures, member that holds the decoded uint8 picture (``.npy``, height x width x channels), so
            that another JPEG decoder is told apart from a wrong model; else empty.
    """

    raw: str
    decoded: str = ""


@dataclass(frozen=True)
class Expectation:
    """Expected outputs of all golden samples for one variant on one back end.

    Attributes:
        variant: `Variant.name`.
        backend: Back end that computed them.
        version: Its version.
        machine: Processor architecture they were computed on, as ``x86_64``.
        outputs: Model output name to the ``.npy`` member, first axis = golden sample, values as the model's user
            sees them (dequantized).
    """

    variant: str
    backend: str
    version: str
    machine: str
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Tolerance:
    """How far an output may be from what was expected: ``|a - b| <= absolute + relative * |b|``, on a share of values.

    Attributes:
        absolute: In units of the output (for whole-number outputs a multiple of the quantization step).
        relative: Share of the expected value.
        exempt: Share of the values that may be outside, 0 for none.
    """

    absolute: float
    relative: float = 0.0
    exempt: float = 0.0


@dataclass(frozen=True)
class Golden:
    """Golden samples, what is expected of them, and how exactly.

    Attributes:
        samples: The raw inputs.
        expected: One entry per variant and back end that was run on the workstation.
        same_backend: Variant name to tolerance on the same back end.
        other_backend: Variant name to tolerance on a back end that was not run on the workstation.
        decoder: Largest mean difference between two decoders of the same picture, in grey levels.
    """

    samples: tuple[GoldenSample, ...] = ()
    expected: tuple[Expectation, ...] = ()
    same_backend: Mapping[str, Tolerance] = field(default_factory=dict)
    other_backend: Mapping[str, Tolerance] = field(default_factory=dict)
    decoder: float = 2.0


@dataclass(frozen=True)
class DriftLimit:
    """What the distances of a window from the reference stay under without drift.

    Attributes:
        samples: Size of the window.
        psi: Population stability index.
        ks: Kolmogorov-Smirnov.
        js: Jensen-Shannon divergence in bits.
    """

    samples: int
    psi: float
    ks: float
    js: float

    def __post_init__(self) -> None:
        if self.samples < 1 or not all(0 < v < math.inf for v in (self.psi, self.ks, self.js)):
            raise ValueError("a drift limit has a window and distances over 0")


@dataclass(frozen=True)
class Quantiles:
    """Reference distribution of one number, for drift: 33 edges of 32 bins that each held the same share.

    Attributes:
        edges: Non-decreasing, in the unit of the number.
        mean: Mean over the reference samples.
        spread: Standard deviation over the reference samples.
        nulls: Share of missing values.
        limits: For windows of growing sizes; empty where nobody drew them, and drift is not judged. Since 1.3.
    """

    edges: tuple[float, ...]
    mean: float = 0.0
    spread: float = 0.0
    nulls: float = 0.0
    limits: tuple[DriftLimit, ...] = ()

    def __post_init__(self) -> None:
        if any(a.samples >= b.samples for a, b in zip(self.limits, self.limits[1:])):
            raise ValueError("drift limits must be of growing windows")


@dataclass(frozen=True)
class ConfidenceBin:
    """One row of the confidence table: of `samples` answers with this confidence, `accuracy` were right.

    Attributes:
        low: Lower edge of the confidence (inclusive).
        high: Upper edge (exclusive, but for the last).
        samples: Reference samples in the bin.
        accuracy: Share of them that was right.
    """

    low: float
    high: float
    samples: int
    accuracy: float


@dataclass(frozen=True)
class Monitoring:
    """What the monitor on the device compares with; made from the training split.

    Attributes:
        inputs: Feature name (tables) or scalar summary name (``brightness``, ``sharpness``, ``loudness``) to quantiles.
        outputs: Output score name to quantiles.
        priors: Class label to its share.
        confidence: Confidence table for label-free accuracy estimates.
    """

    inputs: Mapping[str, Quantiles] = field(default_factory=dict)
    outputs: Mapping[str, Quantiles] = field(default_factory=dict)
    priors: Mapping[str, float] = field(default_factory=dict)
    confidence: tuple[ConfidenceBin, ...] = ()


@dataclass(frozen=True)
class Member:
    """Size and hash of one file in the bundle.

    Attributes:
        bytes: Size.
        sha256: Lower-case hexadecimal.
    """

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything a bundle says about itself.

    Attributes:
        schema: Version of this format, ``major.minor``.
        name: Name of the model.
        target: Target it was made for.
        task: ``classification``, ``regression``, ``detection`` or ``none``.
        inputs: Tensors the model takes.
        outputs: Tensors it gives.
        specification: Pre- and post-processing.
        variants: Converted files, best first.
        chosen: Name of the variant to run.
        source: The model it was made from.
        labels: Class names in the order of the scores.
        data: The sample sets that were used.
        golden: Self-test material.
        monitoring: Reference distributions.
        tools: Package name to version of everything that took part.
        notes: Licence and origin notes, one sentence each.
        files: Every member but the manifest itself.
        warnings: What the exporter had to say, one sentence each.
    """

    schema: str
    name: str
    target: str
    task: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    specification: SpecificationData
    variants: tuple[Variant, ...]
    chosen: str
    source: SourceInfo
    labels: tuple[str, ...] = ()
    data: tuple[DataInfo, ...] = ()
    golden: Golden = field(default_factory=Golden)
    monitoring: Monitoring = field(default_factory=Monitoring)
    tools: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: Mapping[str, Member] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def variant(self, name: Optional[str] = None) -> Variant:
        """The variant called `name`, or the chosen one.

        Raises:
            BundleError: There is none of that name.
        """
        wanted = name or self.chosen
        for variant in self.variants:
            if variant.name == wanted:
                return variant
        have = ", ".join(v.name for v in self.variants) or "none"
        raise BundleError(f"bundle {self.name!r} has no variant {wanted!r}", f"it has {have}")

    def to_json(self) -> bytes:
        """Canonical JSON: sorted keys, two spaces, UTF-8, a final newline; equal manifests give equal bytes."""
        text = json.dumps(encode(self), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode()

    @classmethod
    def from_json(cls, data: Union[bytes, str]) -> Manifest:
        """Read a manifest strictly.

        Raises:
            BundleError: Not JSON, another major version, or a field of the wrong form.
        """
        try:
            plain = json.loads(data, parse_constant=_refuse_constant, object_pairs_hook=_no_duplicates)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"manifest.json is not valid JSON ({error})") from error
        if not isinstance(plain, dict) or not isinstance(plain.get("schema"), str):
            raise BundleError("manifest.json does not state its schema version")
        major = plain["schema"].split(".")[0]
        if major != SCHEMA.split(".", maxsplit=1)[0]:
            raise BundleError(
                f"the bundle has manifest version {plain['schema'][:20]!r}, this runtime reads {SCHEMA}",
                "update edgekit-runtime on this device",
            )
        try:
            manifest = decode(cls, plain, "manifest")
        except PlainDataError as error:
            raise BundleError(str(error)) from error
        manifest.check()
        return manifest

    def check(self) -> None:
        """Check what types cannot say: names that refer to each other.

        Raises:
            BundleError: A variant, file or tensor is named that is not there.
        """
        self.variant(self.chosen)
        for kind, infos in (("input", self.inputs), ("output", self.outputs)):
            names = [i.name for i in infos]
            if not names or len(set(names)) != len(names):
                raise BundleError(f"the manifest's {kind} names are not unique, or there are none")
        if len({v.name for v in self.variants}) != len(self.variants):
            raise BundleError("the manifest names a variant twice")
        referred = [m for v in self.variants for m in (v.file, *v.builds.values())]
        referred += [m for s in self.golden.samples for m in (s.raw, s.decoded) if m]
        for expectation in self.golden.expected:
            self.variant(expectation.variant)
            referred += expectation.outputs.values()
        for member in referred:
            if member not in self.files:
                raise BundleError(f"the manifest refers to {member!r}, which is not among its files")
        for variant in self.variants:
            for kind, infos, bindings in (
                ("input", self.inputs, variant.inputs),
                ("output", self.outputs, variant.outputs),
            ):
                if [b.tensor for b in bindings] != [i.name for i in infos]:
                    raise BundleError(f"variant {variant.name!r} does not bind every {kind} of the model, in order")

    def replace(self, **changes: Any) -> Manifest:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not allowed")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key appears twice")
    return result
