"""Bytes to arrays and back, without a server."""

from __future__ import annotations

import gzip
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit_runtime.serve.http import Refused, Reply, packed, unpack
from edgekit_runtime.serve.numbers import flatten, load_with_spans, to_array
from edgekit_runtime.serve.oip import DATATYPES, InferRequest, decode_request, encode_reply, tensor_bytes
from edgekit_runtime.serve.raw import decode_sample

WORD = st.text('aé€𐍈\0"\\', max_size=5)


def texts(values: list[str]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@st.composite
def tensors(draw: st.DrawFn) -> tuple[np.ndarray, str]:
    dtype = draw(st.sampled_from(sorted(DATATYPES)))
    shape = draw(st.lists(st.integers(1, 4), max_size=3))
    size = int(np.prod(shape))
    if dtype == "string":
        return texts(draw(st.lists(WORD, min_size=size, max_size=size))).reshape(shape), dtype
    if dtype == "bool":
        return np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), bool).reshape(shape), dtype
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        elements = st.integers(int(limits.min), int(limits.max))
    else:
        elements = st.floats(width=np.finfo(dtype).bits, allow_nan=False, allow_infinity=False)
    return np.array(draw(st.lists(elements, min_size=size, max_size=size)), dtype).reshape(shape), dtype


def request(named: dict[str, tuple[np.ndarray, str]], binary: list[bool]) -> tuple[bytes, int]:
    entries, tail = [], b""
    for (name, (array, dtype)), as_bytes in zip(named.items(), binary):
        entry = {"name": name, "shape": list(array.shape), "datatype": DATATYPES[dtype]}
        if as_bytes:
            content = tensor_bytes(array, dtype)
            entry["parameters"] = {"binary_data_size": len(content)}
            tail += content
        else:
            entry["data"] = array.tolist() if array.ndim else [array.item()]
        entries.append(entry)
    head = json.dumps({"inputs": entries}).encode()
    return head + tail, len(head)


@given(st.lists(st.tuples(tensors(), st.booleans()), min_size=1, max_size=3))
def test_what_a_client_sends_arrives(sent):
    named = {f"t{i}": tensor for i, (tensor, _) in enumerate(sent)}
    body, length = request(named, [b for _, b in sent])
    found = decode_request(body, length).inputs
    assert list(found) == list(named)
    for name, (array, _) in named.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert np.array_equal(found[name], array)


@given(tensors(), st.booleans())
def test_what_the_server_answers_can_be_read_back(tensor, binary):
    array, dtype = tensor
    reply = encode_reply("m", "1", InferRequest({}, binary=binary), {"y": array}, {"y": dtype})
    length = int(dict(reply.headers).get("Inference-Header-Content-Length", len(reply.body)))
    head = json.loads(reply.body[:length])
    entry = head["outputs"][0]
    assert head["model_name"] == "m" and entry["name"] == "y" and entry["datatype"] == DATATYPES[dtype]
    again = json.dumps({"inputs": [entry]}).encode()
    found = decode_request(again + reply.body[length:], len(again)).inputs["y"]
    assert found.shape == array.shape and np.array_equal(found, array)


@given(st.binary(max_size=200), st.none() | st.integers(0, 250))
def test_garbage_is_refused_with_a_status(body, length):
    with pytest.raises(Refused) as refused:
        decode_request(body, length)
    assert refused.value.status == 400 and str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "name": JSON | st.just("x"),
        "shape": JSON | st.just([2]),
        "datatype": JSON | st.sampled_from(list(DATATYPES.values())),
        "data": JSON | st.just([1, 2]),
        "parameters": JSON | st.just({"binary_data_size": 4}),
    },
)


@given(st.fixed_dictionaries({"inputs": JSON | st.lists(ENTRY, max_size=3)}, optional={"outputs": JSON, "id": JSON}))
def test_json_of_the_wrong_form_is_refused_or_right(head):
    try:
        found = decode_request(json.dumps(head).encode(), None)
    except Refused as refused:
        assert refused.status == 400
    else:
        assert found.inputs


def long_list(seed: int) -> list[int]:
    random = np.random.default_rng(seed)
    return random.integers(-(2**31), 2**31, 300).tolist()


