"""How a fleet server is kept; needs nothing that is not always installed."""

from __future__ import annotations

from dataclasses import dataclass

ENROLMENT, OPERATOR = "enrolment", "operator"
"""The two tokens: what a device enrols with, and what an operator needs."""


@dataclass(frozen=True)
class Options:
    """How a fleet server is kept.

    Attributes:
        poll_seconds: How often devices poll, on average.
        max_bundle_bytes: Size of a bundle that is taken.
        keep_days: How long reports are kept.
        keep_reports: How many of the newest are kept at most.
    """

    poll_seconds: float = 30.0
    max_bundle_bytes: int = 4 * 2**30
    keep_days: float = 30.0
    keep_reports: int = 1_000_000
