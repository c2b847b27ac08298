"""Pruning: cuts that compute what the mask computes, steps that pay or are undone, and replay."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from edgekit_converters.errors import ConversionError, SourceError, UsageError
from edgekit_converters.limits import TargetLimits
from edgekit_converters.slim.depth import blocks_of
from edgekit_converters.slim.latency import Stopwatch
from edgekit_converters.slim.loop import Unit, cheapest_first, most_sensitive
from edgekit_converters.slim.module import keep, load
from edgekit_converters.slim.prune import TorchSurgeon, prune, replay
from edgekit_converters.slim.result import Cut, read_cuts
from edgekit_converters.slim.settings import PruneSettings

from .networks import Grouped, Logits, Residual, seeded

PICTURE = (torch.linspace(-1, 1, 2 * 3 * 16 * 16).sin().reshape(2, 3, 16, 16),)
TOKENS = (torch.arange(24).reshape(2, 12) % 50, torch.ones(2, 12, dtype=torch.long))


def bert(**changes):
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    return Logits(BertForSequenceClassification(BertConfig(vocab_size=50, num_labels=3, **sizes, **changes)))


def by_macs(examples):
    """Milliseconds as a machine would have that only counts."""
    return lambda *networks: tuple(TorchSurgeon(examples).cost(n)[1] / 1e4 for n in networks)


def same(_network):
    return 1.0


def widths(network):
    return {n: m.weight.shape[0] for n, m in network.named_modules() if hasattr(m, "weight") and m.weight.ndim > 1}


def test_channels_are_rounded_and_the_head_stays():
    network = seeded(Residual)
    before = copy.deepcopy(network.state_dict())
    result = prune(network, PICTURE, score=same, measure=by_macs(PICTURE), settings=PruneSettings(share=0.4, steps=1))
    assert result.last and result.last.ratio < 1 and result.last.macs < result.macs
    after = widths(result.module)
    assert after["expand.0"] == after["depth.0"] == 32 and after["side"] == 16 and after["head.2"] == 16
    assert after["stem.0"] == after["reduce.0"] == 8  # one grid for both sides of the addition
    assert after["head.4"] == 5 and "outputs" in result.left["head.4"]
    assert result.module(PICTURE[0]).shape == (2, 5)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items()), "the network given was changed"


@pytest.mark.parametrize("importance", ["group-l2", "l1", "l2", "bn"])
def test_channels_that_nothing_takes_go_first_and_the_function_stays(importance):
    network = seeded(Residual)
    dead = torch.arange(0, 48, 3)  # 16 of 48
    with torch.no_grad():
        for name in (
            "expand.0.weight",
            "depth.0.weight",
            "expand.1.weight",
            "expand.1.bias",
            "depth.1.weight",
            "depth.1.bias",
        ):
            dict(network.named_parameters())[name][dead] = 0
        network.reduce[0].weight[:, dead] = 0
    settings = PruneSettings(share=1 / 3, steps=1, importance=importance, keep=("stem.0", "side", "head.2"))
    result = prune(network, PICTURE, score=same, measure=by_macs(PICTURE), settings=settings)
    assert widths(result.module)["expand.0"] == 32 and len(result.cuts) == 1
    assert result.cuts[0].channels == tuple(dead.tolist())
    torch.testing.assert_close(result.module(*PICTURE), network(*PICTURE), rtol=1e-5, atol=1e-6)


def test_a_step_that_is_no_faster_is_undone_and_never_fine_tuned():
    network, tuned = seeded(Residual), []
    result = prune(
        network, PICTURE, score=same, measure=lambda *n: (1.0, 1.0, 1.5)[: len(n)],
        fine_tune=lambda n, e: tuned.append(e), settings=PruneSettings(steps=2),
    )  # fmt: skip
    assert [s.kept for s in result.steps] == [False, False] and not result.cuts and not tuned
    assert all("not faster" in s.why and s.ratio == 1.5 for s in result.steps) and result.speedup == 1
    torch.testing.assert_close(result.module(*PICTURE), network(*PICTURE))
    assert "no: not faster" in result.table()


def test_one_flattering_measurement_does_not_keep_a_step():
    answers = iter([(16.0, 16.0, 1.4), (1.0, 1.0, 1.0)] * 2)  # as seen on a busy machine
    result = prune(
        seeded(Residual), PICTURE, score=same, measure=lambda *_n: next(answers), settings=PruneSettings(steps=2)
    )
    assert [s.ratio for s in result.steps] == [1.0, 1.0] and not result.cuts


def test_a_step_that_costs_too_much_is_undone_and_tried_half_as_far():
    network, whole = seeded(Residual), seeded(Residual)
    full = TorchSurgeon(PICTURE).cost(whole)[0]

    def score(candidate):  # falls once more than two fifths of the weights are gone
        return 0.9 if TorchSurgeon(PICTURE).cost(candidate)[0] > 0.6 * full else 0.5

    result = prune(
        network, PICTURE, score=score, measure=by_macs(PICTURE), settings=PruneSettings(share=0.6, steps=1, retries=2)
    )
    assert not result.steps[0].kept and "below 0.9" in result.steps[0].why
    assert result.steps[1].share == pytest.approx(0.3)
    assert result.last is not None and result.last.share < 0.6 and score(result.module) == 0.9


def test_fine_tuning_happens_between_steps_and_enough_is_enough():
    epochs = []
    settings = PruneSettings(share=0.6, steps=3, epochs=2, speedup=1.3)
    result = prune(
        seeded(Residual), PICTURE, score=same, measure=by_macs(PICTURE), settings=settings,
        fine_tune=lambda network, count: epochs.append(count),
    )  # fmt: skip
    assert result.speedup >= 1.3 and epochs == [2] * len(result.steps) and len(result.steps) < 3


def test_the_most_sensitive_groups_are_spared():
    network = seeded(Residual)
    wanted = network(*PICTURE).detach()

    def score(candidate):
        with torch.no_grad():
            return -float((candidate(*PICTURE) - wanted).abs().mean())

    settings = PruneSettings(spare=0.4, max_drop=0.0, steps=1)
    result = prune(network, PICTURE, score=score, measure=by_macs(PICTURE), settings=settings)
    worst = sorted(result.sensitivity, key=lambda n: -result.sensitivity[n])
    assert result.spared == (worst[0],) and len(result.sensitivity) == 4
    assert most_sensitive({"a": 0.2, "b": 0.0, "c": 0.5}, PruneSettings(spare=0.9, max_drop=0.1)) == ("c", "a")


def test_the_pruned_architecture_comes_back_from_files(tmp_path):
    result = prune(seeded(Residual), PICTURE, score=same, measure=by_macs(PICTURE), settings=PruneSettings(steps=2))
    assert len({c.layer for c in result.cuts}) < len(result.cuts), "layers were cut in more than one step"
    program = keep(result.module, result.cuts, PICTURE, tmp_path, {"network": "residual"})
    assert {p.name for p in tmp_path.iterdir()} == {"network.json", "weights.safetensors", "model.pt2"}
    assert json.loads((tmp_path / "network.json").read_text())["network"] == "residual"
    again = load(Residual(), PICTURE, tmp_path)
    torch.testing.assert_close(again(*PICTURE), result.module(*PICTURE))
    one = torch.export.load(program).module()(PICTURE[0][:1])  # the batch is free
    torch.testing.assert_close(one, result.module(PICTURE[0][:1]))
    with pytest.raises(SourceError, match="does not fit the network"):
        (tmp_path / "weights.safetensors").write_bytes(b"nothing")
        load(Residual(), PICTURE, tmp_path)
    with pytest.raises(SourceError, match="does not tell how"):
        load(Residual(), PICTURE, tmp_path / "nowhere")


def test_heads_and_neurons_of_bert_go_and_its_attributes_follow():
    network = bert().eval()
    result = prune(network, TOKENS, score=same, measure=by_macs(TOKENS), settings=PruneSettings(steps=1))
    layer = result.module.network.bert.encoder.layer[0]
    attention = layer.attention.self
    assert attention.query.out_features == attention.key.out_features == attention.value.out_features == 16
    assert (attention.num_attention_heads, attention.all_head_size, attention.attention_head_size) == (2, 16, 8)
    assert layer.attention.output.dense.in_features == 16 and layer.intermediate.dense.out_features == 32
    assert result.module.network.config.hidden_size == layer.output.dense.out_features == 32  # the stream stays
    again = replay(bert(), TOKENS, [c.plain() for c in result.cuts])
    again.load_state_dict(result.module.state_dict())
    torch.testing.assert_close(again.eval()(*TOKENS), result.module(*TOKENS))
    kept = prune(network, TOKENS, score=same, measure=by_macs(TOKENS), settings=PruneSettings(steps=1, heads=False))
    assert kept.module.network.bert.encoder.layer[0].attention.self.num_attention_heads == 4


def test_a_head_that_nothing_takes_goes_first_and_the_function_stays():
    network = bert().eval()
    with torch.no_grad():
        for layer in network.network.bert.encoder.layer:
            for projection in (layer.attention.self.query, layer.attention.self.key, layer.attention.self.value):
                projection.weight[8:16] = 0
                projection.bias[8:16] = 0
            layer.attention.output.dense.weight[:, 8:16] = 0
    keep = tuple(n for n, _ in network.named_modules() if n.endswith(("intermediate.dense", "pooler.dense")))
    result = prune(
        network, TOKENS, score=same, measure=by_macs(TOKENS), settings=PruneSettings(share=0.25, steps=1, keep=keep)
    )
    assert [c.channels for c in result.cuts] == [tuple(range(8, 16))] * 2
    torch.testing.assert_close(result.module(*TOKENS), network(*TOKENS), rtol=1e-5, atol=1e-6)


def test_what_is_not_understood_is_left_alone_with_its_reason():
    network = seeded(Grouped)
    with pytest.raises(ConversionError, match="nothing in this network can be pruned"):
        prune(network, PICTURE, score=same, measure=by_macs(PICTURE))
    _, left = TorchSurgeon(PICTURE).units(network, PruneSettings())
    assert "grouped" in " ".join(left.values()) and "outputs" in left["after"]
    assert "not understood" in left["shuffled"], "what a shuffle does to channels is not followed"


def test_refusals():
    network = seeded(Residual)
    program = torch.export.export(network, PICTURE).module()
    with pytest.raises(UsageError, match="exported program has no layers"):
        prune(program, PICTURE, score=same, measure=by_macs(PICTURE))
    with pytest.raises(ConversionError, match="score of the network as given is nan"):
        prune(network, PICTURE, score=lambda _n: float("nan"), measure=by_macs(PICTURE))
    with pytest.raises(UsageError, match="no layer 'nowhere'"):
        replay(network, PICTURE, [Cut("nowhere", (0,))])
    with pytest.raises(UsageError, match="32 channels, which the cut does not fit"):
        replay(network, PICTURE, [{"layer": "head.2", "channels": [32]}])
    for bad in ({"layer": "a"}, {"layer": 1, "channels": []}, {"layer": "a", "channels": [True]}):
        with pytest.raises(UsageError, match="cut 0 is not"):
            read_cuts([bad])
    for wrong in (
        {"share": 1.0},
        {"importance": "random"},
        {"steps": 0},
        {"speedup": 0.5},
        {"spare": 1.0},
        {"depth": 1.0},
    ):
        with pytest.raises(ValueError, match="must"):
            PruneSettings(**wrong)


def test_a_diverged_network_is_a_step_undone():
    def destroy(network, _epochs):
        with torch.no_grad():
            for p in network.parameters():
                p.fill_(float("nan"))

    def score(network):
        with torch.no_grad():
            return float(network(*PICTURE).sum() * 0 + 1)

    result = prune(seeded(Residual), PICTURE, score=score, measure=by_macs(PICTURE), fine_tune=destroy)
    assert not result.cuts and "not a number" in result.steps[0].why and score(result.module) == 1


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_the_stopwatch_times_on_the_interpreter_that_ships(format):
    class Wide(torch.nn.Sequential):
        def __init__(self, width):
            conv = torch.nn.Conv2d
            super().__init__(
                conv(3, width, 3), torch.nn.ReLU(), conv(width, width, 3), torch.nn.ReLU(), conv(width, 4, 3)
            )

    watch = Stopwatch(PICTURE, TargetLimits((format,), channels_last=True), seconds=0.2)
    wide = Wide(128)
    wide.train()
    small, large = watch(Wide(4), wide)
    assert 0 < small < large, "a thousand times the work takes longer"
    assert wide.training, "the mode is as it was"


class Deep(torch.nn.Module):
    """Residual blocks in a list, one of which changes the width."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 16, 3, 2, 1)
        self.blocks = torch.nn.ModuleList([Block(16, 16), Block(16, 32), Block(32, 32), Block(32, 32)])
        self.head = torch.nn.Linear(32, 5)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


