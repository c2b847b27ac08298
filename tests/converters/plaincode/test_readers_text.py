"""Texts in: vectorizers and what comes behind them, against scikit-learn's own."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, Normalizer, StandardScaler
from sklearn.svm import SVC

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir, reference
from edgekit_converters.plaincode.features import features_of
from edgekit_converters.plaincode.reader import read_model

from .agreement import agrees

ANYTHING = r"\S+"
ONE_LETTER = r"(?u)\b\w+\b"
TEXTS = [
    "The cat sat on the mat", "the dog ate THE cat's food", "Straße İstanbul ŞEKER", "naïve café, naïve résumé",
    "日本語 テキスト と text", "a b c d", "", "  tabs\tand\n\nlines  ", "Ωmega ΣΊΣΥΦΟΣ σίσυφος", "don't stop-me now 42",
    "x", "the the the", "emoji 😀 here", "snake_case __init__", "مرحبا بالعالم", "नमस्ते दुनिया",
]  # fmt: skip
ODD = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="aAbB éÉßİıſ_1٣ \t\n.,'-\u0301\u200d", max_size=30),
    st.lists(st.sampled_from(TEXTS), max_size=3).map(" ".join),
)


@pytest.mark.parametrize("ngrams", [(1, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("analyzer", ["word", "char", "char_wb"])
def test_vectorizers_count_as_scikit_learn_does(analyzer: str, ngrams: tuple[int, int]) -> None:
    shared = {"analyzer": analyzer, "ngram_range": ngrams}
    agrees(CountVectorizer(**shared, lowercase=False).fit(TEXTS), TEXTS, exact=("transform",))
    agrees(CountVectorizer(**shared, binary=True).fit(TEXTS), TEXTS, exact=("transform",))
    agrees(TfidfVectorizer(**shared).fit(TEXTS), TEXTS)
    agrees(TfidfVectorizer(**shared, sublinear_tf=True, norm="l1", use_idf=False).fit(TEXTS), TEXTS)
    agrees(HashingVectorizer(n_features=64, **shared).fit(TEXTS), TEXTS)
    agrees(HashingVectorizer(n_features=7, **shared, norm=None, binary=True).fit(TEXTS), TEXTS)
    agrees(HashingVectorizer(n_features=50, **shared, norm="l1", alternate_sign=False).fit(TEXTS), TEXTS)


def test_settings_of_words() -> None:
    agrees(CountVectorizer(token_pattern=ONE_LETTER).fit(TEXTS), TEXTS, exact=("transform",))
    agrees(CountVectorizer(stop_words="english", ngram_range=(1, 2)).fit(TEXTS), TEXTS, exact=("transform",))
    agrees(TfidfVectorizer(stop_words=["cat"], max_features=9, dtype=np.float32).fit(TEXTS), TEXTS)


VECTORIZERS = [
    HashingVectorizer(n_features=31, ngram_range=(1, 2), norm=None),
    HashingVectorizer(n_features=5, analyzer="char_wb", ngram_range=(1, 3), norm=None, binary=True),
    CountVectorizer(analyzer="char", ngram_range=(1, 2)).fit(TEXTS),
    CountVectorizer(token_pattern=ONE_LETTER).fit(TEXTS),
    TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), sublinear_tf=True).fit(TEXTS),
]


PROGRAMS = [(vectorizer, read_model(vectorizer, features_of(vectorizer))) for vectorizer in VECTORIZERS]


@settings(max_examples=150, deadline=None)
@given(st.lists(ODD, min_size=1, max_size=4))
def test_any_text_gives_the_same_columns(texts: list[str]) -> None:
    for vectorizer, program in PROGRAMS:
        (found,) = reference.run(program, texts)["transform"]
        np.testing.assert_allclose(found, vectorizer.transform(texts).toarray(), rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def questions(assets: Path) -> tuple[list[str], list[str]]:
    """A few intents of clinc150."""
    rows = json.loads((assets / "data/clinc150/data_full.json").read_text())["train"]
    wanted = {"translate", "weather", "timer", "definition"}
    kept = [(text, intent) for text, intent in rows if intent in wanted][::2]
    return [t for t, _ in kept], [i for _, i in kept]


@pytest.mark.assets
def test_text_pipelines_on_real_questions(questions: tuple[list[str], list[str]]) -> None:
    texts, intents = questions
    assert len(set(intents)) == 4
    for model in (
        make_pipeline(TfidfVectorizer(), LogisticRegression()),
        make_pipeline(CountVectorizer(), TfidfTransformer(sublinear_tf=True), SGDClassifier(random_state=0)),
        make_pipeline(HashingVectorizer(n_features=256), TfidfTransformer(), SVC()),
        make_pipeline(HashingVectorizer(n_features=128, alternate_sign=False), MultinomialNB()),
        make_pipeline(CountVectorizer(ngram_range=(1, 2)), SelectKBest(chi2, k=50), ComplementNB()),
        make_pipeline(CountVectorizer(), BernoulliNB()),
        make_pipeline(CountVectorizer(), MaxAbsScaler(), SVC(kernel="linear")),
        make_pipeline(TfidfVectorizer(max_features=60), TruncatedSVD(8, random_state=0), StandardScaler(),
                      LogisticRegression()),
        make_pipeline(
            FeatureUnion([("w", TfidfVectorizer(max_features=40)), ("c", TfidfVectorizer(analyzer="char_wb"))]),
            Normalizer(), SVC(probability=False),
        ),
    ):  # fmt: skip
        program = agrees(model.fit(texts, intents), [*texts[::3], *TEXTS])
        assert program.features == (ir.Feature("text", ir.TEXT),)


@pytest.mark.assets
def test_reviews(assets: Path) -> None:
    with zipfile.ZipFile(assets / "data/sentence_polarity/sentence_polarity.zip") as archive:
        good, bad = (
            archive.read(f"sentence_polarity/rt-polarity.{kind}").decode("latin-1").splitlines()[:150]
            for kind in ("pos", "neg")
        )
    texts, labels = good + bad, [1] * len(good) + [0] * len(bad)
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), min_df=2), LogisticRegression())
    agrees(model.fit(texts, labels), texts)


def test_weights_and_chosen_words_go_into_the_counting_step() -> None:
    labels = np.arange(len(TEXTS)) % 2
    weighted = make_pipeline(CountVectorizer(), TfidfTransformer(), MultinomialNB()).fit(TEXTS, labels)
    program = agrees(weighted, TEXTS)
    assert isinstance(program.steps[program.needed()[0]], ir.Words)
    assert not list(program.of_kind(ir.Affine))
    chosen = make_pipeline(CountVectorizer(), SelectKBest(chi2, k=5), MultinomialNB()).fit(TEXTS, labels)
    program = agrees(chosen, TEXTS)
    (words,) = (s for i in program.needed() if isinstance(s := program.steps[i], ir.Words))
    assert len(words.vocabulary) == 5


def test_texts_beside_numbers() -> None:
    table = np.empty((len(TEXTS), 3), object)
    table[:, 0], table[:, 2] = np.arange(len(TEXTS)) / 7, np.arange(len(TEXTS)) % 3
    table[:, 1] = TEXTS
    columns = ColumnTransformer([("words", TfidfVectorizer(), 1), ("number", StandardScaler(), [0, 2])])
    model = make_pipeline(columns, KNeighborsClassifier(3)).fit(table, np.arange(len(TEXTS)) % 2)
    program = agrees(model, table)
    assert [f.kind for f in program.features] == [ir.NUMBER, ir.TEXT, ir.NUMBER]
    normal = ColumnTransformer([("words", CountVectorizer(), 1), ("number", Normalizer(), [0, 2])]).fit(table)
    agrees(normal, table)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (CountVectorizer(analyzer=str.split), "analyzer=split"),
        (CountVectorizer(tokenizer=str.split, token_pattern=None), "tokenizer=split"),
        (CountVectorizer(preprocessor=str.lower), "preprocessor=lower"),
        (CountVectorizer(strip_accents="unicode"), "strip_accents='unicode'"),
        (CountVectorizer(token_pattern=ANYTHING), r"token_pattern='\\\\S\+'"),
        (CountVectorizer(dtype=np.int8), "dtype=int8"),
        (HashingVectorizer(input="filename"), "input='filename'"),
    ],
    ids=str,
)
def test_ways_to_take_texts_apart_that_are_not_known_are_refused(model: Any, message: str) -> None:
    fitted = model.fit(TEXTS)
    with pytest.raises(ConversionError, match=message):
        read_model(fitted, features_of(fitted))


def test_other_bad_text_models() -> None:
    with pytest.raises(ConversionError, match="CountVectorizer is not fitted"):
        read_model(CountVectorizer(), features_of(CountVectorizer()))
    with pytest.raises(ConversionError, match="takes one raw text and is given something else"):
        read_model(CountVectorizer().fit(TEXTS), [ir.Feature("a"), ir.Feature("b")])
    late = make_pipeline(StandardScaler(with_mean=False), TfidfTransformer(sublinear_tf=True)).fit(np.eye(3))
    with pytest.raises(ConversionError, match="step 'tfidftransformer' of Pipeline.*sublinear_tf=True"):
        read_model(late, features_of(late))
