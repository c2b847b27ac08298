"""Transforms of columns: scalers, imputers, selectors; encoders of categories and projections have their own files."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.reader import Part, read
from edgekit_converters.plaincode.readers import sklearn_categories, sklearn_projections, sklearn_text
from edgekit_converters.plaincode.readers import sklearn_common as common

FUNCTIONS = {
    "log1p": "log1p", "log": "log", "exp": "exp", "expm1": "expm1", "exp2": "exp2", "sqrt": "sqrt", "absolute": "abs",
    "square": "square", "tanh": "tanh", "negative": "negate", "expit": "logistic",
}  # fmt: skip
"""Functions of numpy and scipy.special that `FunctionTransformer` may hold, and what they are called here."""

_NEAR_ZERO = 1e-150
_JUMP = 1e-300
_SMALLEST_NORM = 10 * np.finfo(np.float64).eps  # scikit-learn divides by 1 where a norm is below that

# -- scalers ---------------------------------------------------------------------------------------------------------


def _optional(value: Any) -> np.ndarray | None:
    return None if value is None else common.array(value)


def _standard(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    centre = model.mean_ if model.with_mean else None
    spread = model.scale_ if model.with_std else None
    return _scaled(builder, ir.Affine(source, subtract=_optional(centre), divide=_optional(spread)))


def _robust(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    centre = model.center_ if model.with_centering else None
    spread = model.scale_ if model.with_scaling else None
    return _scaled(builder, ir.Affine(source, subtract=_optional(centre), divide=_optional(spread)))


def _scaled(builder: ir.Builder, step: ir.Affine) -> Part:
    return common.transform(builder.add(step), exact=True)


def _max_abs(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    scaled = builder.add(ir.Affine(source, divide=common.array(model.scale_)))
    if getattr(model, "clip", False):
        scaled = builder.add(ir.Clip(scaled, np.array([-1.0]), np.array([1.0])))
    return common.transform(scaled, exact=True)


def _min_max(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    scaled = builder.add(ir.Affine(source, multiply=common.array(model.scale_), add=common.array(model.min_)))
    if model.clip:
        low, high = (np.array([float(v)]) for v in model.feature_range)
        scaled = builder.add(ir.Clip(scaled, low, high))
    return common.transform(scaled, exact=True)


def _normalizer(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    size = builder.add(ir.Apply(source, "square" if model.norm == "l2" else "abs"))
    size = builder.add(ir.Reduce(size, "max" if model.norm == "max" else "sum", source.width))
    size = builder.add(ir.Apply(size, "sqrt")) if model.norm == "l2" else size
    enough = builder.add(ir.Above(size, _SMALLEST_NORM, or_equal=True))
    divisor = builder.add(ir.Arithmetic(size, enough, "*"))
    divisor = builder.add(ir.Arithmetic(divisor, common.complement(builder, enough), "+"))
    return common.transform(builder.add(ir.Arithmetic(source, divisor, "/")), exact=model.norm == "max")


def _binarizer(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    return common.transform(builder.add(ir.Above(source, float(model.threshold))), exact=True)


def _power(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    """Box-Cox ``expm1(l ln x) / l``; Yeo-Johnson the same of 1 + x where x ≥ 0, and of 1 - x, 2 - l and minus below."""
    lambdas = common.array(model.lambdas_)
    if model.method == "box-cox":
        moved = _box_cox(builder, builder.add(ir.Apply(source, "log")), lambdas)
    else:
        zero, endless = np.array([0.0]), np.array([np.inf])
        # One of the halves is 0 and stays 0, so their difference is the transform; Clip keeps NaN.
        up = builder.add(ir.Apply(builder.add(ir.Clip(source, zero, endless)), "log1p"))
        down = builder.add(ir.Clip(builder.add(ir.Apply(source, "negate")), zero, endless))
        down = builder.add(ir.Apply(down, "log1p"))
        moved = builder.add(
            ir.Arithmetic(_box_cox(builder, up, lambdas), _box_cox(builder, down, 2 - lambdas), "-")
        )  # fmt: skip
    if model.standardize:
        return common.transform(_standard(builder, model._scaler, moved).register("transform"))
    return common.transform(moved)


def _box_cox(builder: ir.Builder, logarithm: ir.Register, lambdas: np.ndarray) -> ir.Register:
    # At 0 the limit, the logarithm itself, is meant: what a tiny exponent gives to the last bit.
    lambdas = np.where(np.abs(lambdas) < _NEAR_ZERO, _NEAR_ZERO, lambdas)
    raised = builder.add(ir.Apply(builder.add(ir.Affine(logarithm, multiply=lambdas)), "expm1"))
    return builder.add(ir.Affine(raised, divide=lambdas))


def _quantile(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    """A line a column through the quantiles, the middle of the jump where several quantiles are equal."""
    if model.output_distribution != "uniform":
        raise common.unsupported(model, "output_distribution", model.output_distribution, "use 'uniform'")
    parts = []
    for column in range(source.width):
        xs, ys = _jumps(common.array(model.quantiles_)[:, column], common.array(model.references_))
        parts.append(builder.add(ir.Interpolate(common.columns(builder, source, [column]), xs, ys)))
    return common.transform(common.joined(builder, parts))


def _jumps(quantiles: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A line that rises strictly in x: a jump goes from the number just below it to the one just above."""
    xs, first, count = np.unique(quantiles, return_index=True, return_counts=True)
    last = first + count - 1
    middle = (references[first] + references[last]) / 2
    middle[-1], middle[0] = references[-1], references[0]
    # Not nearer than 1e-300, or the slope of a jump next to 0 were infinite.
    below = np.minimum(np.nextafter(xs, -np.inf), xs - _JUMP)
    above = np.maximum(np.nextafter(xs, np.inf), xs + _JUMP)
    jump = count > 1
    jumps_up = jump & np.append(xs[1:] > above[:-1], False)
    jumps_down = jump & np.append(False, xs[:-1] < below[1:])
    all_x = np.concatenate([xs, below[jumps_down], above[jumps_up]])
    all_y = np.concatenate([middle, references[first][jumps_down], references[last][jumps_up]])
    order = np.unique(all_x, return_index=True)[1]
    return all_x[order], all_y[order]