class Block(torch.nn.Module):
    def __init__(self, given, made):
        super().__init__()
        self.one, self.two = torch.nn.Conv2d(given, 24, 1), torch.nn.Conv2d(24, made, 1)
        self.around = given == made

    def forward(self, x):
        y = self.two(torch.relu(self.one(x)))
        return x + y if self.around else y


def test_blocks_that_do_nothing_are_dropped_first_and_the_function_stays(tmp_path):
    network = seeded(Deep)
    with torch.no_grad():
        for number in (0, 3):
            network.blocks[number].two.weight.zero_()
            network.blocks[number].two.bias.zero_()
    wanted = network(*PICTURE).detach()

    def score(candidate):
        with torch.no_grad():
            return -float((candidate(*PICTURE) - wanted).abs().mean())

    others = ("stem", "blocks.1.one", "blocks.1.two", "blocks.2.one")
    settings = PruneSettings(steps=1, depth=0.9, keep=others, max_drop=1e-5)
    result = prune(network, PICTURE, score=score, measure=by_macs(PICTURE), settings=settings)
    assert set(result.sensitivity) >= {"blocks.0", "blocks.3"} and "blocks.1" not in result.sensitivity
    assert {c.layer for c in result.cuts if not c.channels} == {"blocks.0", "blocks.3"}
    assert result.speedup > 1.3
    torch.testing.assert_close(result.module(*PICTURE), wanted, rtol=1e-5, atol=1e-6)
    keep(result.module, result.cuts, PICTURE, tmp_path)
    torch.testing.assert_close(load(seeded(Deep, seed=1), PICTURE, tmp_path)(*PICTURE), wanted, rtol=1e-5, atol=1e-6)


