"""XGBoost's own model files: JSON and UBJSON, which are only data."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit_converters.errors import MissingRequirement, SourceError
from edgekit_converters.files import begins_with
from edgekit_converters.quiet import quiet
from edgekit_converters.source import Conversion, Source, SourceKind, SourceRequest
from edgekit_converters.sources.classic import ClassicSource
from edgekit_converters.sources.classic_conversions import CONVERSIONS

_WORD = b'"learner"'
_PROBABILITIES = ("binary:logistic", "multi:softprob", "multi:softmax")


class XgboostKind(SourceKind):
    """``.json`` and ``.ubj`` files."""

    name = "xgboost"
    extra = "trees"

    def claims(self, request: SourceRequest) -> bool:
        """By suffix; of JSON the first words too: there is much else."""
        name = request.model.lower()
        return name.endswith(".ubj") or (name.endswith(".json") and begins_with(Path(request.model), _WORD))

    def load(self, request: SourceRequest) -> Source:
        """Load it as the estimator of its objective, which gives probabilities for classes."""
        path = Path(request.model)
        if importlib.util.find_spec("xgboost") is None:
            raise MissingRequirement("xgboost is not installed", 'pip install "edgekit[trees]"')
        if not path.is_file():
            raise SourceError(f"there is no file {path}")
        return ClassicSource(_load(path), path)

    def conversions(self) -> Mapping[str, Conversion]:
        """Plain C code, and ONNX by onnxmltools."""
        return CONVERSIONS


def _load(path: Path) -> Any:
    import xgboost

    try:
        with quiet():
            booster = xgboost.Booster(model_file=str(path))
            objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
            if objective == "multi:softmax":  # the same trees; asked for classes it would hide the probabilities
                booster.set_param({"objective": "multi:softprob"})
            ranks = objective.startswith("rank:")
            kind: Any = xgboost.XGBRanker if ranks else xgboost.XGBRegressor
            model = xgboost.XGBClassifier() if objective in _PROBABILITIES else kind()
            model.load_model(booster.save_raw("ubj"))
    except (xgboost.core.XGBoostError, ValueError, KeyError, TypeError) as error:
        why = " ".join(str(error).split("Stack trace")[0].split())[:120]
        raise SourceError(f"{path.name} is not a model that XGBoost {xgboost.__version__} reads ({why})",
                          "save it with model.save_model") from error  # fmt: skip
    return model


KIND = XgboostKind()
