"""Search over training and compression parameters: the same study by one process, several, or many machines."""

from edgekit.contract.tune.plan import TunePlan, read_plan
from edgekit.contract.tune.result import TrialRow, TuneResult
from edgekit.contract.tune.search import tune

__all__ = ["TrialRow", "TunePlan", "TuneResult", "read_plan", "tune"]
