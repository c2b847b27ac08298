"""`edgekit compress`: the cheapest recipe that holds a contract of accuracy, latency, size and memory."""

from __future__ import annotations

import hashlib
import platform
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgekit
import edgekit_converters
import edgekit_runtime
from edgekit.choosing import VALIDATION
from edgekit.contract.attempt import FLOAT, Attempt
from edgekit.contract.cache import Record, Store
from edgekit.contract.choice import Choice
from edgekit.contract.contract import Contract
from edgekit.contract.ladder import Climb, Stopwatch
from edgekit.contract.latency import LOOKS, SECONDS, Latency, in_turns
from edgekit.contract.verdict import Verdict, decide
from edgekit.errors import DataError
from edgekit.licences import read_licences
from edgekit.material import LEAST_CHOOSING
from edgekit.plan import ExportPlan
from edgekit.progress import Progress
from edgekit.result import ExportResult, VariantResult
from edgekit.shipping import compile_chosen, ship
from edgekit.workbench import Workbench
from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.files import sha256_of, versions
from edgekit_converters.sources.classic import ClassicSource
from edgekit_runtime.backends import accelerator_of
from edgekit_runtime.plain import encode

if TYPE_CHECKING:
    from edgekit.contract.board import Board

WORK = Path(".edgekit/compress")
"""Where results are kept unless `CompressPlan.work` says otherwise; in the working folder."""
_TOOLS = (
    "numpy", "onnx", "onnxruntime", "onnxscript", "ai-edge-litert", "ai-edge-quantizer", "litert-torch", "tensorflow",
    "keras", "torch", "opencv-python-headless", "scikit-learn", "pycocotools",
)  # fmt: skip
_FEW = 50  # samples; fewer say little about a drop of a point
_CHOOSER = "chooser"  # where the source's evaluation on the samples that choose is kept
_HERE = "this workstation, not the device"


@dataclass(frozen=True)
class CompressPlan:
    """What to compress, for what, and how good it must be.

    Attributes:
        export: The model, its data and its target; `max_drop`, `quantize` and plain code's settings are not used.
        contract: The limits.
        work: Folder that keeps what was tried; None for `WORK`.
        board: Where latencies are measured; None for this machine.
        seconds: How long a variant and float are timed here.
    """

    export: ExportPlan
    contract: Contract
    work: str | None = None
    board: Board | None = None
    seconds: float = SECONDS


@dataclass(frozen=True)
class CompressResult:
    """What a compression made.

    Attributes:
        export: The bundle and what is in it, as an export has it.
        contract: What was asked for.
        attempts: Every rung that was tried, float first.
        verdict: Which ships and why.
        metric: What the drop is of; empty where accuracy was not measured.
        where: What latencies were measured on, in words.
        work: Folder that keeps the results.
        chosen_by: Which samples chose, in words; empty where nothing was measured.
    """

    export: ExportResult
    contract: Contract
    attempts: tuple[Attempt, ...]
    verdict: Verdict
    metric: str
    where: str
    work: Path
    chosen_by: str = ""


