"""Pictures of a study, as Optuna draws them: how it went, what mattered, what no other trial beats."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit_runtime.atomic import replacing

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

_LEAST = 2
"""Trials below which there is nothing to see."""
_AXES = 3
"""Objectives that a front can be drawn of."""


def draw(study: Study, objectives: tuple[str, ...], folder: Path) -> Mapping[str, Path]:
    """Draw what there is to see.

    Args:
        study: With its trials.
        objectives: Their names.
        folder: Where ``history-OBJECTIVE.png``, ``importance-OBJECTIVE.png`` and ``pareto.png`` go.

    Returns:
        Title to file; empty without matplotlib, or with fewer than two complete trials.
    """
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < _LEAST or importlib.util.find_spec("matplotlib") is None:
        return {}
    if "matplotlib.pyplot" not in sys.modules:
        import matplotlib

        matplotlib.use("Agg")  # no screen is looked for
    from optuna.visualization import matplotlib as plots

    drawn: dict[str, Path] = {}
    for place, name in enumerate(objectives):
        value = None if len(objectives) == 1 else _value(place)  # of one it draws the best so far, too
        drawn[f"{name} trial by trial"] = _save(
            folder / f"history-{name}.png",
            partial(plots.plot_optimization_history, study, target=value, target_name=name),
        )
        if _vary(done, place):
            # of what makes good trials good, which Optuna takes to be the low ones
            better = _value(place, -1 if name == "accuracy" else 1)
            drawn[f"what mattered for {name}"] = _save(
                folder / f"importance-{name}.png",
                partial(plots.plot_param_importances, study, target=better, target_name=name),
            )
    if 1 < len(objectives) <= _AXES:
        drawn["trials and front"] = _save(
            folder / "pareto.png", partial(plots.plot_pareto_front, study, target_names=list(objectives))
        )
    return drawn


def _value(place: int, sign: int = 1) -> Callable[[FrozenTrial], float]:
    return lambda trial: sign * float(trial.values[place])


def _vary(done: list[FrozenTrial], place: int) -> bool:
    """Whether an importance can be told: of equal values, or of parameters that never differ, there is none."""
    params = {tuple(sorted((k, str(v)) for k, v in t.params.items())) for t in done}
    return len({t.values[place] for t in done}) > 1 and len(params) > 1


def _save(path: Path, plot: Callable[[], Any]) -> Path:
    import matplotlib
    from matplotlib import pyplot
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with matplotlib.rc_context(), warnings.catch_warnings():  # Optuna would leave its style behind
        warnings.simplefilter("ignore", UserWarning)  # it explains each picture's target
        axes = plot()
        figure = getattr(axes, "figure", None) or axes[0].figure
        with replacing(path) as out:
            FigureCanvasAgg(figure)
            figure.savefig(out, format="png", bbox_inches="tight")
        pyplot.close(figure)
    return path
