"""Fine-tuning of an encoder with its head by Lightning: low rate, warm-up, weight decay; resumable after any epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader, IterableDataset

from edgekit_converters.errors import TrainingError
from edgekit_converters.train import checkpoint
from edgekit_converters.train.calm import calm
from edgekit_converters.train.checkpoint import FOLDER, Progressed
from edgekit_converters.train.config import TrainConfig
from edgekit_converters.train.text_material import Texts, batches
from edgekit_converters.train.trainer import Watch

DECIDES = "val_error"

_DECAY = 0.01  # as BERT was trained
_WARM_UP = 0.1  # share of the steps in which the rate rises
_CLIP = 1.0
_NAMED = 5


def best_file(epoch: int) -> str:
    """Name of an epoch's weights, where it is the best."""
    return f"best-{epoch:04d}.safetensors"


def keep(network: Any, run: Path, epoch: int) -> None:
    """Write weights into the run's checkpoint folder as those of the best epoch."""
    (run / FOLDER).mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, str(run / FOLDER / best_file(epoch)))


def figures(scores: np.ndarray, labels: np.ndarray, weights: Any = None) -> dict[str, float]:
    """``loss``, ``accuracy`` and ``error`` of (examples, classes) scores."""
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(scores), torch.from_numpy(labels), weights)
    right = float((scores.argmax(axis=1) == labels).mean())
    return {"loss": float(loss), "accuracy": right, "error": 1 - right}


def tune(
    network: Any, learnt: Texts, chosen: Texts, config: TrainConfig, run: Path, watch: Watch,
    state: Progressed, before: int, weights: Any, freeze: Sequence[Any],
) -> Progressed:  # fmt: skip
    """Train everything, or go on with what an interrupted call left.

    Args:
        network: (tokens, …) to scores.
        learnt: Training texts.
        chosen: Validation texts.
        config: Settings.
        run: Run folder.
        watch: Hears of every epoch.
        state: How far the run is.
        before: Epochs that are none of these: the head's.
        weights: Of the classes in the loss; None for equal ones.
        freeze: Modules that stay as they are.

    Raises:
        TrainingError: The loss is not finite.
    """
    for module in freeze:
        module.requires_grad_(False)
    learning = _Learning(network, learnt, chosen, config, weights)
    listener = _Listener(learning, config, run, watch, state, before)
    with calm():
        trainer = lightning.Trainer(
            max_epochs=config.epochs, devices=config.devices, num_nodes=config.nodes, accelerator="auto",
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            num_sanity_val_steps=0, default_root_dir=run, gradient_clip_val=_CLIP,
            callbacks=[lightning.pytorch.callbacks.LambdaCallback(on_train_epoch_end=listener.end)],
            use_distributed_sampler=False, reload_dataloaders_every_n_epochs=1,
        )  # fmt: skip
        start = str(run / FOLDER / state.file) if state.file else None
        trainer.fit(learning, ckpt_path=start, weights_only=False)
    return listener.state


class _Batches(IterableDataset):  # type: ignore[misc]  # torch is untyped here
    """Whole batches of an epoch; of several processes each takes its share."""

    def __init__(self, texts: Texts, order: Sequence[Sequence[int]]) -> None:
        self.texts, self.order = texts, order

    def __iter__(self) -> Iterator[Any]:
        for tokens, labels, indices in batches(self.texts, self.order):
            yield {n: torch.from_numpy(v) for n, v in tokens.items()}, torch.from_numpy(labels), list(indices)

    def __len__(self) -> int:
        return len(self.order)


