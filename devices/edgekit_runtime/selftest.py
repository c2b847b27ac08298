"""The self-test: golden samples through the whole path on this very device, compared with what was expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from edgekit_runtime.bundle import Bundle
from edgekit_runtime.errors import SelfTestError
from edgekit_runtime.manifest import Expectation, Golden, Tolerance
from edgekit_runtime.runtime import Runtime
from edgekit_runtime.samples import array_from, decode_raw
from edgekit_runtime.specification.pictures import decode_picture


@dataclass(frozen=True)
class Comparison:
    """One output over all golden samples.

    Attributes:
        output: Output name.
        largest: Largest absolute difference.
        sample: Index of the golden sample it was found in.
        outside: Share of values outside the tolerance.
        tolerance: What was allowed.
        passed: Whether it held.
    """

    output: str
    largest: float
    sample: int
    outside: float
    tolerance: Tolerance
    passed: bool


@dataclass(frozen=True)
class SelfTestReport:
    """What the self-test found.

    Attributes:
        variant: Variant that ran.
        backend: Back end and version that ran it.
        reference: Back end, version and machine that it was compared with.
        samples: Number of golden samples.
        comparisons: One per output.
        decoder: Largest mean difference of a decoded picture from the stored one, in grey levels; None for no pictures.
        decoder_allowed: What the manifest allows there.
        used_stored: Whether the model was judged on the stored pictures, since this decoder differs.
    """

    variant: str
    backend: str
    reference: str
    samples: int
    comparisons: tuple[Comparison, ...]
    decoder: Optional[float]
    decoder_allowed: float
    used_stored: bool

    @property
    def passed(self) -> bool:
        """Whether this device answers as the workstation did."""
        return all(c.passed for c in self.comparisons) and (self.decoder or 0.0) <= self.decoder_allowed

    def require(self) -> None:
        """Do nothing if it passed.

        Raises:
            SelfTestError: It did not; says where and by how much.
        """
        if self.passed:
            return
        if (self.decoder or 0.0) > self.decoder_allowed:
            raise SelfTestError(
                f"self-test failed: this device decodes pictures {self.decoder:.2f} grey levels off on average, "
                f"{self.decoder_allowed:g} are allowed",
                "install opencv-python-headless or Pillow of a current version",
            )
        worst = next(c for c in self.comparisons if not c.passed)
        raise SelfTestError(
            f"self-test failed: variant {self.variant} on {self.backend}, output {worst.output!r}, golden sample "
            f"{worst.sample} is off by {worst.largest:.4g} from {self.reference} ({worst.outside:.1%} of the values "
            f"are outside {worst.tolerance.absolute:.3g} + {worst.tolerance.relative:.3g} of the value)",
            "do not use this bundle here; export it again for this runtime, or run edgekit-runtime doctor",
        )


def selftest(
    bundle: Bundle,
    *,
    variant: Optional[str] = None,
    backend: Optional[str] = None,
    threads: Optional[int] = None,
    trust: bool = False,
) -> SelfTestReport:
    """Run the golden samples and compare.

    Raises:
        SelfTestError: The bundle holds nothing to compare with.
        BundleError, BackendError, MissingRequirement: As `Runtime.open`.
    """
    bundle.verify()
    golden = bundle.manifest.golden
    with Runtime.open(bundle, variant=variant, backend=backend, threads=threads, trust=trust) as runtime:
        expectation, same = _expectation(golden, runtime)
        differences, used_stored = [], False
        outputs: dict[str, list[np.ndarray]] = {o.name: [] for o in bundle.manifest.outputs}
        for sample in golden.samples:
            raw = decode_raw(sample.raw, bundle.read(sample.raw))
            if sample.decoded:
                stored = array_from(bundle.read(sample.decoded), sample.decoded)
                here = decode_picture(raw)
                if here.shape != stored.shape:
                    raise SelfTestError(f"picture {sample.raw} decodes to {here.shape} here, not {stored.shape}")
                difference = float(np.mean(np.abs(here.astype(np.int16) - stored)))
                differences.append(difference)
                if difference > 0:
                    # another JPEG decoder: judged on its own; the model is judged on the exporter's pixels
                    used_stored, raw = True, stored
            for name, value in runtime.tensors(raw).items():
                outputs[name].append(value)
        tolerances = golden.same_backend if same else golden.other_backend
        tolerance = tolerances.get(runtime.variant.name, Tolerance(absolute=1e-5))
        comparisons = tuple(
            _compare(name, np.stack(values), array_from(bundle.read(expectation.outputs[name]), name), tolerance)
            for name, values in outputs.items()
        )
        return SelfTestReport(
            variant=runtime.variant.name,
            backend=f"{runtime.backend.name} {runtime.backend.version()}",
            reference=f"{expectation.backend} {expectation.version} on {expectation.machine}",
            samples=len(golden.samples),
            comparisons=comparisons,
            decoder=max(differences) if differences else None,
            decoder_allowed=golden.decoder,
            used_stored=used_stored,
        )


def _expectation(golden: Golden, runtime: Runtime) -> tuple[Expectation, bool]:
    mine = [e for e in golden.expected if e.variant == runtime.variant.name]
    if not golden.samples or not mine:
        raise SelfTestError(
            f"the bundle holds no golden samples for variant {runtime.variant.name!r}", "export it again"
        )
    for expectation in mine:
        if expectation.backend == runtime.backend.name:
            return expectation, True
    return mine[0], False


def _compare(name: str, found: np.ndarray, expected: np.ndarray, tolerance: Tolerance) -> Comparison:
    if found.shape != expected.shape:
        raise SelfTestError(f"output {name!r} has shape {found.shape[1:]}, not {expected.shape[1:]} as expected")
    a, b = found.astype(np.float64), expected.astype(np.float64)
    difference = np.abs(a - b)
    difference[~np.isfinite(difference)] = np.inf
    difference[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    bound = tolerance.absolute + tolerance.relative * np.abs(b)
    outside = float(np.mean(difference > bound)) if difference.size else 0.0
    per_sample = difference.reshape(len(difference), -1).max(axis=1) if difference.size else np.zeros(1)
    return Comparison(
        output=name,
        largest=float(per_sample.max()),
        sample=int(per_sample.argmax()),
        outside=outside,
        tolerance=tolerance,
        passed=outside <= tolerance.exempt,
    )