def test_blocks_go_by_what_they_cost_for_each_millisecond():
    network, surgeon = seeded(Deep), TorchSurgeon(PICTURE)
    blocks = [Unit(name, 0) for name in blocks_of(network, PICTURE)]
    assert [b.layer for b in blocks] == ["blocks.0", "blocks.2", "blocks.3"]
    drops = {"blocks.0": 0.010, "blocks.2": 0.012, "blocks.3": 0.012}
    taken = {"blocks.0": 1.0, "blocks.2": 4.0, "blocks.3": 0.0}  # the last saves nothing

    def measure(whole, candidate):
        gone = next(n for n, m in candidate.blocks.named_children() if not isinstance(m, Block))
        return 10.0, 10.0 - taken[f"blocks.{gone}"]

    order = cheapest_first(surgeon, network, blocks, drops, measure)
    assert [b.layer for b in order] == ["blocks.2", "blocks.0", "blocks.3"]


def test_layers_of_bert_are_dropped_and_come_back_from_the_cuts():
    network = bert().eval()
    settings = PruneSettings(steps=1, depth=0.5)
    result = prune(network, TOKENS, score=same, measure=by_macs(TOKENS), settings=settings)
    dropped = [c.layer for c in result.cuts if not c.channels]
    assert len(dropped) == 1 and dropped[0].startswith("network.bert.encoder.layer.")
    assert result.speedup > 2.5, "half of the layers, and the other half narrowed"
    again = replay(bert(), TOKENS, [c.plain() for c in result.cuts])
    again.load_state_dict(result.module.state_dict())
    torch.testing.assert_close(again.eval()(*TOKENS), result.module(*TOKENS))
    whole = prune(network, TOKENS, score=same, measure=by_macs(TOKENS), settings=PruneSettings(steps=1))
    assert all(c.channels for c in whole.cuts), "blocks go only where they are asked for"
    with pytest.raises(UsageError, match="no block 'network.classifier'"):
        replay(bert(), TOKENS, [Cut("network.classifier", ())])