class _Learning(lightning.LightningModule):  # type: ignore[misc]  # untyped
    """The recipe; all of it follows from epoch and step, so that a resumed run needs no memory of its own."""

    def __init__(self, network: Any, learnt: Texts, chosen: Texts, config: TrainConfig, weights: Any) -> None:
        super().__init__()
        self.network, self.learnt, self.chosen, self.config = network, learnt, chosen, config
        self.register_buffer("weights", weights, persistent=False)
        self.steps = len(learnt.order(config.batch, config.seed, 0))
        self.figures: dict[str, float] = {}
        self._losses: list[float] = []
        self._scores: list[Any] = []
        self._labels: list[Any] = []

    def _shared(self, order: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        """This process's batches, as many as every other's."""
        world, rank = self.trainer.world_size, self.trainer.global_rank
        return list(order)[rank::world][: len(order) // world or 1]

    def train_dataloader(self) -> Any:
        order = self.learnt.order(self.config.batch, self.config.seed, self.current_epoch)
        return DataLoader(_Batches(self.learnt, self._shared(order)), batch_size=None)

    def val_dataloader(self) -> Any:
        return DataLoader(_Batches(self.chosen, self._shared(self.chosen.by_length())), batch_size=None)

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(self.config.seed * 1_000_003 + self.current_epoch)
        self._losses = []
        self.network.train()

    def training_step(self, batch: Any, _number: int) -> Any:
        tokens, labels, indices = batch
        loss = torch.nn.functional.cross_entropy(self.network(*tokens.values()), labels, self.weights)
        if not torch.isfinite(loss):
            raise self._not_finite(indices)
        self._losses.append(float(loss.detach()))
        return loss

    def validation_step(self, batch: Any, _number: int) -> None:
        tokens, labels, _ = batch
        self._scores.append(self.network(*tokens.values()).detach().cpu())
        self._labels.append(labels.cpu())

    def on_validation_epoch_end(self) -> None:
        scores, labels = torch.cat(self._scores).float().numpy(), torch.cat(self._labels).numpy()
        self._scores, self._labels = [], []
        found = figures(scores, labels)
        self.figures = {"loss": sum(self._losses) / max(len(self._losses), 1),
                        **{f"val_{name}": value for name, value in found.items()}}  # fmt: skip
        if self.trainer.world_size > 1:
            values = torch.tensor(list(self.figures.values()), device=self.device)
            mean = self.trainer.strategy.reduce(values, reduce_op="mean").tolist()
            self.figures = dict(zip(self.figures, mean, strict=True))

    def configure_optimizers(self) -> Any:
        learns = [p for p in self.network.parameters() if p.requires_grad]
        matrices, others = [p for p in learns if p.ndim > 1], [p for p in learns if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": _DECAY}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=self.config.fine_rate)
        every = max(self.steps * self.config.epochs, 1)
        warm = max(int(_WARM_UP * every), 1)

        def share(step: int) -> float:
            return min((step + 1) / warm, max(every - step, 0) / max(every - warm, 1))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _not_finite(self, indices: Sequence[int]) -> TrainingError:
        names = [self.learnt.examples[i].id for i in indices]
        said = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        return TrainingError(
            f"the loss is not finite in epoch {self.current_epoch + 1} of fine-tuning, at the batch of samples {said}",
            "look at these samples, or give a smaller --fine-rate",
        )


class _Listener:
    """Hears Lightning after every epoch: tells, then saves, then stops where it is time."""

    def __init__(
        self, learning: _Learning, config: TrainConfig, run: Path, watch: Watch, state: Progressed, before: int
    ) -> None:
        self.learning, self.config, self.run, self.watch, self.state = learning, config, run, watch, state
        self.before, self.of = before, before + config.epochs

    def end(self, trainer: Any, _module: Any) -> None:
        """Tell first: what was not saved is done again and told again."""
        done, metrics = self.before + trainer.current_epoch + 1, self.learning.figures
        go_on = self.watch.epoch(done, self.of, metrics) if trainer.is_global_zero else True
        go_on = trainer.strategy.broadcast(go_on)
        state = self.state.step(done, metrics, DECIDES, (f"epoch-{done:04d}.ckpt", best_file(done)))
        waited = done - max(state.best_epoch, self.before)
        over = not go_on or done == self.of or (bool(self.config.patience) and waited >= self.config.patience)
        self.state = replace(state, ended=over)
        (self.run / FOLDER).mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(self.run / FOLDER / state.file)
        if trainer.is_global_zero:
            if state.best_epoch == done:
                keep(self.learning.network, self.run, done)
            checkpoint.write(self.run, self.state)
        trainer.should_stop = over
