"""Errors of the converters; all are `edgekit_runtime.errors.EdgekitError`, so one handler serves all three packages."""

from __future__ import annotations

from edgekit_runtime.errors import EdgekitError, MissingRequirement, UsageError

__all__ = [
    "ConversionError",
    "MissingRequirement",
    "NoConversion",
    "SourceError",
    "TrainingError",
    "UntrustedPickle",
    "UsageError",
]


class SourceError(EdgekitError):
    """A source model cannot be loaded or run."""


class ConversionError(EdgekitError):
    """A converter refused or broke on a model, or its result does not do what the source does."""


class TrainingError(EdgekitError):
    """Examples cannot be learnt from, or training broke off: a loss that is not finite, pictures that are broken."""


class NoConversion(UsageError):
    """The source × format table has no entry; the hint names the ways round it."""


class UntrustedPickle(UsageError):
    """The file runs code when it is loaded, and the user did not say ``--trust``."""
