"""The last steps of an export and of a compression: compile the chosen variant, say where it runs, write the bundle."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgekit import __version__
from edgekit.compiling import compiled, workstation_backend
from edgekit.contract import Choice
from edgekit.result import VariantResult
from edgekit.workbench import Workbench
from edgekit_converters.placement import Placement
from edgekit_converters.recipe import Converted
from edgekit_runtime import Bundle
from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.manifest import Manifest
from edgekit_runtime.selftest import selftest


def compile_chosen(
    bench: Workbench, results: list[VariantResult], choice: Choice
) -> tuple[list[VariantResult], Choice, Placement | None]:
    """The chosen variant compiled for the target's accelerator, where its compiler is here; it is chosen then.

    Raises:
        ConversionError: The compiler refused it.
    """
    twin, compiler = bench.made[choice.name], bench.target.compiler
    result = next(r for r in results if r.variant.name == choice.name)
    if compiler is None or shutil.which(compiler.program) is None:
        if compiler is not None:
            line = compiler.command(twin.path.name)
            bench.mind(f"predicted, not compiled: {twin.name} runs on the CPU until it is; to compile: {line}")
        return results, choice, _place(bench, twin)
    with bench.progress.stage("compile", f"{twin.name}, {compiler.program}") as stage:
        found = compiled(bench.target, result, twin, bench.folder)
        assert found is not None  # noqa: S101 - its compiler is on PATH
        made, model, placement = found
        stage.file, stage.note = model.path, placement.in_words()
    for note in placement.notes:
        bench.progress.say(note)
    bench.made[model.name], bench.twins[model.name] = model, result.variant
    return [made, *results], replace(choice, name=model.name), placement


def _place(bench: Workbench, model: Converted) -> Placement | None:
    placing = bench.target.placement.get(model.format)
    if placing is None:
        return None
    with bench.progress.stage("placement", model.name) as stage:
        placement = placing(model.path)
        stage.note = placement.in_words()
    return placement


def ship(
    bench: Workbench,
    results: Sequence[VariantResult],
    choice: Choice,
    notes: tuple[str, ...] = (),
    more: Mapping[str, bytes | Path] | None = None,
) -> tuple[Manifest, str]:
    """Write the bundle that the plan asks for, self-tested on this machine.

    Args:
        bench: Where the variants were made.
        results: All of them; the plan's `keep` says which go into the bundle.
        choice: Which one ships.
        notes: For the manifest.
        more: Further members.

    Returns:
        The manifest and the bundle's digest.

    Raises:
        BundleError: It cannot be written.
        SelfTestError: It does not answer as it did a moment ago.
    """
    twin = bench.twins.get(choice.name)
    shipped = (choice.name, twin.name) if twin else (choice.name,)
    kept = [r for r in results if bench.plan.keep == "all" or r.variant.name in shipped]
    manifest, members = bench.assembly().finish(kept, choice, bench.made, bench.baseline, bench.open, bench.progress)
    manifest = manifest.replace(notes=notes, warnings=tuple(bench.warnings))
    tested: list[Manifest] = []

    def prove(bundle: Bundle) -> None:
        chosen = bundle.manifest.variant()
        runs = bench.twins.get(chosen.name, chosen)
        backend = workstation_backend(runs.backends).name
        selftest(bundle, variant=runs.name, backend=backend, trust=True).require()  # made here a moment ago
        tested.append(bundle.manifest)

    path = bench.plan.bundle_path()
    with bench.progress.stage("bundle", f"edgekit {__version__}, self-tested on this machine") as stage:
        digest = write_bundle(path, manifest, {**members, **(more or {})}, overwrite=bench.plan.overwrite, prove=prove)
        stage.file = path
    return tested[0], digest
