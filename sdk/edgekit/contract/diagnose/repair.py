"""The bundle made again with every culprit mended, and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekit.contract.choice import Choice
from edgekit.contract.diagnose.case import Case
from edgekit.contract.diagnose.finding import Finding, Repair
from edgekit.result import VariantResult
from edgekit.shipping import compile_chosen, ship


def repair(case: Case, findings: Sequence[Finding]) -> Repair:
    """Write the repaired bundle, where it is better than the one that was given.

    Args:
        case: The bundle, with its culprits mended on the workbench.
        findings: They.

    Raises:
        BundleError: It cannot be written.
    """
    result = case.ship(case.setting)
    assert result.evaluation is not None  # noqa: S101 - there is labelled data
    found = result.evaluation
    drop = case.gain(found, case.floating)
    held = drop <= case.plan.max_drop
    if not findings or not case.gain(case.shipped, found) > 0:
        return Repair(None, (), case.value(found), drop, held)
    names = tuple(f.fix.name for f in findings if f.fix)
    said = f"repaired: {'; '.join(f.says for f in findings)}"
    results = [_within(result, held)]
    if case.bench.plan.keep == "all" and case.setting.recipe:
        results.append(_within(case.bench.attempt(()), True))
    bench = case.bench
    bench.warnings.append(said)
    results, choice, _ = compile_chosen(bench, results, Choice(result.variant.name, held))
    licences = {name: case.bundle.read(name) for name in case.manifest.files if name.startswith("licences/")}
    ship(bench, results, choice, case.manifest.notes, licences)
    return Repair(bench.plan.bundle_path(), names, case.value(found), drop, held)


def _within(result: VariantResult, held: bool) -> VariantResult:
    return replace(result, variant=replace(result.variant, within=held))
