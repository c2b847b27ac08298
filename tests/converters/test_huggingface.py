"""Hugging Face folders as sources: what loads, what is refused and why, and what becomes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgekit_converters.errors import ConversionError, SourceError, UntrustedPickle, UsageError
from edgekit_converters.limits import TargetLimits
from edgekit_converters.recipe import PassContext
from edgekit_converters.registry import conversion, load_source
from edgekit_converters.source import SourceRequest
from edgekit_converters.sources.huggingface_tokenizer import read_tokenizer
from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.step import Context

from ..text_encoders import encoder, real_encoder, write_encoder  # noqa: F401

LIMITS = TargetLimits(("onnx",))
CLASSES = ("off", "on", "what")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("classifier"), CLASSES)


def load(folder: Path | str, **more):
    return load_source(SourceRequest(str(folder), **more))


def run_file(path: Path, feeds):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    return session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})[0]


def batch(source, texts):
    """Inputs of several texts, zeros behind the shorter ones."""
    prepare = Specification.from_data(source.specification, source.files).preprocess
    each = [prepare(text, Context()) for text in texts]
    longest = max(len(e["input_ids"]) for e in each)
    return {n: np.stack([np.pad(e[n], (0, longest - len(e[n]))) for e in each]) for n in each[0]}


def test_a_classifier_keeps_labels_and_task_and_takes_any_batch_and_length(classifier, tmp_path):
    source = load(classifier)
    assert (source.labels, source.task, source.outputs[0].name) == (CLASSES, "classification", "logits")
    assert [i.shape for i in source.inputs] == [(-1, -1)] * 3
    made = conversion("huggingface", "onnx")(source, tmp_path, LIMITS)
    texts = ["turn the light off", "no", "what is the weather like, i ask you, in the kitchen?"]
    together = run_file(made.path, batch(source, texts))
    for row, text in zip(together, texts, strict=True):
        alone = batch(source, [text])
        np.testing.assert_allclose(source.run(alone)["logits"][0], row, atol=2e-6)
        np.testing.assert_allclose(run_file(made.path, alone)[0], row, atol=2e-6)


def test_an_encoder_of_sentence_transformers_gives_its_own_embedding(tmp_path):
    """The real one: mean of the tokens, brought to length 1, as its card says."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = real_encoder()
    source = load(folder)
    texts = ["The cat sits outside", "Ein Café!"]
    found = source.run(batch(source, texts))["sentence_embedding"]
    given = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder)(**given).last_hidden_state
    mask = given["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert source.specification.input[0]["max_length"] == 256  # what its card says, less than the network could


def test_a_plain_encoder_gives_the_vectors_of_its_tokens(encoder):  # noqa: F811
    source = load(encoder)
    assert source.outputs[0].shape == (-1, -1, 32) and source.task == "none"


def test_dynamic_int8_is_per_channel_and_leaves_products_of_activations_alone(classifier, tmp_path, monkeypatch):
    import onnx

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    from edgekit_converters.passes.onnx_dynamic import OnnxDynamic

    source = load(classifier)
    made = conversion("huggingface", "onnx")(source, tmp_path, LIMITS)
    small = OnnxDynamic()(made, PassContext(LIMITS, tmp_path))
    assert not list((tmp_path / "here").iterdir())  # onnxruntime leaves what it could not finish in the working folder
    graph = onnx.load(str(small.path)).graph
    kinds = [n.op_type for n in graph.node]
    assert kinds.count("MatMul") == 4  # scores and mixtures of two layers: both sides come as they come
    scales = [t for t in graph.initializer if t.name.endswith("_scale") and "embed" not in t.name]
    assert sum(list(t.dims) in ([32], [64], [96], [3]) for t in scales) >= 10
    tables = [t.data_type for t in graph.initializer if "word_embeddings" in t.name and "quantized" in t.name]
    assert tables and set(tables) <= {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    products = [n for n in graph.node if n.op_type == "MatMulInteger"]
    assert len(products) == 2 * 4 + 2  # queries, keys and values are one product
    points = {t.name: list(t.dims) for t in graph.initializer}
    assert all(points[n.input[3]] == [] for n in products)
    feeds = batch(source, ["turn the light off"])
    np.testing.assert_allclose(run_file(small.path, feeds), source.run(feeds)["logits"], atol=0.05)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra", "albert"])
def test_attention_as_it_is_written_gives_the_same_numbers(kind):
    """Padding among it; ALBERT's is not of a known kind and stays what it is."""
    import torch
    from transformers import AutoConfig, AutoModel

    from edgekit_converters.sources.huggingface_attention import Attention, written_attention
    from edgekit_converters.sources.huggingface_network import TextNetwork

    torch.manual_seed(0)
    shape = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64} if kind == "distilbert" else {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}  # fmt: skip
    config = AutoConfig.for_model(kind, vocab_size=50, max_position_embeddings=48, **shape)
    network = TextNetwork(AutoModel.from_config(config, attn_implementation="eager"), "mean").eval()
    ids = torch.randint(5, 50, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    given = [{"input_ids": ids, "attention_mask": mask}.get(name, torch.zeros_like(ids)) for name in network.tensors]
    before, names = network(*given), list(network.state_dict())
    with torch.no_grad(), written_attention(network):
        assert any(isinstance(m, Attention) for m in network.modules()) == (kind != "albert")
        torch.testing.assert_close(network(*given), before, atol=1e-5, rtol=1e-5)
    assert list(network.state_dict()) == names


def test_a_fixed_length_reaches_tflite_and_a_free_one_says_how(classifier, tmp_path):
    free = load(classifier)
    assert "--input-shape" in free.refuses("tflite")
    with pytest.raises(ConversionError, match="one fixed length"):
        conversion("huggingface", "tflite")(free, tmp_path, LIMITS)
    with pytest.raises(ConversionError, match="fixed length only"):
        conversion("huggingface", "onnx")(free, tmp_path, TargetLimits(("onnx",), static_shapes=True))
    fixed = load(classifier, shapes={"": (1, 12)})
    assert fixed.inputs[0].shape == (-1, 12) and not fixed.refuses("tflite")
    with pytest.raises(UsageError, match="up to 48"):
        load(classifier, shapes={"": (1, 100)})
    made = conversion("huggingface", "tflite")(fixed, tmp_path, LIMITS)
    from edgekit_converters.fidelity import compare

    assert compare(fixed, made, fixed.invented(4), strict=True).max_abs < 1e-4


def test_nothing_is_fetched_and_the_line_to_fetch_it_is_named():
    with pytest.raises(SourceError, match="no model of that name") as refused:
        load("nobody-at-all/no-such-model")
    assert refused.value.hint == "download it with: hf download nobody-at-all/no-such-model"


def test_pickled_weights_need_trust(classifier, tmp_path):
    import torch
    from safetensors.torch import load_file

    folder = shutil.copytree(classifier, tmp_path / "model")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UntrustedPickle, match="runs code"):
        load(folder)
    assert load(folder, trust=True).labels == CLASSES
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(SourceError, match="no weights"):
        load(folder)


def test_damaged_folders_are_said_in_one_sentence(classifier, tmp_path):
    folder = shutil.copytree(classifier, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(SourceError, match="transformers cannot load"):
        load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(SourceError, match="cannot read"):
        load(folder)


def _json(kind: str, **more) -> dict:
    theirs = json.loads((real_encoder() / "tokenizer.json").read_text())
    return {**theirs, **more, "model": {**theirs["model"], **({"type": kind} if kind else {})}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "BPE"}, "is BPE"),
        ({"kind": "Unigram"}, "SentencePiece"),
        ({"normalizer": {"type": "NFKC"}}, "NFKC where BERT's has BertNormalizer"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "Whitespace where"),
        ({"post_processor": None}, "one token before and one after"),
        ({"added_tokens": [{"id": 5, "content": "x", "lstrip": True}]}, "rules of its own"),
        ({"added_tokens": [{"id": 99_999, "content": "x"}]}, "leaves out numbers"),
    ],
)
def test_tokenizers_that_devices_cannot_do_are_named(tmp_path, change, said):
    kind = change.pop("kind", "")
    (tmp_path / "tokenizer.json").write_text(json.dumps(_json(kind, **change)))
    with pytest.raises(SourceError, match=said):
        read_tokenizer(tmp_path)


def test_other_tokenizers_by_their_files(tmp_path):
    with pytest.raises(SourceError, match="no tokenizer"):
        read_tokenizer(tmp_path)
    (tmp_path / "spiece.model").write_bytes(b"")
    with pytest.raises(SourceError, match="SentencePiece"):
        read_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "RobertaTokenizer"}')
    with pytest.raises(SourceError, match="RobertaTokenizer"):
        read_tokenizer(tmp_path)


def test_vocabulary_and_configuration_say_the_same_as_tokenizer_json(tmp_path):
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copyfile(real_encoder() / name, tmp_path / name)
    one, other = read_tokenizer(tmp_path), read_tokenizer(real_encoder())
    assert one.vocabulary == other.vocabulary and one.limit == other.limit == 512
    steps = [Specification.from_data(SpecificationData("text", (r.step(64, ["input_ids"]),)),
                                     {"vocab.txt": r.vocabulary}) for r in (one, other)]  # fmt: skip
    for text in ("Café [MASK] au lait", "字 unaffable", "[SEP][PAD]"):
        ids = [s.preprocess(text, Context())["input_ids"].tolist() for s in steps]
        assert ids[0] == ids[1]
