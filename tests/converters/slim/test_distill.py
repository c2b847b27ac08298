"""Distillation: a teacher that helps, any kind of teacher, and what is refused."""

from __future__ import annotations

import pytest
import torch

from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.slim.distill import DistillSettings, distill, fine_tuner, teacher_of
from edgekit_converters.sources.torch import TorchSource

from .networks import accuracy, dense, loader, rows


@pytest.fixture(scope="module")
def taught():
    """A wide teacher that has seen much; a few of the labels, half of them wrong, for the students."""
    x, y = rows(4096, 1)
    teacher = dense(64)
    distill(teacher, None, loader(x, y, 256), settings=DistillSettings(25, 1e-2))
    assert accuracy(*rows(1000, 2))(teacher) > 0.93
    return teacher


def test_a_teacher_is_worth_more_than_few_wrong_labels(taught):
    x, y = rows(256, 3)
    wrong = torch.randint(0, 4, (len(y),), generator=torch.Generator().manual_seed(0))
    noisy = torch.where(torch.arange(len(y)) % 3 == 0, wrong, y)
    score, gains = accuracy(*rows(2000, 4)), []
    for seed in range(3):
        alone, helped = dense(12, seed), dense(12, seed)
        distill(alone, None, loader(x, noisy, 64, seed), settings=DistillSettings(30, 1e-2))
        distill(helped, taught, loader(x, noisy, 64, seed), settings=DistillSettings(30, 1e-2, soft=0.9, hard=0.1))
        gains.append(score(helped) - score(alone))
    assert min(gains) > 0 and sum(gains) / 3 > 0.04, gains


def test_features_of_other_widths_are_brought_together(taught):
    x, y = rows(512, 3)
    student = dense(12)
    before = {n for n, _ in student.named_parameters()}
    result = distill(student, taught, loader(x, y), settings=DistillSettings(15, 1e-2), layers=[("1", "1"), ("3", "3")])
    plain = distill(dense(12), taught, loader(x, y), settings=DistillSettings(1, 1e-9), layers=[("1", "1"), ("3", "3")])
    assert 0 < result.features < plain.features
    assert {n for n, _ in student.named_parameters()} == before, "projections are thrown away"
    assert not student[1]._forward_hooks and not taught[1]._forward_hooks
    assert all(p.grad is None for p in taught.parameters()) or taught.training is False


def test_any_callable_and_any_source_can_teach(taught):
    x, _ = rows(256, 3)
    pairs = [((a,), torch.tensor(0)) for a in x]
    batches = torch.utils.data.DataLoader(pairs, 64)
    settings = DistillSettings(20, 1e-2, soft=1.0, hard=0.0)
    source = TorchSource("teacher", "", taught.eval(), (x[:2],), True)
    scores = []
    for teacher in (taught, taught.forward, teacher_of(source)):
        student = dense(16)
        distill(student, teacher, batches, settings=settings)
        scores.append(accuracy(*rows(1000, 2))(student))
    assert scores[0] == pytest.approx(scores[1], abs=1e-3) == pytest.approx(scores[2], abs=1e-3)
    assert scores[0] > 0.4, "labels that are all the same were not looked at"


def test_values_are_taught_too():
    x, _ = rows(512, 3)
    y = x[:, :4] * 2
    student = dense(32)
    result = distill(student, lambda t: t[:, :4] * 2, loader(x, y), settings=DistillSettings(30, 1e-2, regression=True))
    assert result.losses[-1] < 0.2 * result.losses[0]
    assert result.soft == pytest.approx(result.hard, rel=1e-4)


def test_the_same_seed_gives_the_same_student(taught):
    x, y = rows(128, 3)
    one, other = dense(8), dense(8)
    for student in (one, other):
        torch.manual_seed(torch.seed() % 1000)  # what happens outside does not matter
        distill(student, taught, loader(x, y), settings=DistillSettings(2, 1e-2), layers=[("1", "1")])
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters()))


def test_a_fine_tuner_trains_for_as_many_epochs_as_it_is_asked(taught):
    x, y = rows(128, 3)
    seen = []

    class Counting(torch.nn.Module):
        def forward(self, t):
            seen.append(len(t))
            return taught(t)

    fine_tuner(loader(x, y), Counting(), DistillSettings(99, 1e-2))(dense(8), 3)
    assert len(seen) == 3 * 2


def test_refusals(taught):
    x, y = rows(128, 3)
    with pytest.raises(ConversionError, match="the loss is nan in batch 1 of epoch 0"):
        distill(dense(8), None, [((x[:64],), y[:64]), ((x[64:] * float("nan"),), y[64:])])
    with pytest.raises(UsageError, match="student has no layer 'nine'"):
        distill(dense(8), taught, loader(x, y), layers=[("nine", "1")])
    with pytest.raises(UsageError, match=r"torch.nn.Module only"):
        distill(dense(8), taught.forward, loader(x, y), layers=[("1", "1")])
    with pytest.raises(UsageError, match=r"teacher gives \(64, 2\), the student \(64, 4\)"):
        distill(dense(8), lambda t: taught(t)[:, :2], loader(x, y))
    with pytest.raises(UsageError, match="no labels"):
        distill(dense(8), taught, [((x,), None)])
    for wrong in ({"epochs": 0}, {"temperature": 0}, {"soft": 0, "hard": 0}, {"features": -1}):
        with pytest.raises(ValueError, match="must"):
            DistillSettings(**wrong)
