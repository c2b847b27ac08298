"""`edgekit train`: labelled data to a run folder with a model that `edgekit export` takes."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli.options import Label_
from edgekit_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgekit.training import TrainPlan, TrainResult


def train_command(
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="image, audio, sensor, detection, text or table")
    ] = None,
    data: Annotated[str | None, typer.Option(help="labelled data set, as `edgekit export` takes it")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="run folder; runs/TASK by default")] = None,
    backbone: Annotated[str | None, typer.Option(help="network to train; `--backbone list` names the task's")] = None,
    weights: Annotated[
        str | None, typer.Option(help="file or folder of pre-trained weights, imagenet, or none for a fresh start")
    ] = None,
    framework: Annotated[str | None, typer.Option(help="keras or torch, for backbones that both have")] = None,
    label: Label_ = None,
    text: Annotated[str | None, typer.Option(help="text column of a table")] = None,
    labels: Annotated[str | None, typer.Option(help="file with one class name a line, in the order of scores")] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over the samples with every layer trained")] = None,
    head_epochs: Annotated[int | None, typer.Option(help="passes before, with the backbone frozen")] = None,
    batch: Annotated[int | None, typer.Option(help="samples a step")] = None,
    rate: Annotated[float | None, typer.Option(help="learning rate of the head, or of everything from scratch")] = None,
    fine_rate: Annotated[float | None, typer.Option(help="peak learning rate once the backbone is thawed")] = None,
    seed: Annotated[int | None, typer.Option(help="of every random choice")] = None,
    patience: Annotated[int | None, typer.Option(help="epochs without a better figure, then stop; 0 for never")] = None,
    augment: Annotated[bool | None, typer.Option(help="vary the training samples at random")] = None,
    class_weights: Annotated[bool | None, typer.Option(help="rare classes weigh more in the loss")] = None,
    devices: Annotated[str | None, typer.Option(help="processors or GPUs, as Lightning takes it")] = None,
    nodes: Annotated[int | None, typer.Option(help="machines, as Lightning takes it")] = None,
    option: Annotated[list[str] | None, typer.Option(help="what only this task knows, as size=96; repeatable")] = None,
    config: Annotated[Path | None, typer.Option(help="a plan that --dry-run printed, or a run's config.json")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="remove what another run left in the folder")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan and stop")] = False,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object to standard output")] = False,
) -> None:
    """Train a model on labelled data; the same command goes on with a run that was interrupted."""
    settings = {
        "task": task, "backbone": backbone, "weights": weights, "framework": framework, "epochs": epochs,
        "head_epochs": head_epochs, "batch": batch, "rate": rate, "fine_rate": fine_rate, "seed": seed,
        "patience": patience, "augment": augment, "class_weights": class_weights, "nodes": nodes,
        "devices": int(devices) if devices is not None and devices.isdecimal() else devices,
    }  # fmt: skip
    if backbone == "list":
        _list_backbones(task)
        return
    places = {"data": data, "output": output, "label": label, "text": text, "labels": labels}
    plan = _plan(
        config,
        {k: v for k, v in settings.items() if v is not None},
        {k: v for k, v in places.items() if v is not None} | ({"overwrite": True} if overwrite else {}),
        _options(option or []),
    )
    if dry_run:
        print(plan.to_json())
        return
    _train(plan, json)


def _list_backbones(task: str | None) -> None:
    from edgekit_converters.train import trainer_for

    if task is None:
        raise UsageError("--backbone list needs a task", "edgekit train --task image --backbone list")
    for name, words in trainer_for(task).backbones.items():
        print(f"{name:32}{words}")


def _plan(config: Path | None, settings: dict[str, Any], places: dict[str, Any], options: dict[str, Any]) -> TrainPlan:
    from dataclasses import replace

    from edgekit.training import TrainPlan
    from edgekit_converters.train import TrainConfig, trainer_for

    if config is not None:
        try:
            plan = TrainPlan.from_json(config.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {config}", "make one with --dry-run") from error
        inner = replace(plan.config, **settings, options={**plan.config.options, **options})
        return replace(plan, config=inner, **places)
    if "task" not in settings:
        raise UsageError("training needs a task", "edgekit train --task image --data PICTURES")
    if "data" not in places:
        raise UsageError("training needs a labelled data set", "edgekit train --task image --data PICTURES")
    settings = {**trainer_for(settings["task"]).defaults, **settings}
    return TrainPlan(config=TrainConfig(**settings, options=options), **places)


def _options(given: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` each; a value that is JSON is what it says, any other is text."""
    found: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise UsageError(f"--option {one!r:.60} is not NAME=VALUE", "write it as --option size=96")
        try:
            found[name] = json_.loads(value)
        except ValueError:
            found[name] = value
    return found


def _train(plan: TrainPlan, as_json: bool) -> None:
    from edgekit.cli.show import TerminalProgress, console, print_json
    from edgekit.training import train

    out = console(as_json)
    result = train(plan, TerminalProgress(out))
    if as_json:
        print_json(summary(result))
        return
    from edgekit.cli.show import table

    rows = [["validation", n, f"{v:.4f}"] for n, v in result.trained.metrics.items()]
    if result.evaluation is not None:
        rows += [["test", n, f"{v:.4f}"] for n, v in result.evaluation.metrics.items()]
    out.print()
    table(out, [("samples", "left"), ("metric", "left"), ("value", "right")], rows)
    out.print(f"\nrun   {result.run}\nnext  edgekit export {result.run} --target pi --data {plan.data}", soft_wrap=True,
              markup=False)  # fmt: skip


def summary(result: TrainResult) -> dict[str, Any]:
    """What `train --json` prints."""
    found = result.evaluation
    return {
        "run": str(result.run),
        "model": str(result.trained.model),
        "best_epoch": result.trained.best_epoch,
        "validation": dict(result.trained.metrics),
        "test": dict(found.metrics) if found is not None else None,
        "test_samples": found.samples if found is not None else 0,
        "remarks": list(result.remarks),
    }
