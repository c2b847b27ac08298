"""Errors of the workstation side; all are `edgekit_runtime.errors.EdgekitError`."""

from __future__ import annotations

from edgekit_runtime.errors import EdgekitError


class SdkError(EdgekitError):
    """Base of the workstation's own errors."""


class DataError(SdkError):
    """A data set cannot be used: empty, unreadable, a class without samples, overlapping splits."""


class EvaluationError(SdkError):
    """A model's scores cannot be measured: not finite, of differing lengths, too few."""


class ReportError(SdkError):
    """A report cannot be written."""


class RemoteError(SdkError):
    """A board cannot be reached, or cannot do what was asked of it: no key, no Python, a full disk, a broken copy."""
