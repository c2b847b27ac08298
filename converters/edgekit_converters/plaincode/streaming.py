"""Programs rewritten so that text can be summed as it is read, without a vector of all its columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit_converters.plaincode import ir


def stream(program: ir.Program) -> ir.Program:
    """The same program with each `Dense` over text and other columns taken apart, so that text can be summed alone."""
    if not any(isinstance(s, ir.Words) for s in program.steps):
        return program
    steps: list[ir.Step] = []
    moved = {0: 0}

    def put(step: ir.Step) -> ir.Register:
        steps.append(step)
        return ir.Register(len(steps), step.width)

    for index, step in enumerate(program.steps):
        parts = _parts(program, step.source, np.asarray(step.weights)) if isinstance(step, ir.Dense) else []
        if isinstance(step, ir.Dense) and (len(parts) > 1 or parts[0][0] != step.source):
            total: ir.Register | None = None
            for place, (register, weights) in enumerate(parts):
                bias = step.bias if place == len(parts) - 1 else None
                part = put(ir.Dense(_moved(register, moved), weights, bias))
                total = part if total is None else put(ir.Arithmetic(total, part, "+"))
            moved[index + 1] = len(steps)
            continue
        moved[index + 1] = put(_with_sources(step, moved)).index
    answers = {
        m: tuple(replace(a, register=_moved(a.register, moved)) for a in found) for m, found in program.methods.items()
    }
    return replace(program, steps=tuple(steps), methods=answers)


def _moved(register: ir.Register, moved: dict[int, int]) -> ir.Register:
    return ir.Register(moved[register.index], register.width)


def _with_sources(step: ir.Step, moved: dict[int, int]) -> ir.Step:
    changed: dict[str, object] = {}
    for name, value in vars(step).items():
        if isinstance(value, ir.Register):
            changed[name] = _moved(value, moved)
        elif isinstance(value, tuple) and value and isinstance(value[0], ir.Register):
            changed[name] = tuple(_moved(v, moved) for v in value)
    return replace(step, **changed) if changed else step  # type: ignore[type-var] # every step is a dataclass


def _parts(program: ir.Program, register: ir.Register, weights: np.ndarray) -> list[tuple[ir.Register, np.ndarray]]:
    """Registers that a product is the sum over, each with its weights; text lies bare in one of them, if anywhere."""
    if not _holds_text(program, register):
        return [(register, weights)]
    step = program.steps[register.index - 1]
    if isinstance(step, ir.Concat):
        found, at = [], 0
        for part in step.parts:
            found += _parts(program, part, weights[at : at + part.width])
            at += part.width
        return found
    if isinstance(step, ir.Select):
        spread = np.zeros((step.source.width, weights.shape[1]))
        np.add.at(spread, list(step.columns), weights)
        return _parts(program, step.source, spread)
    return [(register, weights)]


def _holds_text(program: ir.Program, register: ir.Register) -> bool:
    if not register.index:
        return False
    step = program.steps[register.index - 1]
    if isinstance(step, (ir.Concat, ir.Select)):
        return any(_holds_text(program, r) for r in step.sources)
    return isinstance(step, ir.Words)


def reads_text(program: ir.Program, step: ir.Step) -> bool:
    """Whether a step's function takes a text."""
    if isinstance(step, ir.Dense):
        source = step.source.index
        return bool(source) and isinstance(program.steps[source - 1], ir.Words)
    return isinstance(step, ir.Words)


def feature_of(program: ir.Program, step: ir.Step) -> int:
    """The text feature that a step reads."""
    if isinstance(step, ir.Dense):
        step = program.steps[step.source.index - 1]
    place = ir.Builder(list(program.features), list(program.steps)).origin(step.sources[0], 0)
    return -1 if place is None else place
