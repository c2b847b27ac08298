"""What `doctor` says of one thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: What.
        state: ``works``, ``absent`` or ``broken``.
        detail: Version, or what is wrong.
        fix: What to do, or empty.
    """

    subject: str
    state: str
    detail: str
    fix: str = ""
