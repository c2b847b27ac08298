"""Data sets: one file per kind, splits and hashes shared."""

from edgekit.data.dataset import Dataset
from edgekit.data.registry import open_dataset
from edgekit.data.sample import Box, Sample
from edgekit.data.splits import overlap

__all__ = ["Box", "Dataset", "Sample", "open_dataset", "overlap"]