def compress(plan: CompressPlan, progress: Progress | None = None) -> CompressResult:
    """Climb the ladder of recipes to the first that holds the contract, and write its bundle.

    The bundle is written also where none holds it: with the best there is.

    Args:
        plan: What to compress.
        progress: Hears of every stage.

    Raises:
        UsageError: The plan cannot work, or the model has nothing to climb; nothing was written.
        DataError: The data set cannot be used.
        ConversionError: The float conversion failed, or nothing fits the target.
        BundleError: The bundle cannot be written.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgekit-")))
        return _compress(plan, progress or Progress(), folder, stack)


def _compress(plan: CompressPlan, progress: Progress, folder: Path, stack: ExitStack) -> CompressResult:
    bench = Workbench(replace(plan.export, max_drop=None), progress, folder, stack, agreement=True, chooses=True)
    bench.plan.check_free()
    licences, notes = read_licences(plan.export.licences)
    bench.take_in()
    _check(bench, plan.contract)
    where = plan.board.name if plan.board else f"{platform.machine()}, {_HERE}"
    work = Path(plan.work) if plan.work is not None else WORK
    store = Store(work, _parts(bench, where), progress.say)
    if plan.board is not None and store.get(FLOAT) is None:
        plan.board.reach()  # it is needed in a while: better to know now
    _start(bench, store)
    stopwatch: Stopwatch = plan.board.stopwatch(bench) if plan.board else Here(bench, where, plan.seconds)
    if plan.board is None and (unit := accelerator_of(bench.target.backends[bench.floating.format][:1])):
        bench.mind(f"latencies are of this workstation's CPU, not of the {unit}: give --host to measure on the board")
    climb = Climb(bench, plan.contract, store, stopwatch)
    attempts = climb.run()
    verdict = decide(attempts, plan.contract)
    if verdict is None:
        said = "; ".join(f"{a.rung}: {a.refusal}" for a in attempts)
        raise ConversionError(f"nothing can ship to {bench.target.name}: {said}", "try another --format or model")
    export = _ship(bench, plan.contract, attempts, verdict, notes, licences)
    metric = bench.judge.metric if bench.judge else ""
    where = next((a.latency.where for a in attempts if a.latency), where)
    return CompressResult(export, plan.contract, attempts, verdict, metric, where, store.folder, _chosen_by(bench))


def _check(bench: Workbench, contract: Contract) -> None:
    """Whether there is something to climb, and something to judge it by."""
    source, material = bench.source, bench.material
    if isinstance(source, ClassicSource):
        raise UsageError(
            f"a {source.framework} model has nothing to compress: it becomes plain code, equal to the source",
            "use edgekit export",
        )
    if contract.max_drop is not None and not material.evaluation and not material.unlabelled:
        raise UsageError("--max-drop needs data to measure with", "give --data")
    if material.evaluation and material.task == "classification":
        if len(material.labels) < 2:
            raise DataError(f"every sample is of class {material.labels[0]!r}: there is nothing to tell apart",
                            "give data of at least two classes")  # fmt: skip
        only = {s.label for s in material.evaluation}
        if len(only) == 1:
            name = material.labels[int(only.pop() or 0)]
            bench.mind(f"every evaluation sample is of class {name!r}: accuracy says nothing of the other classes")
        calibrating = {s.label for s in material.calibration}
        if len(calibrating) == 1:
            bench.mind("every calibration sample is of one class: ranges may not fit the others")
    choosing, proving = (material.choosing, material.evaluation) if material.evaluation else material.halves
    if proving and not choosing:
        bench.mind(f"the same {len(proving)} samples choose the rung and measure it, which flatters it a little: "
                   f"data with a validation split ({LEAST_CHOOSING} samples at least) chooses by that")  # fmt: skip
    judged = material.evaluation or material.unlabelled
    if contract.max_drop is not None and len(judged) < _FEW:
        bench.mind(f"{len(judged)} samples say little about a drop of {contract.max_drop:g}: mind the interval")
    if not material.calibration:
        bench.mind("int8 needs samples for quantization calibration: give --data with a training split, "
                   "or --calibration-data")  # fmt: skip


def _chosen_by(bench: Workbench) -> str:
    """Which samples chose the rung, and which measured it, for tables."""
    if bench.judge is None:
        return ""
    measured = len(bench.judge.samples)
    if (chooser := bench.chooser) is None:
        return f"chosen and measured by the same {measured} samples"
    chose = len(chooser.judge.samples)
    if chooser.split == VALIDATION:
        return f"chosen by {chose} validation samples, measured on {measured} test samples"
    return f"chosen by {chose} samples, measured on {measured} others"


def _start(bench: Workbench, store: Store) -> None:
    """The source measured and lowered, or both taken from an earlier run."""
    kept, chosen_by = store.get("start"), store.get(_CHOOSER)
    whole = chosen_by is not None or not bench.material.choosing
    if kept is not None and kept.model is not None and whole:
        record = kept.record
        by = chosen_by.evaluation if chosen_by else None
        bench.resume(kept.model, dict(record.fidelity), kept.evaluation, record.output, by)
        bench.warnings.extend(w for w in record.warnings if w not in bench.warnings)
        bench.progress.say("the source was measured and lowered in an earlier run")
    else:
        bench.lower()
        if bench.floating.precision != "fp32":
            raise UsageError(
                f"the model is {bench.floating.precision} already and has nothing to compress",
                "give the float model",
            )
        steps = tuple(dict(s) for s in bench.specification.to_data().output)
        record = Record(store.key, fidelity=bench.fidelity, output=steps, warnings=tuple(bench.warnings))
        if bench.chooser is not None and bench.material.choosing:
            store.put(_CHOOSER, Record(store.key), None, bench.chooser.baseline)
        store.put("start", record, bench.floating, bench.baseline)
    bench.made[bench.floating.name] = bench.floating


class Here:
    """Times on this machine, in turns with float.

    Args:
        bench: Where variants are opened.
        where: This machine, in words.
        seconds: How long.
    """

    def __init__(self, bench: Workbench, where: str, seconds: float = SECONDS) -> None:
        self._bench, self._where, self._seconds = bench, where, seconds
        self._feeds = bench.probes(True)

    def __call__(self, result: VariantResult) -> Latency:
        """Time a variant next to float."""
        floating = self._bench.made[self._bench.floating.name]
        same = result.variant.name == floating.name
        described = self._bench.described(floating, {})
        with self._bench.open(described) as reference, self._bench.open(result.variant) as runtime:
            looks = 1 if same else LOOKS  # there is nothing to be told apart
            found = in_turns(runtime, reference, self._feeds, self._where, seconds=self._seconds, looks=looks)
        return replace(found, float_ms=found.ms, ratio=1.0, low=1.0, high=1.0) if same else found


def _ship(
    bench: Workbench,
    contract: Contract,
    attempts: tuple[Attempt, ...],
    verdict: Verdict,
    notes: tuple[str, ...],
    licences: dict[str, bytes],
) -> ExportResult:
    """The bundle, written."""
    if verdict.remark:
        bench.mind(verdict.remark)
    if verdict.chosen.doubt:
        bench.mind(verdict.chosen.doubt)
    results = []
    for attempt in attempts:
        if attempt.result is None or not attempt.ships:
            continue
        within = not any(b.what == "drop" for b in attempt.breaches(contract))
        known = attempt.result.drop is not None or attempt.rung == FLOAT
        variant = replace(attempt.result.variant, within=within if known else None)
        results.append(replace(attempt.result, variant=variant))
    assert verdict.chosen.result is not None  # noqa: S101 - it ships
    choice = Choice(verdict.chosen.result.variant.name, verdict.held, verdict.remark)
    results, choice, placement = compile_chosen(bench, results, choice)
    manifest, digest = ship(bench, results, choice, notes, licences)
    samples = bench.material.evaluation
    return ExportResult(
        bench.plan.bundle_path(), digest, manifest, bench.baseline, tuple(results), choice, bench.progress.done,
        placement, samples,
    )  # fmt: skip


# -- what results depend on ------------------------------------------------------------------------------------------


def _parts(bench: Workbench, where: str) -> dict[str, Any]:
    """All that a result depends on but its recipe, as plain data."""
    plan, material, source = bench.plan, bench.material, bench.source
    judged = material.evaluation or material.unlabelled
    return {
        "source": [source.framework, source.name, source.sha256, encode(source.inputs), encode(source.outputs)],
        "weights": sha256_of(Path(plan.weights)) if plan.weights else "",
        "data": {
            "judged": [[s.sha256, s.label, encode(s.boxes)] for s in judged],
            "choosing": [[s.sha256, s.label, encode(s.boxes)] for s in material.choosing],
            "calibration": [s.sha256 for s in material.calibration],
            "labels": list(material.labels),
            "task": material.task,
            "labelled": bool(material.evaluation),
        },
        "specification": encode(bench.specification.to_data()),
        "target": [bench.target.name, encode(bench.target.limits), encode(bench.target.backends), plan.format],
        "tools": {**versions(*_TOOLS), "python": platform.python_version()},
        "code": _code(),
        "where": [where, platform.node()],
    }


def _code() -> str:
    """Our own code by content: the version of a clone says little."""
    digest = hashlib.sha256()
    for package in (edgekit, edgekit_converters, edgekit_runtime):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
