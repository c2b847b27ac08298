"""The reader of Prometheus' text format against our writer of it, and against what is no such text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit_runtime.monitor.prometheus import Family, exposition
from edgekit_runtime.top.scrape import ScrapeError, parse

NAMES = st.from_regex(r"[a-z_:][a-z0-9_:]{0,8}", fullmatch=True).filter(
    lambda n: not n.endswith(("_bucket", "_sum", "_count"))
)
LABELS = st.dictionaries(
    st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True), st.text(st.characters(exclude_categories=["Cs"])),
    max_size=3,
)  # fmt: skip
VALUES = st.floats() | st.integers(-(2**60), 2**60).map(float)
SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


@st.composite
def families(draw: st.DrawFn) -> list[Family]:
    found = []
    for name in draw(st.lists(NAMES, unique=True, max_size=4)):
        kind = draw(st.sampled_from(sorted(SUFFIXES)))
        samples = draw(
            st.lists(
                st.tuples(st.sampled_from(SUFFIXES[kind]), LABELS, VALUES),
                unique_by=lambda s: (s[0], tuple(sorted(s[1].items()))),
                min_size=1,
                max_size=4,
            )
        )
        about = draw(st.text(st.characters(exclude_categories=["Cs"])))
        found.append(Family(name, kind, about, samples))
    return found


@given(families())
def test_what_is_written_is_read(written):
    read = parse(exposition(written))
    assert list(read) == [f.name for f in written]
    for family in written:
        same = read[family.name]
        assert (same.kind, same.about) == (family.kind, family.about)
        for (suffix, labels, value), (suffix_read, labels_read, value_read) in zip(family.samples, same.samples):
            assert (suffix, labels) == (suffix_read, labels_read)
            assert value == value_read or (math.isnan(value) and math.isnan(value_read))


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a b",
        "a 0x10",
        "a 1_0",
        "1a 1",
        'a{b="c} 1',
        'a{b="c"d="e"} 1',
        'a{b="c",b="c"} 1',
        'a{b="\\x"} 1',
        "a 1\na 1",
        "# TYPE a meter",
        "# TYPE a counter\n# TYPE a counter",
        "a 1\n# TYPE a counter",
        "# TYPE 1 counter",
        "<html>",
    ],
)
def test_what_is_no_such_text_is_refused_with_its_line(text):
    with pytest.raises(ScrapeError, match=r"line \d of the metrics"):
        parse(text)


@given(st.text(st.sampled_from('a{}="\\n,1 #TYPEHL_\n')) | st.text())
def test_any_text_is_read_or_refused(text):
    try:
        parse(text)
    except ScrapeError:
        pass


def test_timestamps_comments_and_unknown_types_are_taken():
    read = parse('# a comment\na_total{x="1",} 3 1712000000000\nb{} +Inf\n\n')
    assert read["a_total"].samples == [("", {"x": "1"}, 3.0)] and read["a_total"].kind == "untyped"
    assert read["b"].samples == [("", {}, math.inf)]
