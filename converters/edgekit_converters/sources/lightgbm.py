"""LightGBM's own text files, which are only data."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from edgekit_converters.errors import MissingRequirement, SourceError
from edgekit_converters.files import begins_with
from edgekit_converters.quiet import quiet
from edgekit_converters.source import Conversion, Source, SourceKind, SourceRequest
from edgekit_converters.sources.classic import ClassicSource
from edgekit_converters.sources.classic_conversions import CONVERSIONS

_MAGIC = b"tree\n"


class LightgbmKind(SourceKind):
    """``.txt`` files."""

    name = "lightgbm"
    extra = "trees"

    def claims(self, request: SourceRequest) -> bool:
        """By suffix and first words: there are other texts."""
        return request.model.lower().endswith(".txt") and begins_with(Path(request.model), _MAGIC.strip())

    def load(self, request: SourceRequest) -> Source:
        """Load it as a booster, whose ``predict`` gives probabilities for classes."""
        path = Path(request.model)
        if importlib.util.find_spec("lightgbm") is None:
            raise MissingRequirement("lightgbm is not installed", 'pip install "edgekit[trees]"')
        if not path.is_file():
            raise SourceError(f"there is no file {path}")
        import lightgbm

        try:
            content = path.read_bytes().replace(b"\r\n", b"\n")
            if not content.startswith(_MAGIC) or b"end of trees" not in content:
                # LightGBM itself crashes on some files that are cut off
                raise ValueError("it does not begin and end as one")
            with quiet():
                booster = lightgbm.Booster(model_str=content.decode("utf-8"))
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            why = " ".join(str(error).split())[:120]
            raise SourceError(f"{path.name} is not a model that LightGBM {lightgbm.__version__} reads ({why})",
                              "save it with booster.save_model") from error  # fmt: skip
        return ClassicSource(booster, path)

    def conversions(self) -> Mapping[str, Conversion]:
        """Plain C code, and ONNX by onnxmltools."""
        return CONVERSIONS


KIND = LightgbmKind()
