"""Models made of models: pipelines, columns, votes, stacks, calibration. Averages of many trees become one step."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.reader import Part, Read, read
from edgekit_converters.plaincode.readers import sklearn_averages, sklearn_columns
from edgekit_converters.plaincode.readers import sklearn_common as common
from edgekit_converters.plaincode.readers.sklearn_calibration import calibrated


def _transformed(builder: ir.Builder, model: Any, source: ir.Register) -> tuple[ir.Register, bool]:
    """A transformer's result, and whether it is equal to the source's to the bit."""
    if model is None or (isinstance(model, str) and model == "passthrough"):
        return source, True
    found = read(builder, model, source)
    if "transform" not in found.methods:
        raise ConversionError(f"{type(model).__name__} does not transform", "put it last")
    return common.only(found, "transform"), "transform" in found.exact


def _pipeline(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    exact, last = True, len(model.steps) - 1
    for place, (name, step) in enumerate(model.steps):
        with common.within(f"step {name!r} of {type(model).__name__}"):
            if place == last and step is not None and not isinstance(step, str):
                found = read(builder, step, source)
                return Part(found.methods, found.exact if exact else set())
            source, same = _transformed(builder, step, source)
            exact = exact and same
    return common.transform(source, exact)


def _weighted(builder: ir.Builder, source: ir.Register, weight: float | None) -> ir.Register:
    return source if weight is None else builder.add(ir.Affine(source, multiply=np.array([float(weight)])))


def _column_transformer(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    parts, exact = [], True
    for name, step, _ in model.transformers_:
        chosen = model._transformer_to_input_indices[name]
        if (isinstance(step, str) and step == "drop") or not len(chosen):
            continue
        with common.within(f"transformer {name!r} of ColumnTransformer"):
            moved, same = _transformed(builder, step, common.columns(builder, source, chosen))
        parts.append(_weighted(builder, moved, (model.transformer_weights or {}).get(name)))
        exact = exact and same
    if not parts:
        raise ConversionError("ColumnTransformer keeps no column", "give it one")
    return common.transform(common.joined(builder, parts), exact)


def _union(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    parts, exact = [], True
    for name, step in model.transformer_list:
        if isinstance(step, str) and step == "drop":
            continue
        with common.within(f"transformer {name!r} of FeatureUnion"):
            moved, same = _transformed(builder, step, source)
        parts.append(_weighted(builder, moved, (model.transformer_weights or {}).get(name)))
        exact = exact and same
    if not parts:
        raise ConversionError("FeatureUnion keeps no column", "give it a transformer")
    return common.transform(common.joined(builder, parts), exact)


def _delegate(attribute: str) -> Read:
    """A reader of classes that answer as one of their attributes does."""

    def read_it(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
        if not hasattr(model, attribute):
            raise ConversionError(f"{type(model).__name__} has no {attribute}", "fit it with refit=True")
        with common.within(f"the {attribute} of {type(model).__name__}"):
            return read(builder, getattr(model, attribute), source)

    return read_it


# -- stacks ----------------------------------------------------------------------------------------------------------


def _stacked(builder: ir.Builder, model: Any, source: ir.Register) -> ir.Register:
    binary = len(getattr(model, "classes_", ())) == 2
    parts = []
    for place, (estimator, method) in enumerate(zip(model.estimators_, model.stack_method_, strict=True)):
        with common.within(f"estimator {place} of {type(model).__name__}"):
            answers = read(builder, estimator, source).methods.get(method)
            if answers is None or len(answers) > 1:
                raise ConversionError(f"{type(estimator).__name__} has no {method} to stack", "stack another method")
            register = common.values(builder, answers[0])
        if method == "predict_proba" and binary:
            register = common.columns(builder, register, range(1, register.width))
        parts.append(register)
    return common.joined(builder, [*parts, source] if model.passthrough else parts)


def _stacking(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    stacked = _stacked(builder, model, source)
    with common.within(f"the final estimator of {type(model).__name__}"):
        found = read(builder, model.final_estimator_, stacked)
    methods = dict(found.methods)
    methods["transform"] = (ir.Answer(stacked),)
    encoder = getattr(model, "_label_encoder", None)
    if isinstance(encoder, list):
        raise ConversionError("StackingClassifier of several outputs cannot be turned into plain code", "stack each")
    if encoder is not None:
        (answer,) = methods["predict"]
        classes = common.labels_of(encoder.classes_)
        methods["predict"] = (ir.Answer(answer.register, tuple(classes[int(c)] for c in answer.labels)),)
    return Part(methods)


# -- one model an output or a class ------------------------------------------------------------------------------------


def binary_score(part: Part) -> tuple[ir.Register, float]:
    """What a binary estimator decides by, and the threshold: its decision value, else the second probability."""
    if "decision_function" in part.methods:
        return common.only(part, "decision_function"), 0.0
    if "predict_proba" in part.methods:
        return common.only(part, "predict_proba"), 0.5
    return common.only(part, "predict"), 0.5


def _binary_scores(builder: ir.Builder, parts: list[Part]) -> tuple[ir.Register, float]:
    found = [binary_score(p) for p in parts]
    registers = [r if r.width == 1 else common.columns(builder, r, [1]) for r, _ in found]
    return common.joined(builder, registers), found[0][1]


def _one_vs_rest(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    parts = []
    for place, estimator in enumerate(model.estimators_):
        with common.within(f"the estimator of class {model.classes_[place]!r} of OneVsRestClassifier"):
            parts.append(read(builder, estimator, source))
    scores, threshold = _binary_scores(builder, parts)
    if model.multilabel_:
        predicted: ir.Register | ir.Answer = builder.add(ir.Above(scores, threshold))
    elif len(parts) == 1:
        predicted = common.above(builder, scores, model.classes_, threshold)
    else:
        predicted = common.largest(builder, scores, model.classes_)
    probabilities = decision = None
    if all("predict_proba" in p.methods for p in parts):
        positive = [common.columns(builder, common.only(p, "predict_proba"), [1]) for p in parts]
        probabilities = common.joined(builder, positive)
        probabilities = common.both(builder, probabilities) if len(parts) == 1 else probabilities
        if not model.multilabel_:
            probabilities = builder.add(ir.Normalize(probabilities, "sum"))
    if all("decision_function" in p.methods for p in parts):
        decision = common.joined(builder, [common.only(p, "decision_function") for p in parts])
    return common.part(predict=predicted, predict_proba=probabilities, decision_function=decision)


def _one_vs_one(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    classes, parts = len(model.classes_), []
    for place, estimator in enumerate(model.estimators_):
        with common.within(f"estimator {place} of OneVsOneClassifier"):
            parts.append(read(builder, estimator, source))
    scores, threshold = _binary_scores(builder, parts)
    # Each decides between a pair's second class (1) and its first (0); votes are counted for the first.
    chosen = common.joined(builder, [common.values(builder, p.methods["predict"][0]) for p in parts])
    toward_first = builder.add(ir.Affine(chosen, multiply=np.array([-1.0]), add=np.array([0.5])))
    votes = builder.add(ir.PairVotes(toward_first, classes))
    decision = common.ovr_decision(builder, votes, builder.add(ir.Apply(scores, "negate")), classes)
    if classes == 2:
        decision = common.columns(builder, decision, [1])
        predicted = common.above(builder, decision, model.classes_, threshold)
    else:
        predicted = common.largest(builder, decision, model.classes_)
    return common.part(decision_function=decision, predict=predicted)


def _outputs(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    parts = []
    for place, estimator in enumerate(model.estimators_):
        with common.within(f"output {place} of {type(model).__name__}"):
            parts.append(read(builder, estimator, source))
    if any(len(p.methods["predict"]) > 1 for p in parts):
        raise ConversionError(f"an output of {type(model).__name__} has outputs itself", "nest them no further")
    exact = set.intersection(*(p.exact for p in parts))
    if type(model).__name__ == "MultiOutputRegressor":
        return common.part(exact, predict=tuple(p.methods["predict"][0] for p in parts))
    likely = all("predict_proba" in p.methods for p in parts)
    return common.part(
        exact, predict=tuple(p.methods["predict"][0] for p in parts),
        predict_proba=tuple(p.methods["predict_proba"][0] for p in parts) if likely else None,
    )  # fmt: skip


# -- thresholds ------------------------------------------------------------------------------------------------------


def _threshold(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    """The positive class from a threshold of the source's own on (``>=``)."""
    fixed = type(model).__name__ == "FixedThresholdClassifier"
    inner = getattr(model, "estimator_", model.estimator)
    with common.within(f"the estimator of {type(model).__name__}"):
        found = read(builder, inner, source)
    wanted = ("predict_proba", "decision_function") if model.response_method == "auto" else (model.response_method,)
    method = next((m for m in wanted if m in found.methods), "decision_function")
    score, positive = common.only(found, method), model.pos_label if fixed else model._curve_scorer._get_pos_label()
    classes = common.labels_of(model.classes_)
    place = 1 if positive is None else classes.index(positive)
    if method == "predict_proba":
        score = common.columns(builder, score, [place])
    elif place == 0:
        score = builder.add(ir.Apply(score, "negate"))
    bound = model.threshold if fixed else model.best_threshold_
    bound = (0.5 if method == "predict_proba" else 0.0) if bound == "auto" else bound
    answer = common.above(builder, score, (classes[1 - place], classes[place]), float(bound), or_equal=True)
    kept = {m: a for m, a in found.methods.items() if m in ("predict_proba", "decision_function")}
    exact = found.exact & {method}  # then what is compared is the same, and so is the answer
    return Part(kept | {"predict": (answer,)}, (found.exact & kept.keys()) | ({"predict"} if exact else set()))


