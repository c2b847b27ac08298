"""Training: a config and labelled examples in, a run folder with a model that `edgekit export` takes out."""

from edgekit_converters.train.config import TrainConfig
from edgekit_converters.train.material import Example, TrainMaterial
from edgekit_converters.train.registry import tasks, trainer_for
from edgekit_converters.train.trainer import Trained, Trainer, Watch

__all__ = ["Example", "TrainConfig", "TrainMaterial", "Trained", "Trainer", "Watch", "tasks", "trainer_for"]