@given(st.builds(long_list, st.integers(0, 999)), st.sampled_from([",", ", ", " ,\n"]))
def test_long_lists_of_whole_numbers_are_read_the_fast_way_and_right(values, comma):
    text = f'{{"inputs": [{{"name": "]\\"data\\":[1", "data" : [ {comma.join(map(str, values))} ] }}]}}'
    data, spans = load_with_spans(text.encode())
    assert len(spans) == 1 and data["inputs"][0]["name"] == ']"data":[1'
    assert spans[data["inputs"][0]["data"]].tolist() == values


@given(
    st.builds(long_list, st.integers(0, 999)),
    st.integers(0, 299),
    st.sampled_from(["1.5", "", "1 2", "--1", "-", "9" * 30, "[1]", "null", "1-", "9223372036854775807"]),
)
def test_what_is_no_plain_whole_number_never_slips_through_the_fast_way(values, place, odd):
    words = list(map(str, values))
    words[place] = odd
    text = f'{{"data": [{",".join(words)}]}}'.encode()
    try:
        expected = json.loads(text)["data"]
    except ValueError:
        with pytest.raises(Refused):
            load_with_spans(text)
    else:
        data, spans = load_with_spans(text)
        assert not spans and len(data["data"]) == len(expected)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("uint8", [256]),
        ("uint8", [-1]),
        ("int32", [1.5]),
        ("int64", [2**63]),
        ("float32", ["1.5"]),
        ("float32", [None]),
        ("bool", [2]),
        ("string", [1]),
        ("string", ["\ud800"]),
        ("uint8", np.array([256])),
        ("bool", np.array([2])),
        ("string", np.array([2])),
    ],
)
def test_values_that_do_not_fit_are_refused(dtype, values):
    with pytest.raises(Refused, match="'x' is not"):
        to_array(values, dtype, "x")


def test_ragged_lists_are_refused():
    with pytest.raises(Refused, match="differ in length"):
        flatten([[1, 2], [3]])
    assert flatten([[1, 2], [3, 4]]) == ((2, 2), [1, 2, 3, 4])


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]))
def test_compressed_bodies_come_back(body, kind):
    content = gzip.compress(body) if kind == "gzip" else zlib.compress(body)
    assert unpack(content, kind, 300) == body
    if body:
        reply = packed(Reply(200, body, "application/json"), kind)
        assert unpack(reply.body, kind, 300) == body and ("Content-Encoding", kind) in reply.headers
        assert packed(Reply(200, body), "gzip, deflate, br").body == body


def test_a_compressed_body_is_held_to_what_it_unpacks_to():
    bomb = gzip.compress(bytes(10_000_000))
    assert len(bomb) < 20_000
    with pytest.raises(Refused) as refused:
        unpack(bomb, "gzip", 100_000)
    assert refused.value.status == 413
    for broken in (bomb[:-1], b"x" + bomb, gzip.compress(b"a") + b"b"):
        with pytest.raises(Refused):
            unpack(broken, "gzip", 20_000_000)
    with pytest.raises(Refused) as refused:
        unpack(b"", "br", 10)
    assert refused.value.status == 415


@pytest.mark.parametrize(
    ("kind", "content_type", "body", "sample"),
    [
        ("image", "image/jpeg", b"\xff\xd8\xff", b"\xff\xd8\xff"),
        ("image", "Image/PNG; q=1", b"\x89PNG", b"\x89PNG"),
        ("audio", "audio/wav", b"RIFF", b"RIFF"),
        ("text", "text/plain; charset=utf-8", "Füße".encode(), "Füße"),
        ("text", "application/json", b'"a"', "a"),
        ("table", "application/json", b'{"age": 41}', {"age": 41}),
    ],
)
def test_a_raw_body_becomes_what_the_specification_takes(kind, content_type, body, sample):
    assert decode_sample(kind, content_type, body) == sample


@pytest.mark.parametrize(
    ("kind", "content_type", "body", "status"),
    [
        ("image", "audio/wav", b"RIFF", 415),
        ("image", "", b"\xff\xd8\xff", 415),
        ("table", "text/plain", b"41", 415),
        ("audio", "audio/wav", b"", 400),
        ("text", "application/json", b"[1]", 400),
        ("tensor", "application/json", b'["a"]', 400),
    ],
)
def test_a_raw_body_of_another_kind_is_refused(kind, content_type, body, status):
    with pytest.raises(Refused) as refused:
        decode_sample(kind, content_type, body)
    assert refused.value.status == status
