"""What readers ask of every model before they look into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode.ir import CATEGORY, Builder, Register


def fitted(model: Any, *attributes: str, source: Register | None = None) -> Any:
    """The model itself.

    Args:
        model: Of scikit-learn, or with the same habits.
        attributes: That fitting gives it.
        source: Its input.

    Raises:
        ConversionError: It lacks one of the attributes, or was trained with another number of features.
    """
    name = type(model).__name__
    missing = [a for a in attributes if not hasattr(model, a)]
    if missing:
        raise ConversionError(
            f"the {name} has no {missing[0]}: it is not fitted, or another version of its library made it",
            "fit it, or save it again with the version that is installed here",
        )
    wanted = getattr(model, "n_features_in_", None)
    if source is not None and wanted is not None and wanted != source.width:
        raise ConversionError(
            f"the {name} was trained with {wanted} features, but gets {source.width}",
            "name the features that it was trained with, in that order",
        )
    return model


def labels(classes: Any) -> tuple[Any, ...]:
    """Class names as plain Python values."""
    return tuple(classes.tolist())


@contextmanager
def refuses_missing(builder: Builder) -> Iterator[None]:
    """While members are read whose ensemble refuses NaN: what they say about NaN is forgotten."""
    before = [f.missing for f in builder.features]
    yield
    builder.features[:] = [replace(f, missing=m) for f, m in zip(builder.features, before, strict=True)]


def name_categories(builder: Builder, source: Register, categories: dict[int, tuple[str | float, ...]]) -> None:
    """Tell the features what their codes mean; one that was given other categories is refused.

    Raises:
        ConversionError: A feature's categories are not those that the model was trained with.
    """
    for column, values in categories.items():
        origin = builder.origin(source, column) if column < source.width else None
        if origin is None:
            continue
        feature = builder.features[origin]
        if feature.categories and tuple(feature.categories) != values:
            raise ConversionError(
                f"feature {feature.name!r:.40} has other categories than the model was trained with",
                "leave them out: the model names them",
            )
        builder.features[origin] = replace(feature, kind=CATEGORY, categories=values)
