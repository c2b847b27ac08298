"""Picture classification in Keras: frozen backbone and head first, then everything at a low rate."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.errors import MissingRequirement, UsageError
from edgekit_converters.files import versions
from edgekit_converters.quiet import quiet
from edgekit_converters.train import checkpoint
from edgekit_converters.train.calm import calm
from edgekit_converters.train.checkpoint import FOLDER, Progressed
from edgekit_converters.train.config import TrainConfig
from edgekit_converters.train.keras_backbones import Built, build
from edgekit_converters.train.material import TrainMaterial, class_weights
from edgekit_converters.train.pictures import Pictures, Variation, classified
from edgekit_converters.train.stock import Stock
from edgekit_converters.train.trainer import Trained, Watch
from edgekit_runtime.plain import encode
from edgekit_runtime.specification.presets import image_specification

_LAST_RATE = 0.01  # what is left of the rate at the end of the cosine
DECIDES = "val_loss"


def fit(config: TrainConfig, material: TrainMaterial, run: Path, watch: Watch) -> Trained:
    """Train, or go on."""
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingRequirement("tensorflow is not installed", 'pip install "edgekit[tensorflow]"')
    if config.devices not in ("auto", 1) or config.nodes != 1:
        raise UsageError("Keras backbones are trained on one device", "give a PyTorch one for --devices and --nodes")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        import keras
    keras.utils.clear_session()  # a search trains many in one process; each begins as if it were the first
    keras.utils.set_random_seed(config.seed)
    state = checkpoint.read(run)
    built = build(config, len(material.labels))
    specification = image_specification(
        built.preset, *built.size, fit=config.option("fit", "stretch"),
        output=({"step": "top_k", "k": min(5, max(len(material.labels), 2))},),
    )  # fmt: skip
    variation = Variation(
        config.option("least", Variation.least), flip=config.option("flip", Variation.flip),
        light=config.option("light", Variation.light),
    )  # fmt: skip
    train, validation = Pictures(material.train, watch), Pictures(material.validation, watch, "validation")
    learnt = Stock(train.examples, classified(train, specification, variation), config.seed, config.augment)
    chosen = Stock(validation.examples, classified(validation, specification, None))
    training = _Training(config, built, learnt, chosen, run, watch, len(material.labels))
    state = training.run(state)
    model = run / "model.keras"
    kept = training.network
    with calm("tensorflow"):  # an optimizer of the other phase is in the file too
        kept.load_weights(run / FOLDER / state.best_file)
    bare = keras.Model(kept.inputs, kept.outputs)  # the optimizer's state is of no use to anybody now
    bare.save(model)
    return Trained(
        model, encode(specification.to_data()), state.best, state.best_epoch, versions("tensorflow", "keras")
    )


class _Training:
    """Both phases, each one call of Keras' ``fit``."""

    def __init__(
        self, config: TrainConfig, built: Built, learnt: Stock, chosen: Stock, run: Path, watch: Watch, classes: int
    ) -> None:
        self.config, self.learnt, self.chosen, self.folder, self.watch = config, learnt, chosen, run, watch
        self.network, self.pretrained = built.network, built.pretrained
        self.head_epochs = config.head_epochs if built.pretrained else 0
        self.of = self.head_epochs + config.epochs
        weights = class_weights(learnt.examples, classes)
        self.weights = dict(enumerate(weights)) if config.class_weights else None

    def run(self, state: Progressed) -> Progressed:
        """From where the run is to its end."""
        import keras

        if state.file:
            with quiet():
                self.network = keras.models.load_model(self.folder / FOLDER / state.file)
        if state.epoch < self.head_epochs and not state.ended:
            if not state.file:
                self._compile(self.config.rate, thawed=False, epochs=self.head_epochs)
            state = self._fit(state, self.head_epochs)
        if not state.ended:
            if state.epoch == self.head_epochs:
                rate = self.config.fine_rate if self.pretrained else self.config.rate
                self._compile(rate, thawed=True, epochs=self.config.epochs)
            state = self._fit(state, self.of)
        return state

    def _compile(self, rate: float, *, thawed: bool, epochs: int) -> None:
        """Thawed layers learn.

        Batch norms of a pre-trained backbone keep their statistics either way: it is called with ``training=False``.
        """
        import keras

        if self.pretrained:
            self.network.get_layer("backbone").trainable = thawed
        epoch = math.ceil(len(self.learnt) / self.config.batch)
        # a full step into weights that fit already throws them away: the rate rises through the first epoch
        warm = min(epoch, epoch * epochs // 4) if thawed else 0
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0 if warm else rate, epoch * epochs - warm, _LAST_RATE, warmup_target=rate if warm else None,
            warmup_steps=warm,
        )  # fmt: skip
        self.network.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])

    def _fit(self, state: Progressed, until: int) -> Progressed:
        listener = _Listener(self, state, until)
        with calm("tensorflow"):
            self.network.fit(
                self._data(self.learnt, state.epoch, shuffle=True),
                validation_data=self._data(self.chosen, 0, shuffle=False),
                epochs=until, initial_epoch=state.epoch, class_weight=self.weights, verbose=0,
                callbacks=[listener.callback()],
            )  # fmt: skip
        return listener.state

    def _data(self, stock: Stock, epoch: int, *, shuffle: bool) -> Any:
        """A data set that begins at an epoch and is one further each time it is gone through."""
        import tensorflow as tf

        counter = iter(range(epoch, 1 << 31))

        def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for inputs, targets in stock.batches(self.config.batch, next(counter), shuffle):
                yield inputs.astype(np.float32, copy=False), targets.astype(np.int32)

        shape = tuple(self.network.input_shape)
        signature = (tf.TensorSpec(shape, tf.float32), tf.TensorSpec((None,), tf.int32))
        data = tf.data.Dataset.from_generator(batches, output_signature=signature)
        size = math.ceil(len(stock) / self.config.batch)
        return data.apply(tf.data.experimental.assert_cardinality(size)).prefetch(2)


