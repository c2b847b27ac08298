"""The `edgekit` application: its verbs, each imported from its own file."""

from __future__ import annotations

import typer

from edgekit.cli import (
    bundles,
    compress,
    deploy,
    diagnose,
    evaluation,
    export,
    fleet,
    machine,
    placement,
    signing,
    train,
    tune,
)

app = typer.Typer(
    name="edgekit",
    help="Take a trained model to a Raspberry Pi, a Jetson, a Coral - and know that it still works there.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 failed, 2 bad usage, 3 contract broken, 4 something needed is missing. "
    "`--debug` anywhere shows the traceback of an error.",
)


@app.callback()
def _root() -> None:
    """Take a trained model to a device, and know that it still works there."""


app.command("train")(train.train_command)
app.command("export")(export.export_command)
app.command("compress")(compress.compress_command)
app.command("run")(bundles.run_command)
app.command("eval")(evaluation.eval_command)
app.command("tune")(tune.tune_command)
app.command("compare")(evaluation.compare_command)
app.command("diagnose")(diagnose.diagnose_command)
app.command("benchmark")(bundles.benchmark_command)
app.command("deploy")(deploy.deploy_command)
app.command("placement")(placement.placement_command)
app.command("inspect")(bundles.inspect_command)
app.add_typer(signing.app, name="bundle")
app.add_typer(fleet.app, name="fleet")
app.command("targets")(machine.targets_command)
app.command("doctor")(machine.doctor_command)
app.command("demo")(machine.demo_command)
