"""Targets: data plus small hooks, one file each."""

from edgekit.targets.registry import load_target, resolve_target, target_names
from edgekit.targets.target import Check, Compiler, Target

__all__ = ["Check", "Compiler", "Target", "load_target", "resolve_target", "target_names"]
