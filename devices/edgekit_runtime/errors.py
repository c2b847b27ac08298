"""Errors of the device side, and the one base class of every error edgekit raises on purpose.

EdgekitError                 exit code 1: it failed
├── UsageError               exit code 2: the request itself is wrong
├── ContractBroken           exit code 3: it works, but not as well as was asked for
├── MissingRequirement       exit code 4: something must be installed first
├── BundleError              the bundle is not what it should be
├── SignatureError           the bundle is not by whom it should be
├── SpecificationError       a pre- or post-processing step is wrong, or does not fit its input
├── BackendError             an interpreter refused the model or died on it
└── SelfTestError            this device does not answer as the workstation did
"""

from __future__ import annotations


class EdgekitError(Exception):
    """An error with one sentence of what and where, and a hint of what to do.

    Args:
        message: What went wrong and where, without a final full stop.
        hint: What to do about it, in the imperative; may be empty.

    Attributes:
        exit_code: What the command line exits with.
    """

    exit_code: int = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message


class UsageError(EdgekitError):
    """The request itself is wrong: a mistyped name, settings that contradict each other."""

    exit_code = 2


class ContractBroken(EdgekitError):
    """The work was done, but accuracy, latency or size is outside what was asked for."""

    exit_code = 3


class MissingRequirement(EdgekitError):
    """Something must be installed first; the hint is the line that installs it."""

    exit_code = 4


class BundleError(EdgekitError):
    """The bundle is truncated, altered, hostile, or of a version this runtime does not read."""


class SignatureError(EdgekitError):
    """The bundle is not signed, or not by a key that is pinned here."""


class SpecificationError(EdgekitError):
    """A pre- or post-processing step is wrong, or does not fit what it was given."""


class BackendError(EdgekitError):
    """An interpreter refused the model or died on it."""


class SelfTestError(EdgekitError):
    """This device does not answer as the workstation did."""
