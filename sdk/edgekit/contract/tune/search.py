"""A study: made or gone on with, worked on by one process or several, and what came of it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.contract.tune import queue
from edgekit.contract.tune.objective import Bench, Pruning, directions
from edgekit.contract.tune.plan import TunePlan
from edgekit.contract.tune.plots import draw
from edgekit.contract.tune.result import TrialRow, TuneResult, figure
from edgekit.contract.tune.space import plain
from edgekit.contract.tune.storage import GRACE, HEARTBEAT, open_storage
from edgekit.errors import SdkError
from edgekit.report.study import write_study
from edgekit_runtime.errors import EdgekitError, UsageError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, Trial

ADDRESS = "EDGEKIT_TUNE_STORAGE"
"""Environment variable by which workers are told the storage: a command line would show its password to everyone."""
_WAIT = 1.0
_MAY_CHANGE = ("trials", "output", "prune", "name")
Tell = Callable[[str], None]


class TuneError(SdkError):
    """A study cannot go on."""


def tune(
    plan: TunePlan, *, storage: str | None = None, workers: int = 1, timeout: float | None = None,
    tell: Tell = lambda _: None, heartbeat: int = HEARTBEAT, grace: int = GRACE,
) -> TuneResult:  # fmt: skip
    """Search, or go on with a study that was interrupted; the same call on other machines helps.

    Args:
        plan: The study.
        storage: ``postgresql://…`` or ``sqlite:///FILE``; None for a file in the study folder.
        workers: Processes here.
        timeout: Seconds after which no trial is begun; the study can be gone on with.
        tell: Hears of every trial.
        heartbeat: Seconds between a worker's signs of life.
        grace: Seconds without one after which its trial is put in line again.

    Raises:
        UsageError: The plan cannot work, or the study there is another one.
        StorageError: The storage cannot be used.
        TuneError: Every worker ended early, or every trial failed.
    """
    folder = Path(plan.output)
    folder.mkdir(parents=True, exist_ok=True)
    address = storage or f"sqlite:///{(folder / 'study.db').resolve()}"
    opened = open_storage(address, heartbeat=heartbeat, grace=grace)
    study = _study(plan, opened)
    queue.fill(study, opened, plan)
    (folder / "study.json").write_text(json.dumps(plan.to_data(), indent=2) + "\n", "utf-8")
    end = None if timeout is None else time.monotonic() + timeout
    if workers > 1:
        _several(plan, address, workers, timeout, (heartbeat, grace))
    else:
        work(plan, study, opened, end, tell, heartbeat)
    result = finish(plan, study)
    write_study(plan, result, draw(study, plan.objectives, folder))
    if result.trials and not result.waiting and all(t.state == "failed" for t in result.trials):
        (reason, times), *_ = Counter(t.reason for t in result.trials).most_common(1)
        raise TuneError(f"every trial failed, {times} of {len(result.trials)} so: {reason}",
                        "correct the study, and give it another name")  # fmt: skip
    return result


def work(plan: TunePlan, study: Study, storage: RDBStorage, end: float | None, tell: Tell, heartbeat: int) -> None:
    """Take trials until there is none; wait for those of others, whose workers may die."""
    from optuna.trial import TrialState

    with Bench(plan) as bench:
        while end is None or time.monotonic() < end:
            trial = queue.take(study, storage)
            if trial is not None:
                study.sampler = _sampler(plan, trial.number)
                with queue.alive(storage, trial._trial_id, heartbeat):
                    tell(_try(plan, study, storage, trial, bench))
                continue
            queue.fill(study, storage, plan)
            if not study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING)):
                return
            if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                time.sleep(_WAIT)


def _try(plan: TunePlan, study: Study, storage: RDBStorage, trial: Trial, bench: Bench) -> str:
    """Run one trial and write down what came of it; a fault is its own, and the study goes on."""
    from optuna.trial import TrialState

    try:
        params = {name: one.suggest(trial, name) for name, one in plan.parameters().items()}
        watch = Pruning(trial, plan.prune and plan.objectives == ("accuracy",))
        outcome = bench.run(params, Path(plan.output) / "trials" / f"{trial.number:04d}", watch)
        trial.set_user_attr("facts", json.loads(json.dumps(outcome.facts, default=str)))
        trial.set_user_attr("replay", json.loads(json.dumps(outcome.replay, default=str)))
        if watch.pruned:
            study.tell(trial, state=TrialState.PRUNED)
            return f"trial {trial.number} pruned"
        if not all(map(math.isfinite, outcome.values)):
            raise TuneError(f"its {' or '.join(plan.objectives)} is not a finite number")
        study.tell(trial, list(outcome.values))
        return f"trial {trial.number} {_words(plan.objectives, outcome.values)}"
    except KeyboardInterrupt:
        queue.lose(storage, trial._trial_id, "interrupted")
        queue.fill(study, storage, plan)
        raise
    except Exception as error:  # whatever a trainer or a converter raises is this trial's, not the study's
        message = error.message if isinstance(error, EdgekitError) else f"{type(error).__name__}: {error}"
        reason = " ".join(str(message).split())[:300]
        trial.set_user_attr("reason", reason)
        study.tell(trial, state=TrialState.FAIL)
        return f"trial {trial.number} failed: {reason}"


def _study(plan: TunePlan, storage: RDBStorage) -> Study:
    import optuna

    pruner = optuna.pruners.MedianPruner(n_startup_trials=3) if plan.prune else optuna.pruners.NopPruner()
    try:
        study = optuna.create_study(
            storage=storage, study_name=plan.name, directions=directions(plan), load_if_exists=True, pruner=pruner,
            sampler=_sampler(plan, 0),
        )  # fmt: skip
    except optuna.exceptions.OptunaError as error:
        raise TuneError(f"the study {plan.name!r} cannot be opened ({error})") from error
    # the number of trials may grow; what is searched may not change
    asked = json.loads(json.dumps({k: v for k, v in plan.to_data().items() if k not in _MAY_CHANGE}))
    known = study.user_attrs.get("asked")
    if known is None:
        study.set_user_attr("asked", asked)
    elif changed := [name for name in asked if asked[name] != known.get(name)]:
        raise UsageError(
            f"the study {plan.name!r} was begun with another {' and '.join(changed)}", "give another name or storage"
        )
    return study


def _sampler(plan: TunePlan, number: int) -> Any:
    """By trial, so that workers do not suggest the same, and a study that was interrupted goes on as it would have."""
    from optuna import samplers

    seed = (plan.seed * 1_000_003 + number) % 2**32
    if plan.sampler == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=min(50, max(6, plan.trials // 5)))
    if plan.sampler == "tpe":
        return samplers.TPESampler(seed=seed, constant_liar=True)
    return samplers.RandomSampler(seed=seed)  # a grid's points are in line already


def _several(plan: TunePlan, address: str, workers: int, timeout: float | None, beats: tuple[int, int]) -> None:
    """Workers in processes of their own, each with its share of the processors."""
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    environment = {"OMP_NUM_THREADS": threads, **os.environ, ADDRESS: address}
    given = json.dumps({"plan": plan.to_data(), "timeout": timeout, "heartbeat": beats[0], "grace": beats[1]})
    command = [sys.executable, "-m", "edgekit.contract.tune", given]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(workers)]
    try:
        codes = [one.wait() for one in running]
    except BaseException:
        for one in running:
            one.terminate()
        for one in running:
            one.wait()
        raise
    if all(codes):
        raise TuneError("every worker ended early", "see what they said above; the same command goes on")


def finish(plan: TunePlan, study: Study) -> TuneResult:
    """Gather the trials, and write what replays the best ones."""
    from optuna.trial import TrialState

    states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    trials = [t for t in study.get_trials(deepcopy=False) if queue.counts(t)]
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    best = {t.number for t in (study.best_trials if done else ())}
    if len(plan.objectives) == 1 and done:
        best = {study.best_trial.number}
    rows = tuple(_row(t, states[t.state], t.number in best) for t in trials if t.state in states)
    result = TuneResult(Path(plan.output), plan.objectives, rows, len(trials) - len(rows))
    place = result.folder / "best"
    for row in result.front:
        replay = study.get_trials(deepcopy=False)[row.number].user_attrs.get("replay", {})
        for name, data in replay.items():
            place.mkdir(exist_ok=True)
            for file in {f"{row.number:04d}-{name}", *([name] if row == result.front[0] else [])}:
                (place / file).write_text(json.dumps(data, indent=2) + "\n", "utf-8")
    return result


def _row(trial: FrozenTrial, state: str, best: bool) -> TrialRow:
    reason = str(trial.user_attrs.get("reason") or trial.user_attrs.get("lost", "")) if state == "failed" else ""
    values = tuple(trial.values or ()) if state == "complete" else ()
    return TrialRow(trial.number, state, plain(trial.params), values, reason, trial.user_attrs.get("facts", {}), best)


def _words(names: tuple[str, ...], values: tuple[float, ...]) -> str:
    return ", ".join(f"{n} {figure(v)}" for n, v in zip(names, values, strict=True))


def worker(given: str) -> int:
    """What a process of `_several` does."""
    data = json.loads(given)
    plan = TunePlan.from_data(data["plan"])
    storage = open_storage(os.environ[ADDRESS], heartbeat=data["heartbeat"], grace=data["grace"])
    end = None if data["timeout"] is None else time.monotonic() + data["timeout"]
    work(plan, _study(plan, storage), storage, end, lambda line: print(line, file=sys.stderr), data["heartbeat"])
    return 0