class _Listener:
    """Hears Keras: saves, tells, stops."""

    def __init__(self, training: _Training, state: Progressed, until: int) -> None:
        self.training, self.state, self.until = training, state, until
        self.began = state.epoch
        self.order: np.ndarray = np.zeros(0, int)

    def callback(self) -> Any:
        """As Keras wants it."""
        import keras

        return keras.callbacks.LambdaCallback(
            on_epoch_begin=self.begin, on_train_batch_end=self.batch, on_epoch_end=self.end
        )

    def begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Know the epoch's order, to name a batch by it."""
        self.epoch, self.order = epoch, self.training.learnt.order(epoch)

    def batch(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Stop at the very batch whose loss is not finite."""
        if logs is not None and not math.isfinite(float(logs["loss"])):
            size = self.training.config.batch
            raise self.training.learnt.not_finite(
                self.epoch + 1, self.order[batch * size : (batch + 1) * size].tolist()
            )

    def end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Tell, then save: what was not saved is done again and told again."""
        training, done = self.training, epoch + 1
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        go_on = training.watch.epoch(done, training.of, metrics)
        files = (f"epoch-{done:04d}.keras", f"best-{done:04d}.weights.h5")
        folder = training.folder / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        state = self.state.step(done, metrics, DECIDES, files)
        training.network.save(folder / state.file)
        if state.best_epoch == done:
            training.network.save_weights(folder / state.best_file)
        patience = training.config.patience
        waited = done - max(state.best_epoch, training.head_epochs)
        ended = not go_on or done == training.of or (bool(patience) and waited >= patience)
        self.state = Progressed(state.epoch, state.best_epoch, state.best, ended, state.file, state.best_file)
        checkpoint.write(training.folder, self.state)
        if ended:
            training.network.stop_training = True
