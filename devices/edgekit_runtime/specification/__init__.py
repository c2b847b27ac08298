"""The one pre- and post-processing specification, executed by the same code in trainer, calibrator, evaluator, device.

A specification is a list of steps, plain data in the bundle's manifest. A new step is one class in the file of its
kind and one line in `_STEPS`.
"""

from edgekit_runtime.specification.core import FOLDER, Specification, files_of
from edgekit_runtime.specification.step import Step, Tensors, step_class

__all__ = ["FOLDER", "Specification", "Step", "Tensors", "files_of", "step_class"]
