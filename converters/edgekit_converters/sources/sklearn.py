"""Pickled estimators and pipelines of scikit-learn, and of XGBoost and LightGBM that follow its manner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit_converters.errors import SourceError
from edgekit_converters.source import Conversion, Source, SourceKind, SourceRequest
from edgekit_converters.sources.classic import ClassicSource
from edgekit_converters.sources.classic_conversions import CONVERSIONS
from edgekit_converters.sources.pickles import PICKLES, SKOPS, load_pickled


class SklearnKind(SourceKind):
    """``.joblib``, ``.pkl``, ``.pickle`` (run code: only with trust) and ``.skops``."""

    name = "sklearn"
    extra = "trees"

    def claims(self, request: SourceRequest) -> bool:
        """By suffix."""
        return request.model.lower().endswith((*PICKLES, SKOPS))

    def load(self, request: SourceRequest) -> Source:
        """Load it."""
        path = Path(request.model)
        return ClassicSource(_estimator(load_pickled(path, trust=request.trust), path), path)

    def conversions(self) -> Mapping[str, Conversion]:
        """Plain C code, and ONNX by skl2onnx and onnxmltools."""
        return CONVERSIONS


def _estimator(found: Any, path: Path) -> Any:
    if not any(hasattr(found, m) for m in ("predict", "transform", "score_samples")):
        raise SourceError(
            f"{path.name} holds a {type(found).__name__}, not a model that predicts or transforms",
            "save the fitted model itself",
        )
    return found


KIND = SklearnKind()
