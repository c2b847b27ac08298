"""Climbing: rung after rung is made and measured, until one holds the contract."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np

from edgekit.compiling import workstation_backend
from edgekit.contract.attempt import FLOAT, Attempt
from edgekit.contract.cache import Kept, Record, Store
from edgekit.contract.contract import Contract
from edgekit.contract.latency import Latency
from edgekit.contract.memory import Memory, measure_memory
from edgekit.contract.verdict import accepted
from edgekit.fit import misfits
from edgekit.result import VariantResult
from edgekit.workbench import Workbench
from edgekit_converters.errors import ConversionError
from edgekit_converters.limits import TargetLimits
from edgekit_converters.passes.ladder import Rung, rungs
from edgekit_converters.passes.plan import PRECISIONS
from edgekit_converters.recipe import Recipe
from edgekit_runtime.errors import EdgekitError, MissingRequirement, UsageError
from edgekit_runtime.manifest import Variant

_SAME = 1e-3
"""A kept model answers as it did if its largest difference from the source is this near to the one on record."""


class Stopwatch(Protocol):
    """Where latencies come from."""

    def __call__(self, result: VariantResult) -> Latency:
        """Time a variant next to float."""


class Climb:
    """A ladder under way.

    Args:
        bench: With the source measured and lowered.
        contract: What is asked for.
        store: Keeps what was tried.
        stopwatch: Times variants.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        bench: Workbench,
        contract: Contract,
        store: Store,
        stopwatch: Stopwatch,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.bench, self.contract, self.store, self._stopwatch, self._clock = bench, contract, store, stopwatch, clock
        self.attempts: list[Attempt] = []
        self._tags: set[tuple[str, str]] = set()
        self._hopeless: set[str] = set()  # precisions

    def run(self) -> tuple[Attempt, ...]:
        """Float first, for everything is held against it; then the rungs, until one holds."""
        floating = self._tried(Rung(FLOAT, (), "none"))
        self.attempts.append(floating)
        for rung in self._rungs():
            attempt = self._tried(rung)
            self.attempts.append(attempt)
            self.bench.progress.say(f"{rung.name}: {attempt.verdict(self.contract)}")
            if accepted(attempt, self.contract, floating.ships):
                break
            if attempt.ships and not any(b.what == "drop" for b in attempt.breaches(self.contract)):
                self._hopeless.add(_precision(rung))
        return tuple(self.attempts)

    def _rungs(self) -> Iterator[Rung]:
        """Those that an earlier run reached, then what comes after them.

        A precision that is accurate enough but too slow or too large is left then: its further rungs are for accuracy,
        and cost the same or more.
        """
        known = self.store.rungs(Rung)
        yield from (rung for rung in known if _precision(rung) not in self._hopeless)
        left: set[str] | None = None
        more: Iterator[Rung] = iter(())
        looked = self.store.looked()
        while True:
            if left != self._hopeless:
                left = set(self._hopeless)
                more = rungs(self.bench.floating, self._limits(), self.bench.context("ladder"), looked)
            try:
                rung = next(more, None)
            except (ConversionError, UsageError) as error:  # in what later rungs look at, as what each layer loses
                self.bench.mind(f"there are no further rungs: {error.message}")
                return
            if rung is None:
                return
            if _precision(rung) in self._hopeless or any(rung.recipe == other.recipe for other in known):
                continue
            known.append(rung)
            self.store.put_rungs(known)
            yield rung

    def _limits(self) -> TargetLimits:
        limits = self.bench.target.limits
        return replace(limits, precisions=tuple(p for p in limits.precisions if p not in self._hopeless))

    def _tried(self, rung: Rung) -> Attempt:
        tag, name = self._tag(rung), _folder(rung)
        kept = self.store.get(name, rung.recipe)
        found = self._again(rung, kept, tag) if kept else None
        return found or self._anew(rung, tag, name)

    def _tag(self, rung: Rung) -> str | None:
        """What tells the variant from others of its precision; the first rung of a name needs nothing."""
        first, _, rest = re.sub(r"[^a-z0-9]+", "-", rung.name.lower()).strip("-").partition("-")
        tag = rest if first in PRECISIONS else "-".join(part for part in (first, rest) if part and first != FLOAT)
        while (first, tag) in self._tags:
            tag = f"{tag}-2".strip("-")
        self._tags.add((first, tag))
        return tag or None

    # -- an earlier run's --------------------------------------------------------------------------------------------

    def _again(self, rung: Rung, kept: Kept, tag: str | None) -> Attempt | None:
        """As it was measured then; None where its model does not answer as the record says."""
        record, model = kept.record, kept.model
        if model is None:
            return Attempt(rung.name, rung.cost, refusal=record.refusal, seconds=record.seconds, kept=True)
        model = replace(model, tag=tag or "")
        try:
            fidelity = self.bench.compare(model)
        except EdgekitError:
            fidelity = {}
        if any(abs(fidelity.get(n, float("inf")) - v) > _SAME * max(1.0, abs(v)) for n, v in record.fidelity.items()):
            self.bench.progress.say(f"the kept model of {rung.name} does not answer as it did, and is made again")
            return None
        self.bench.made[model.name] = model
        described = self.bench.described(model, dict(record.fidelity))
        metrics = record.evaluation.metrics if record.evaluation else {}
        variant = replace(described, metrics=metrics, measured_with=record.interpreter)
        result = VariantResult(variant, model.bytes, record.drop, kept.evaluation, record.trial)
        self.bench.progress.say(f"{rung.name}: made and measured in an earlier run ({record.seconds:.1f} s)")
        return self._judged(Attempt(rung.name, rung.cost, result, record.refusal, record.latency, record.memory,
                                    seconds=record.seconds, kept=True))  # fmt: skip

    # -- this run's --------------------------------------------------------------------------------------------------

    def _anew(self, rung: Rung, tag: str | None, name: str) -> Attempt:
        began = self._clock()
        try:
            made = self._made(rung.recipe, tag, rung.name)
        except MissingRequirement:
            raise
        except EdgekitError as error:  # a rung that cannot be made, opened or measured is no reason to end the climb
            refused = Attempt(rung.name, rung.cost, refusal=error.message, seconds=self._clock() - began)
            record = Record(self.store.key, rung.recipe, error.message, error.hint, seconds=refused.seconds)
            self.store.put(name, record, None, None)
            return refused
        refusal = self._refused(made.variant)
        with self.bench.progress.stage("time", made.variant.name) as stage:
            latency = self._stopwatch(made)
            memory = self._memory(made.variant)
            stage.note = f"{latency.ms:.3g} ms, {latency.ratio:.2f} of float"
        seconds = self._clock() - began
        model, variant = self.bench.made[made.variant.name], made.variant
        record = Record(
            self.store.key, rung.recipe, refusal, fidelity=variant.fidelity, interpreter=variant.measured_with,
            drop=made.drop, trial=made.trial, latency=latency, memory=memory, seconds=seconds,
        )  # fmt: skip
        self.store.put(name, record, model, made.evaluation)
        return self._judged(Attempt(rung.name, rung.cost, made, refusal, latency, memory, seconds=seconds))

    def _made(self, recipe: Recipe, tag: str | None, name: str) -> VariantResult:
        if recipe:
            with self.bench.progress.stage("quantize", name) as stage:
                model, fidelity = self.bench.make(recipe, tag)
                stage.file = model.path
        else:
            model, fidelity = self.bench.make(recipe, tag)
        self.bench.made[model.name] = model
        return self.bench.measure(VariantResult(self.bench.described(model, fidelity), model.bytes))

    def _refused(self, variant: Variant) -> str:
        """Why the target cannot take it, though it was measured."""
        target = self.bench.target
        if variant.precision == "fp32" and "fp32" not in target.limits.precisions:
            return f"{target.name} does not run float"
        return "; ".join(misfits(self.bench.made[variant.name], target))

    def _memory(self, variant: Variant) -> Memory | None:
        backend = workstation_backend(variant.backends).name
        feed = self.bench.probes(True)[0]
        shapes = {}
        for binding in variant.inputs:
            shape = np.shape(feed[binding.tensor])
            shapes[binding.name] = [shape[axis] for axis in binding.transpose or range(len(shape))]
        return measure_memory(self.bench.made[variant.name].runnable, backend, shapes)

    def _judged(self, attempt: Attempt) -> Attempt:
        """With intervals."""
        judge, baseline = self.bench.judge, self.bench.baseline
        found = attempt.result.evaluation if attempt.result else None
        if judge is None or baseline is None or found is None:
            return attempt
        return replace(attempt, interval=judge.interval(found), drop_interval=judge.drop_interval(baseline, found))


def _precision(rung: Rung) -> str:
    """What its name begins with."""
    return rung.name.partition(",")[0]


def _folder(rung: Rung) -> str:
    """Of its results."""
    from edgekit.contract.cache import key_of
    from edgekit_runtime.plain import encode

    return FLOAT if rung.name == FLOAT else key_of({"recipe": encode(rung.recipe)})[:16]
