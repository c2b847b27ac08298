"""Does a finished model file fit the target? Its limits, and what its own checkers say."""

from __future__ import annotations

from pathlib import Path

from edgekit.targets import Target
from edgekit_converters.needs import memory_bytes, operator_versions
from edgekit_converters.recipe import Converted

_MIB = 2**20


def misfits(model: Converted, target: Target) -> tuple[str, ...]:
    """Why a model cannot ship to a target, one sentence each; empty where it can.

    Args:
        model: A finished model file.
        target: Its `limits` hold, and every one of its `checks` must agree.
    """
    found = [*_operators(model, target), *_memory(model, target)]
    return (*found, *_checkers(model.path, target))


def _operators(model: Converted, target: Target) -> list[str]:
    highest = target.limits.op_versions
    if model.format != "tflite" or not highest:
        return []
    return [
        f"it has {name} version {version}, {target.name} takes up to {highest[name]}"
        for name, version in operator_versions(model.path).items()
        if version > highest.get(name, version)
    ]


def _memory(model: Converted, target: Target) -> list[str]:
    have = target.limits.memory_bytes
    need = model.bytes if model.sizes else 0 if have is None else memory_bytes(model.path, model.format)
    if have is None or need <= have:
        return []
    return [f"it needs at least {need / _MIB:,.1f} MiB of memory, {target.name} has {have / _MIB:,.1f}"]


def _checkers(path: Path, target: Target) -> list[str]:
    return [result.message for result in (check(path) for check in target.checks) if not result.ok]
