"""The lesson of a distillation, for Lightning. Imported where it is used: torch and lightning are heavy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch.nn import functional

from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.quiet import quiet
from edgekit_converters.slim.distill import Batches, DistillResult, DistillSettings, Teacher


class _Taps:
    """Keeps what layers give while it is open."""

    def __init__(self, network: Any, names: Sequence[str], whose: str) -> None:
        self.names, self.values = names, dict.fromkeys(names)
        known = dict(network.named_modules())
        for name in names:
            if not name or name not in known:
                raise UsageError(f"the {whose} has no layer {name!r:.80}", "take a name of named_modules()")
        self.hooks = [known[n].register_forward_hook(lambda _m, _i, o, n=n: self.values.update({n: o})) for n in names]

    def taken(self) -> list[Any]:
        """What they gave in the last run."""
        return [self.values[name] for name in self.names]

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()


class Lesson(lightning.LightningModule):  # type: ignore[misc]  # lightning is untyped here
    """One student and what it is taught by."""

    def __init__(self, student: Any, teacher: Teacher | None, settings: DistillSettings, layers: Any) -> None:
        super().__init__()
        self.student, self.settings = student, settings
        self.projections = torch.nn.ModuleList()
        self.taught = (teacher,)  # in a tuple, so that its weights are not trained
        self.taps: tuple[_Taps, ...] = ()
        if layers:
            if not isinstance(teacher, torch.nn.Module):
                raise UsageError("layers can be named for a teacher that is a torch.nn.Module only")
            self.taps = tuple(
                _Taps(network, [pair[side] for pair in layers], whose)
                for side, (network, whose) in enumerate(((student, "student"), (teacher, "teacher")))
            )
        self.total = [0.0, 0.0, 0.0, 0.0]
        self.count = 0
        self.losses: list[float] = []

    def training_step(self, batch: Any, number: int) -> Any:
        """Sum of the weighted losses of a batch."""
        inputs, labels = batch
        inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
        logits = _logits(self.student(*inputs))
        parts = [logits.new_zeros(()) for _ in range(3)]
        weights = (self.settings.soft, self.settings.hard, self.settings.features)
        if self.taught[0] is not None:
            with torch.no_grad():
                found = self.taught[0](*inputs)
            known = _logits(found).to(logits)
            if known.shape != logits.shape:
                raise UsageError(f"the teacher gives {tuple(known.shape)}, the student {tuple(logits.shape)}")
            parts[0] = self._soft(logits, known)
            parts[2] = self._features()
        if labels is None and (self.settings.hard or self.taught[0] is None):
            raise UsageError("a batch has no labels", "set hard to 0 to learn from the teacher alone")
        if labels is not None:
            parts[1] = self._hard(logits, labels)
        if self.taught[0] is None:
            weights = (0.0, 1.0, 0.0)
        loss = sum(w * p for w, p in zip(weights, parts, strict=True) if w)
        if not math.isfinite(float(loss)):
            raise ConversionError(
                f"the loss is {float(loss)} in batch {number} of epoch {self.current_epoch}", "lower the rate"
            )
        for place, value in enumerate((loss, *parts)):
            self.total[place] += float(value)
        self.count += 1
        return loss

    def _soft(self, logits: Any, known: Any) -> Any:
        if self.settings.regression:
            return functional.mse_loss(logits, known)
        temperature = self.settings.temperature
        ours, theirs = (functional.log_softmax(v.flatten(1) / temperature, 1) for v in (logits, known))
        return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2

    def _hard(self, logits: Any, labels: Any) -> Any:
        if self.settings.regression:
            return functional.mse_loss(logits.reshape(labels.shape), labels)
        return functional.cross_entropy(logits, labels)

    def _features(self) -> Any:
        if not self.taps:
            return torch.zeros(())
        pairs = list(zip(self.taps[0].taken(), self.taps[1].taken(), strict=True))
        return sum(
            functional.mse_loss(*_aligned(self.projections[number], ours, theirs))
            for number, (ours, theirs) in enumerate(pairs)
        ) / len(pairs)

    def prepare(self, inputs: tuple[Any, ...]) -> None:
        """Make projections where widths differ, by one run."""
        modes = {m: m.training for m in self.student.modules()}
        self.student.eval()
        with torch.no_grad():
            self.student(*inputs)
            self.taught[0](*inputs)  # type: ignore[misc]  # taps are there for teachers only
        for module, mode in modes.items():
            module.training = mode
        for ours, theirs in zip(self.taps[0].taken(), self.taps[1].taken(), strict=True):
            self.projections.append(_projection(ours, theirs))

    def on_train_epoch_end(self) -> None:
        """Note the mean losses."""
        self.losses.append(self.total[0] / max(self.count, 1))
        self.means = tuple(t / max(self.count, 1) for t in self.total[1:])
        self.total, self.count = [0.0] * 4, 0

    def configure_optimizers(self) -> Any:
        """AdamW, in one cycle where the number of steps is known."""
        weights = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(weights, self.settings.rate, weight_decay=self.settings.weight_decay)
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps) or steps < 2:
            return optimizer
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.settings.rate, total_steps=int(steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Loader:
    """Batches behind a plain face: Lightning takes a list for a list of loaders."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)


