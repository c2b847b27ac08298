"""`edgekit tune`: the best parameters of a training and of an export, searched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.bundles import Json_


def tune_command(
    config: Annotated[Path, typer.Option(help="the study: a .toml or .json file with [space], [export], [train]")],
    output: Annotated[str | None, typer.Option("--output", "-o", help="study folder; ./study by default")] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="postgresql://USER@HOST/DATABASE for many machines; a SQLite file in the folder by default"),
    ] = None,
    workers: Annotated[int, typer.Option(help="processes here", min=1)] = 1,
    trials: Annotated[int | None, typer.Option(help="how many in all, over all workers and machines")] = None,
    sampler: Annotated[str | None, typer.Option(help="tpe, random, grid or nsga2")] = None,
    seed: Annotated[int | None, typer.Option(help="of the sampler")] = None,
    timeout: Annotated[float | None, typer.Option(help="seconds after which no trial is begun")] = None,
    json: Json_ = False,
) -> None:
    """Search parameters; the same command goes on with an interrupted study, and helps with it on other machines."""
    from rich.markup import escape

    from edgekit.cli.show import console, print_json, table
    from edgekit.contract.tune import read_plan, tune
    from edgekit.contract.tune.result import figure, words

    out = console(json)
    plan = read_plan(config, output=output, trials=trials, sampler=sampler, seed=seed)
    result = tune(plan, storage=storage, workers=workers, timeout=timeout,
                  tell=lambda line: out.print(line, markup=False, soft_wrap=True))  # fmt: skip
    if json:
        print_json({
            "folder": str(result.folder),
            "page": str(result.page),
            "objectives": list(result.objectives),
            "waiting": result.waiting,
            "best": [t.number for t in result.front],
            "trials": [{**vars(t), "values": list(t.values)} for t in result.trials],
        })  # fmt: skip
        return
    rows: list[list[str]] = [
        [str(t.number), *(figure(v) for v in t.values), escape(words(t.params))] for t in result.front
    ]
    columns = [("trial", "right"), *((n, "right") for n in result.objectives), ("parameters", "left")]
    table(out, columns, rows)
    counts = {s: sum(t.state == s for t in result.trials) for s in ("complete", "pruned", "failed")}
    said = ", ".join(f"{n} {s}" for s, n in counts.items() if n)
    out.print(f"{said or 'no trial done'}, {result.waiting} to do", markup=False)
    out.print(f"\nbest  {result.folder / 'best'}\npage  {result.page}", markup=False, soft_wrap=True)