# -- gaps ------------------------------------------------------------------------------------------------------------


def _missing_number(builder: ir.Builder, model: Any, source: ir.Register, column: int) -> float:
    """The number that stands for a missing value in a column."""
    if sklearn_categories.is_missing(model.missing_values):
        builder.takes_missing(source, (column,))
        return float("nan")
    return float(sklearn_categories.codes(builder, source, column, [model.missing_values])[0])


def _absent(builder: ir.Builder, model: Any, source: ir.Register, chosen: Any) -> list[ir.Register]:
    found = []
    for column in chosen:
        missing = _missing_number(builder, model, source, int(column))
        found.append(builder.add(ir.IsMissing(common.columns(builder, source, [column]), missing)))
    return found


def _imputer(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    """Columns that were all missing in training are left out, as the source does, unless it keeps them."""
    learnt = list(model.statistics_)
    kept = [c for c, v in enumerate(learnt) if not sklearn_categories.is_missing(v)]
    text = any(isinstance(learnt[c], str) for c in kept) or isinstance(model.missing_values, str)
    if not kept:
        raise ConversionError("SimpleImputer found nothing but missing values in training", "fit it on other data")
    if text:  # one by one: each column has codes of its own
        parts = []
        for column in kept:
            fill = sklearn_categories.codes(builder, source, column, [learnt[column]])
            missing = _missing_number(builder, model, source, column)
            parts.append(builder.add(ir.Impute(common.columns(builder, source, [column]), fill, missing)))
    else:
        missing = min(_missing_number(builder, model, source, c) for c in kept)  # the same in all: they are numbers
        fill = np.array([float(learnt[c]) for c in kept])
        parts = [builder.add(ir.Impute(common.columns(builder, source, kept), fill, missing))]
    if model.add_indicator:
        parts += _absent(builder, model, source, model.indicator_.features_)
    return common.transform(common.joined(builder, parts), exact=True)


def _indicator(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    return common.transform(common.joined(builder, _absent(builder, model, source, model.features_)), exact=True)


# -- choosing and combining ------------------------------------------------------------------------------------------


def _selector(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    chosen = model.get_support(indices=True)
    counted = sklearn_text.chosen_words(builder, source, chosen)
    return common.transform(common.columns(builder, source, chosen) if counted is None else counted, exact=True)


def _eliminator(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    chosen = _selector(builder, model, source)
    with common.within(f"the estimator of {type(model).__name__}"):
        found = read(builder, model.estimator_, chosen.register("transform"))
    found.methods["transform"] = chosen.methods["transform"]
    found.exact.add("transform")
    return found


def _polynomial(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    """Factors go from the last to the first: the source multiplies a shorter product by an earlier column."""
    factors = [tuple(np.repeat(np.arange(source.width), p)[::-1].tolist()) for p in model.powers_]
    return common.transform(builder.add(ir.Products(source, tuple(factors))), exact=True)


# -- functions -------------------------------------------------------------------------------------------------------


def _home(name: str) -> Any:
    """The function of that name in numpy or scipy.special."""
    if hasattr(np, name):
        return getattr(np, name)
    import scipy.special

    return getattr(scipy.special, name)


def applied(builder: ir.Builder, model: Any, source: ir.Register, function: Any, settings: Any) -> ir.Register:
    """A known function on each value, nothing for None.

    Raises:
        ConversionError: It is another one, or has settings.
    """
    if function is None:
        return source
    name = getattr(function, "__name__", "")
    if name not in FUNCTIONS or settings or function is not _home(name):
        raise common.unsupported(
            model, "func", function, f"known are {', '.join(sorted(FUNCTIONS))} of numpy and scipy"
        )
    return builder.add(ir.Apply(source, FUNCTIONS[name]))


def _function(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    moved = applied(builder, model, source, model.func, model.kw_args)
    exact = moved == source or getattr(builder.steps[-1], "function", "") in ("abs", "negate", "square", "sqrt")
    return common.transform(moved, exact)


_SELECTORS = (
    "SelectKBest", "SelectPercentile", "SelectFpr", "SelectFdr", "SelectFwe", "GenericUnivariateSelect",
    "VarianceThreshold", "SelectFromModel", "SequentialFeatureSelector",
)  # fmt: skip

READS = (
    common.table(
        dict.fromkeys(_SELECTORS, _selector)
        | dict.fromkeys(("RFE", "RFECV"), _eliminator)
        | {
            "Binarizer": _binarizer,
            "FunctionTransformer": _function,
            "MaxAbsScaler": _max_abs,
            "MinMaxScaler": _min_max,
            "MissingIndicator": _indicator,
            "Normalizer": _normalizer,
            "PolynomialFeatures": _polynomial,
            "PowerTransformer": _power,
            "QuantileTransformer": _quantile,
            "RobustScaler": _robust,
            "SimpleImputer": _imputer,
            "StandardScaler": _standard,
        }
    )
    | sklearn_categories.READS
    | sklearn_projections.READS
)
