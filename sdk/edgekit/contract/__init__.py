"""The accuracy contract: which variant holds what was asked for."""

from edgekit.contract.choice import Candidate, Choice, choose, holds

__all__ = ["Candidate", "Choice", "choose", "holds"]