# -- transformed targets ---------------------------------------------------------------------------------------------


def _target(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    with common.within("the regressor of TransformedTargetRegressor"):
        predicted = common.gathered(builder, read(builder, model.regressor_, source), "predict")
    scaler = model.transformer_
    name = type(scaler).__name__
    if name == "FunctionTransformer":
        back = sklearn_columns.applied(builder, scaler, predicted, scaler.inverse_func, scaler.inv_kw_args)
    elif name == "MinMaxScaler":
        back = builder.add(
            ir.Affine(predicted, subtract=common.array(scaler.min_), divide=common.array(scaler.scale_))
        )  # fmt: skip
    elif name in ("StandardScaler", "RobustScaler", "MaxAbsScaler"):
        centre = {"StandardScaler": "mean_", "RobustScaler": "center_"}.get(name, "")
        scale, shift = getattr(scaler, "scale_", None), getattr(scaler, centre, None) if centre else None
        if name == "StandardScaler" and not scaler.with_mean:
            shift = None
        back = builder.add(
            ir.Affine(
                predicted,
                multiply=None if scale is None else common.array(scale),
                add=None if shift is None else common.array(shift),
            )
        )
    else:
        raise common.unsupported(model, "transformer", name, "use a scaler, or func and inverse_func of numpy")
    return common.part(predict=common.outputs(builder, back))


READS = (
    common.table(
        dict.fromkeys(("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"),
                      _delegate("best_estimator_"))
        | dict.fromkeys(("StackingClassifier", "StackingRegressor"), _stacking)
        | dict.fromkeys(("MultiOutputClassifier", "MultiOutputRegressor"), _outputs)
        | {
            "CalibratedClassifierCV": calibrated,
            "ColumnTransformer": _column_transformer,
            "FeatureUnion": _union,
            "FixedThresholdClassifier": _threshold,
            "FrozenEstimator": _delegate("estimator"),
            "OneVsOneClassifier": _one_vs_one,
            "OneVsRestClassifier": _one_vs_rest,
            "Pipeline": _pipeline,
            "RANSACRegressor": _delegate("estimator_"),
            "TransformedTargetRegressor": _target,
            "TunedThresholdClassifierCV": _threshold,
        }
    )
    | sklearn_averages.READS
)  # fmt: skip