class _CountedLoader(_Loader):
    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]  # made where there is a length


def _loader(batches: Batches) -> Any:
    if isinstance(batches, torch.utils.data.DataLoader):
        return batches
    return _CountedLoader(batches) if hasattr(batches, "__len__") else _Loader(batches)


def _logits(found: Any) -> Any:
    found = getattr(found, "logits", found)
    return found[0] if isinstance(found, (tuple, list)) else found


def _projection(ours: Any, theirs: Any) -> Any:
    """What brings the student's features to the teacher's width; channels are axis 1 of pictures, else the last."""
    if ours.ndim != theirs.ndim:
        raise UsageError(f"features of shape {tuple(ours.shape)} and {tuple(theirs.shape)} cannot be compared")
    axis = 1 if ours.ndim == 4 else -1
    before, after = ours.shape[axis], theirs.shape[axis]
    if before == after:
        return torch.nn.Identity()
    return torch.nn.Conv2d(before, after, 1) if ours.ndim == 4 else torch.nn.Linear(before, after)


def _aligned(projection: Any, ours: Any, theirs: Any) -> tuple[Any, Any]:
    ours = projection(ours)
    if ours.ndim == 4 and ours.shape[2:] != theirs.shape[2:]:
        theirs = functional.adaptive_avg_pool2d(theirs, ours.shape[2:])
    if ours.shape != theirs.shape:
        raise UsageError(f"features of shape {tuple(ours.shape)} and {tuple(theirs.shape)} cannot be compared")
    return ours, theirs


def teach(
    student: Any, teacher: Teacher | None, batches: Batches, settings: DistillSettings, layers: Sequence[Any]
) -> DistillResult:
    """See `distill.distill`."""
    training = student.training
    modes = {m: m.training for m in teacher.modules()} if isinstance(teacher, torch.nn.Module) else {}
    if isinstance(teacher, torch.nn.Module):
        teacher.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        lesson = Lesson(student, teacher, settings, layers)
        try:
            if layers:
                inputs = next(iter(batches))[0]
                lesson.prepare(tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,))
            student.train()
            with quiet():
                trainer = lightning.Trainer(
                    max_epochs=settings.epochs,
                    accelerator="auto",
                    devices=1,
                    logger=False,
                    enable_checkpointing=False,
                    enable_progress_bar=False,
                    enable_model_summary=False,
                )
                trainer.fit(lesson, _loader(batches))
        finally:
            for taps in lesson.taps:
                taps.close()
            student.train(training)
            for module, mode in modes.items():
                module.training = mode
    soft, hard, features = lesson.means
    return DistillResult(tuple(lesson.losses), soft, hard, features)
