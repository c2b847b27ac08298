"""edgekit: take a trained model to a device, and know that it still works there.

The public face: `export` with an `ExportPlan`, `compress` with a `CompressPlan` and a `Contract`,
`open_dataset`, `load_target`, `Bundle`, `Runtime`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.contract.compress import CompressPlan, CompressResult, compress
    from edgekit.contract.contract import Contract
    from edgekit.contract.diagnose import DiagnosePlan, diagnose
    from edgekit.contract.tune import TunePlan, TuneResult, tune
    from edgekit.data import open_dataset
    from edgekit.pipeline import export
    from edgekit.plan import ExportPlan
    from edgekit.result import ExportResult
    from edgekit.targets import load_target
    from edgekit.training import TrainPlan, TrainResult, export_plan, train
    from edgekit_converters.train import TrainConfig, Watch
    from edgekit_runtime import Bundle, Runtime

__version__ = "0.1.0"
__all__ = [
    "Bundle",
    "CompressPlan",
    "CompressResult",
    "Contract",
    "DiagnosePlan",
    "ExportPlan",
    "ExportResult",
    "Runtime",
    "TrainConfig",
    "TrainPlan",
    "TrainResult",
    "TunePlan",
    "TuneResult",
    "Watch",
    "__version__",
    "compress",
    "diagnose",
    "export",
    "export_plan",
    "load_target",
    "open_dataset",
    "train",
    "tune",
]

_LAZY = {
    "Bundle": "edgekit_runtime",
    "CompressPlan": "edgekit.contract.compress",
    "CompressResult": "edgekit.contract.compress",
    "Contract": "edgekit.contract.contract",
    "DiagnosePlan": "edgekit.contract.diagnose",
    "ExportPlan": "edgekit.plan",
    "ExportResult": "edgekit.result",
    "Runtime": "edgekit_runtime",
    "TrainConfig": "edgekit_converters.train",
    "TrainPlan": "edgekit.training",
    "TrainResult": "edgekit.training",
    "TunePlan": "edgekit.contract.tune",
    "TuneResult": "edgekit.contract.tune",
    "Watch": "edgekit_converters.train",
    "compress": "edgekit.contract.compress",
    "diagnose": "edgekit.contract.diagnose",
    "export": "edgekit.pipeline",
    "export_plan": "edgekit.training",
    "load_target": "edgekit.targets",
    "open_dataset": "edgekit.data",
    "train": "edgekit.training",
    "tune": "edgekit.contract.tune",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command line answers at once."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
