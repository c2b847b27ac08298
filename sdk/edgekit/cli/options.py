"""Options that several commands take for the same thing: a model, its data, and the bundle that it becomes."""

from __future__ import annotations

from typing import Annotated

import typer

Data_ = Annotated[str | None, typer.Option(help="data set that measures accuracy; its training split calibrates")]
Label_ = Annotated[str | None, typer.Option(help="label column of a table")]
Labels_ = Annotated[str | None, typer.Option(help="file with one class name a line, in the model's order")]
CalibrationData_ = Annotated[str | None, typer.Option(help="data set for quantization calibration instead")]
CalibrationSamples_ = Annotated[int, typer.Option(help="how many samples calibrate")]
Preprocess_ = Annotated[
    str | None,
    typer.Option(help="how inputs are prepared: 0..255, 0..1, -1..1, imagenet, kws-mfcc or a JSON file"),
]
MaxDrop_ = Annotated[float | None, typer.Option(help="largest allowed drop of the metric, 0.01 = one point")]
Weights_ = Annotated[str | None, typer.Option(help="state.pt or .safetensors for a PyTorch factory")]
InputShape_ = Annotated[str | None, typer.Option(help="as 1,3,224,224; -1 for an extent that may vary")]
Task_ = Annotated[str | None, typer.Option(help="classification, regression or none")]
Limit_ = Annotated[int | None, typer.Option(help="evaluate on at most this many samples")]
Trust_ = Annotated[bool, typer.Option("--trust", help="allow files that run code when they are loaded")]
Licence_ = Annotated[list[str] | None, typer.Option(help="licence file to put into the bundle; repeatable")]
Overwrite_ = Annotated[bool, typer.Option("--overwrite", help="replace existing files")]
Output_ = Annotated[str | None, typer.Option("--output", "-o", help="bundle to write")]
