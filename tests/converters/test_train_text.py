"""Intents: a probe, then fine-tuning; what comes out is what export takes, whatever happened on the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from edgekit.cli.app import app
from edgekit.training import TrainPlan, train
from edgekit_converters.errors import SourceError, TrainingError
from edgekit_converters.train import TrainConfig, Watch
from edgekit_converters.train.text_material import probe
from edgekit_runtime.errors import UsageError

from ..text_encoders import encoder, intents  # noqa: F401


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))


class PowerCut(Exception):
    """Nobody catches it."""


class Cut(Watch):
    """Breaks off after an epoch was written, as a power cut would."""

    def __init__(self, after: int) -> None:
        self.after, self.heard = after, []

    def epoch(self, number, of, metrics):
        if number > self.after:
            raise PowerCut
        self.heard.append(number)
        return True


def plan(run: Path, data: Path, folder: Path, **settings) -> TrainPlan:
    options = settings.pop("options", {"max_length": 16, "train_vocabulary": True})
    given = {"epochs": 3, "head_epochs": 1, "fine_rate": 3e-3, "batch": 16, "patience": 0, **settings}
    config = TrainConfig("text", weights=str(folder), options=options, **given)
    return TrainPlan(str(data), config, str(run), label="intent", text="text")


def test_from_texts_to_an_answer_on_the_device(tmp_path, encoder, intents, capsys):  # noqa: F811
    run, bundle = tmp_path / "run", tmp_path / "intents.edgekit"
    result = train(plan(run, intents, encoder, epochs=6))
    assert result.evaluation.metrics["accuracy"] > 0.9 and result.trained.best_epoch > 1  # better than the probe
    rows = (run / "log.csv").read_text().splitlines()
    assert rows[0] == "epoch,loss,val_loss,val_accuracy,val_error" and len(rows) == 8
    assert any(remark.startswith("linear probe: 0.8") for remark in result.remarks)
    assert {p.name for p in (run / "model").iterdir()} >= {
        "config.json",
        "model.safetensors",
        "modules.json",
        "vocab.txt",
    }
    cli = CliRunner()
    done = cli.invoke(app, ["export", str(run), "--target", "pi5", "--data", str(intents), "--quantize", "dynamic",
                            "--output", str(bundle), "--json"])  # fmt: skip
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["chosen"] == "onnx-dynamic"
    assert said["source"]["metrics"]["accuracy"] == result.evaluation.metrics["accuracy"]
    from edgekit import Bundle, Runtime

    with Bundle.open(bundle) as opened:
        assert opened.manifest.labels == ("lamp", "music", "rain")
        assert opened.read("specification/vocab.txt").startswith(b"[PAD]\n[UNK]\n")
        assert len(opened.manifest.golden.samples) == 8
    with Runtime.open(bundle) as runtime:
        texts = ["where is the storm", "turn the bulb on now", "no more radio please"]
        answers = runtime.predict_batch(texts)
        assert [a[0].label for a in answers] == ["rain", "lamp", "music"]
        assert runtime({"text": texts[0], "id": "x"})[0].label == "rain"
    from edgekit_runtime.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["predict", str(bundle), "the storm is too much"])
    assert ended.value.code == 0 and "the storm is too much: rain" in capsys.readouterr().out


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, encoder, intents):  # noqa: F811
    whole = train(plan(tmp_path / "whole", intents, encoder))
    again = plan(tmp_path / "cut", intents, encoder)
    for after in (0, 2):
        with pytest.raises(PowerCut):
            train(again, watch=Cut(after))
    listener = Cut(99)
    ended = train(again, watch=listener)
    assert listener.heard == [3, 4]
    assert ended.trained.metrics == whole.trained.metrics and ended.trained.best_epoch == whole.trained.best_epoch
    one, other = (load_file(tmp_path / name / "model/2_Dense/model.safetensors") for name in ("whole", "cut"))
    assert all(np.array_equal(one[k].numpy(), other[k].numpy()) for k in one)


def test_a_run_is_built_again_with_equal_answers(tmp_path, encoder, intents):  # noqa: F811
    """As slimming opens it: by the names of `networks`, without the encoder's folder."""
    import torch

    from edgekit_converters.source import SourceRequest
    from edgekit_converters.sources.huggingface import KIND
    from edgekit_converters.train.networks import load

    run = tmp_path / "run"
    model = train(plan(run, intents, encoder, epochs=1)).trained.model
    again, source = load(run), KIND.load(SourceRequest(str(model)))
    assert again.length == 16 and again.backbone is again.encoder and not again.training
    for feeds in source.invented(4):
        with torch.no_grad():
            found = again(*(torch.from_numpy(feeds[name]) for name in again.tensors)).numpy()
        np.testing.assert_array_equal(found, source.run(feeds)["logits"])


def test_the_probe_alone_leaves_the_encoder_as_it_came(tmp_path, encoder, intents):  # noqa: F811
    result = train(plan(tmp_path / "run", intents, encoder, options={"fine_tune": False}))
    assert result.trained.best_epoch == 1
    before, after = load_file(encoder / "model.safetensors"), load_file(result.trained.model / "model.safetensors")
    assert all(np.array_equal(before[k].numpy(), after[k].numpy()) for k in before)
    assert list((tmp_path / "cache/embeddings").iterdir())  # for the next run


def test_what_cannot_work_is_said(tmp_path, encoder, intents):  # noqa: F811
    good = plan(tmp_path / "run", intents, encoder)
    from dataclasses import replace

    with pytest.raises(UsageError, match=r"not said which column is text"):
        train(replace(good, text=None, output=str(tmp_path / "a")))
    with pytest.raises(UsageError, match=r"no column 'txt'"):
        train(replace(good, text="txt", output=str(tmp_path / "b")))
    with pytest.raises(SourceError, match="hf download") as refused:
        train(replace(good, config=TrainConfig("text", backbone="bge-small"), output=str(tmp_path / "c")))
    assert "bge" in str(refused.value)
    with pytest.raises(UsageError, match="no backbone 'gpt'"):
        train(replace(good, config=TrainConfig("text", backbone="gpt"), output=str(tmp_path / "d")))
    with pytest.raises(UsageError, match="nothing to train"):
        train(plan(tmp_path / "e", intents, encoder, head_epochs=0, options={"fine_tune": False}))
    other = shutil.copytree(encoder, tmp_path / "other")
    with (other / "vocab.txt").open("a") as file:
        file.write("lamp\n")
    with pytest.raises(SourceError, match="more pieces than the model has vectors for"):
        train(plan(tmp_path / "g", intents, other))
    with pytest.raises(TrainingError, match=r"not finite in epoch \d of fine-tuning, at the batch of samples .*line"):
        train(plan(tmp_path / "f", intents, encoder, fine_rate=1e30))


@pytest.mark.parametrize("classes", [2, 4])
def test_the_probe_says_what_logistic_regression_says_of_raw_vectors(classes):
    random = np.random.default_rng(0)
    labels = np.arange(120) % classes
    vectors = random.normal(size=(120, 8)).astype(np.float32) + 3 * np.eye(8, dtype=np.float32)[labels]
    vectors[:, 7] *= 1e-6  # a dimension that hardly moves
    weights, offsets, _ = probe(vectors, labels, vectors, labels, classes + 1, balanced=True)
    assert ((vectors @ weights.T + offsets).argmax(1) == labels).mean() > 0.95
    assert weights.shape == (classes + 1, 8) and not weights[classes].any()  # nobody showed the last class
    assert np.abs(weights).max() < 1e3  # what int8 can say
