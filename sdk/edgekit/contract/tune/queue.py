"""The trials of a study as a queue in its storage: each is taken once, and what a dead worker held is put back.

All trials are put in line when the study is made, so that their number is one for all workers and machines; a worker
takes the next by a change of state that the database grants once.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgekit.contract.tune.storage as storage_
from edgekit.contract.tune.plan import TunePlan
from edgekit.contract.tune.space import grid_points

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, Trial

MOST = 3
"""Workers that may die of one trial before it counts as failed."""


def identity() -> str:
    """Machine, process and when it began: a number alone is given again."""
    return f"{platform.node()}:{os.getpid()}:{_began(os.getpid())}"


def _began(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def gone(worker: str) -> bool:
    """Whether a worker of this machine is no more; of another machine only its heartbeat tells."""
    node, _, rest = worker.rpartition(":")[0].rpartition(":")
    began = worker.rpartition(":")[2]
    return bool(rest.isdecimal()) and node == platform.node() and bool(began) and _began(int(rest)) != began


def fill(study: Study, storage: RDBStorage, plan: TunePlan) -> None:
    """Put in line what is missing: trials of a new or a larger study, and those that a dead worker held."""
    from optuna.trial import TrialState

    with storage_.alone(storage):
        stale = set(storage._get_stale_trial_ids(study._study_id))
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial._trial_id in stale or gone(trial.user_attrs.get("worker", "")):
                lose(storage, trial._trial_id, "its worker died")
        trials = study.get_trials(deepcopy=False)
        again = {t.user_attrs.get("again") for t in trials}
        for trial in trials:
            turn = int(trial.user_attrs.get("turn", 1))
            if "lost" in trial.user_attrs and trial.number not in again and turn < MOST:
                attributes = {"slot": trial.user_attrs["slot"], "again": trial.number, "turn": turn + 1}
                study.enqueue_trial(dict(trial.params), user_attrs=attributes)
        slots = {t.user_attrs.get("slot") for t in trials}
        grid = plan.sampler == "grid"
        points: list[dict[str, Any]] = list(islice(grid_points(plan.parameters()), plan.trials)) if grid else []
        for slot in range(len(points) if grid else plan.trials):
            if slot not in slots:
                study.enqueue_trial(points[slot] if grid else {}, user_attrs={"slot": slot})


def lose(storage: RDBStorage, trial_id: int, why: str) -> None:
    """Mark a running trial as lost, so that `fill` puts it in line again."""
    from optuna.exceptions import OptunaError
    from optuna.trial import TrialState

    with contextlib.suppress(OptunaError, RuntimeError, KeyError):  # another process was quicker
        storage.set_trial_user_attr(trial_id, "lost", why)
        storage.set_trial_state_values(trial_id, TrialState.FAIL)


def take(study: Study, storage: RDBStorage) -> Trial | None:
    """The next trial in line, which nobody else has then; None where there is none."""
    import optuna
    from optuna.trial import TrialState

    for waiting in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        trial_id = waiting._trial_id
        try:
            storage.record_heartbeat(trial_id)  # before it is taken: a worker that dies just then is noticed
            taken = storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        except optuna.exceptions.OptunaError:
            continue
        if taken:
            storage.set_trial_user_attr(trial_id, "worker", identity())
            return optuna.trial.Trial(study, trial_id)
    return None


@contextlib.contextmanager
def alive(storage: RDBStorage, trial_id: int, seconds: int) -> Iterator[None]:
    """Signs of life of a trial while it runs."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(seconds):
            with contextlib.suppress(Exception):  # a server that is away for a moment; the next sign tells
                storage.record_heartbeat(trial_id)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of the study's: not one that was put in line again."""
    return "lost" not in trial.user_attrs or int(trial.user_attrs.get("turn", 1)) >= MOST
