"""What Lightning's loop is given: batches in a known order, a module with the known recipe, and somebody who saves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightning
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from edgekit_converters.train import checkpoint
from edgekit_converters.train.checkpoint import FOLDER, Progressed
from edgekit_converters.train.config import TrainConfig
from edgekit_converters.train.stock import Stock
from edgekit_converters.train.torch_fit import DECIDES, Job, ended
from edgekit_converters.train.trainer import Watch

_LAST_RATE = 0.01  # what is left of the rate at the end of the cosine
_DECAY = 1e-4
_CLIP = 5.0
_NORMS = torch.nn.modules.batchnorm._BatchNorm


class _Order(Sampler):  # type: ignore[misc]  # torch is untyped here
    """(epoch, index) of every example in the epoch's order; Lightning sets the epoch, of a resumed run too."""

    def __init__(self, stock: Stock, shuffle: bool) -> None:
        self.stock, self.shuffle, self.epoch = stock, shuffle, 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch comes next, from 0."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = self.stock.order(self.epoch).tolist() if self.shuffle else range(len(self.stock))
        return ((self.epoch, int(index)) for index in order)

    def __len__(self) -> int:
        return len(self.stock)


class _Items(Dataset):  # type: ignore[misc]
    """(input, target, index) by (epoch, index), a batch at a time on a few threads."""

    def __init__(self, stock: Stock) -> None:
        self.stock = stock

    def __len__(self) -> int:
        return len(self.stock)

    def __getitem__(self, place: tuple[int, int]) -> tuple[Any, Any, int]:
        epoch, index = place
        return (*self.stock.item(index, epoch), index)

    def __getitems__(self, places: list[tuple[int, int]]) -> list[tuple[Any, Any, int]]:
        with ThreadPoolExecutor(self.stock.threads) as pool:
            return list(pool.map(self.__getitem__, places))


def loaders(job: Job, config: TrainConfig) -> tuple[Any, Any]:
    """Of training and validation examples."""
    found = []
    for stock, shuffle in ((job.learnt, True), (job.chosen, False)):
        # a batch of one has no variance to normalize by
        lonely = shuffle and len(stock) > config.batch and len(stock) % config.batch == 1
        order = _Order(stock, shuffle)
        found.append(
            DataLoader(_Items(stock), config.batch, sampler=order, drop_last=lonely, collate_fn=default_collate)
        )
    return found[0], found[1]


def learning(job: Job, config: TrainConfig) -> Any:
    """The Lightning module."""
    return _Learning(job, config)


class _Learning(lightning.LightningModule):  # type: ignore[misc]
    """The recipe. All of it follows from the epoch, so that a resumed run needs no memory of its own."""

    def __init__(self, job: Job, config: TrainConfig) -> None:
        super().__init__()
        self.network, self.job, self.config = job.network, job, config
        self.head_epochs = config.head_epochs if job.pretrained else 0
        self.figures: dict[str, float] = {}
        self._losses: list[float] = []
        self._given: list[tuple[Any, Any]] = []

    def on_train_epoch_start(self) -> None:
        self._losses = []
        if not self.job.pretrained:
            return
        backbone = self.network.backbone
        for parameter in backbone.parameters():
            parameter.requires_grad_(self.current_epoch >= self.head_epochs)
        for module in backbone.modules():
            if isinstance(module, _NORMS):
                module.eval()  # its statistics are of far more samples than there are here

    def training_step(self, batch: Any, _number: int) -> Any:
        inputs, targets, indices = batch
        torch.manual_seed((self.config.seed << 32) + self.global_step)  # what is dropped follows from the step alone
        loss = self.job.loss(self.network(inputs), targets)
        if not torch.isfinite(loss):
            raise self.job.learnt.not_finite(self.current_epoch + 1, indices.tolist())
        self._losses.append(float(loss.detach()))
        return loss

    def validation_step(self, batch: Any, _number: int) -> None:
        inputs, targets, _ = batch
        self._given.append((_cpu(self.network(inputs)), _cpu(targets)))

    def on_validation_epoch_end(self) -> None:
        given = self._given
        self._given = []
        outputs, targets = _joined([o for o, _ in given]), _joined([t for _, t in given])
        loss = float(self.job.loss(outputs, targets))
        found = {f"val_{name}": value for name, value in self.job.figures(outputs, targets).items()}
        self.figures = {"loss": sum(self._losses) / max(len(self._losses), 1), "val_loss": loss, **found}
        if self.trainer.world_size > 1:
            values = torch.tensor(list(self.figures.values()), device=self.device)
            mean = self.trainer.strategy.reduce(values, reduce_op="mean").tolist()
            self.figures = dict(zip(self.figures, mean, strict=True))

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        self.clip_gradients(optimizer, gradient_clip_val=_CLIP, gradient_clip_algorithm="norm")

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.config.rate, weight_decay=_DECAY)
        steps = math.ceil(len(self.job.learnt) / self.config.batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._share(step / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _share(self, epoch: float) -> float:
        """Of `TrainConfig.rate`: a cosine over the head's epochs, then a lower one over the others."""
        head, rate = self.head_epochs, self.config.rate
        if epoch < head:
            return _cosine(epoch / head)
        peak = self.config.fine_rate / rate if self.job.pretrained else 1.0
        # a full step into weights that fit already throws them away: the rate rises through the first epoch
        warm = min(1.0, self.config.epochs / 4)
        if epoch - head < warm:
            return peak * max(epoch - head, 0.01) / warm
        return peak * _cosine((epoch - head - warm) / max(self.config.epochs - warm, 1e-9))


def _cosine(done: float) -> float:
    return _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def _cpu(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    return {k: _cpu(v) for k, v in value.items()} if isinstance(value, dict) else tuple(map(_cpu, value))


def _joined(parts: list[Any]) -> Any:
    """Batches of tensors, or of tuples or mappings of tensors, to one."""
    if isinstance(parts[0], torch.Tensor):
        return torch.cat(parts)
    if isinstance(parts[0], dict):
        return {k: torch.cat([p[k] for p in parts]) for k in parts[0]}
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


class Listener:
    """Hears Lightning after every epoch: tells, then saves, then stops where it is time."""

    def __init__(self, job: Job, config: TrainConfig, run: Path, watch: Watch, state: Progressed) -> None:
        self.job, self.config, self.run, self.watch, self.state = job, config, run, watch, state
        self.head_epochs = config.head_epochs if job.pretrained else 0
        self.of = self.head_epochs + config.epochs

    def callback(self) -> Any:
        """As Lightning wants it."""
        return lightning.pytorch.callbacks.LambdaCallback(on_train_epoch_end=self.end)

    def end(self, trainer: Any, module: Any) -> None:
        """Tell first: what was not saved is done again and told again."""
        done, metrics = trainer.current_epoch + 1, module.figures
        go_on = self.watch.epoch(done, self.of, metrics) if trainer.is_global_zero else True
        go_on = trainer.strategy.broadcast(go_on)
        state = self.state.step(done, metrics, DECIDES, (f"epoch-{done:04d}.ckpt", f"best-{done:04d}.safetensors"))
        waited = done - max(state.best_epoch, self.head_epochs)
        over = not go_on or done == self.of or (bool(self.config.patience) and waited >= self.config.patience)
        self.state = ended(state, over=over)
        folder = self.run / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(folder / state.file)
        if trainer.is_global_zero:
            if state.best_epoch == done:
                save_file({k: v.contiguous() for k, v in module.network.state_dict().items()}, folder / state.best_file)
            checkpoint.write(self.run, self.state)
        trainer.should_stop = over
