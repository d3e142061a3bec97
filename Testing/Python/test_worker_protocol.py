"""Frames survive any chunking, and nothing that arrives does more harm than a ProtocolError."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from MedCLIPSAMLib.worker.protocol import DTYPES, MAX_HEADER, FrameParser, Message, ProtocolError, encode

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
some_arrays = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: arrays.arrays(name, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
messages = st.builds(
    Message,
    st.text(max_size=10),
    st.integers(0, 2**53 - 1),
    st.dictionaries(st.text(max_size=5), values, max_size=3),
    st.dictionaries(st.text(max_size=5), some_arrays, max_size=3),
)


def same(left: Message, right: Message) -> bool:
    return (
        (left.type, left.id, left.fields) == (right.type, right.id, right.fields)
        and list(left.arrays) == list(right.arrays)
        and all(
            a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
            for a, b in zip(left.arrays.values(), right.arrays.values())
        )
    )


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:])]


def framed(content: object, payload: bytes = b"", claimed: int | None = None) -> bytes:
    header = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack(">4sIQ", b"MCS1", len(header), len(payload) if claimed is None else claimed) + header + payload


@given(st.lists(messages, min_size=1, max_size=3), st.lists(st.integers(0, 10**6), max_size=20))
@settings(max_examples=150, deadline=None)
def test_any_chunking_gives_the_same_messages(sent, cuts):
    parser, received = FrameParser(), []
    for piece in in_pieces(b"".join(map(encode, sent)), cuts):
        received += parser.feed(piece)
    assert len(received) == len(sent) and all(map(same, sent, received))


@given(messages, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=5), st.binary())
@settings(max_examples=300, deadline=None)
def test_mutated_frames_raise_nothing_but_protocol_errors(sent, changes, tail):
    data = bytearray(encode(sent) + tail)
    for place, value in changes:
        data[place % len(data)] = value
    parser = FrameParser()
    try:
        parser.feed(bytes(data))
    except ProtocolError as error:
        with pytest.raises(ProtocolError) as again:
            parser.feed(encode(sent))
        assert again.value is error


@given(st.binary() | st.binary().map(lambda tail: b"MCS1" + tail) | st.binary().map(framed) | values.map(framed))
@settings(max_examples=300, deadline=None)
def test_random_bytes_raise_nothing_but_protocol_errors(data):
    try:
        FrameParser().feed(data)
    except ProtocolError as error:
        assert error.problem and error.remedy


@given(values)
@settings(max_examples=200, deadline=None)
def test_headers_of_the_wrong_kind_raise_nothing_but_protocol_errors(value):
    array = {"name": "mask", "dtype": "uint8", "shape": [2], "bytes": 2}
    whole = {"type": "segment", "id": 1, "fields": {}, "arrays": [array]}
    for name in whole:
        _refused_or_taken(framed(whole | {name: value}, b"ab"))
    for name in array:
        _refused_or_taken(framed(whole | {"arrays": [array | {name: value}]}, b"ab"))


def _refused_or_taken(data: bytes) -> None:
    try:
        FrameParser().feed(data)
    except ProtocolError:
        pass


def test_sizes_that_a_frame_claims_are_not_allocated():
    parser = FrameParser()
    array = {"name": "a", "dtype": "uint8", "shape": [3 << 30], "bytes": 3 << 30}
    data = framed({"type": "image", "id": 1, "fields": {}, "arrays": [array]}, b"only a few bytes", 3 << 30)
    tracemalloc.start()
    assert parser.feed(data) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">4sIQ", b"MCS1", MAX_HEADER + 1, 0),
        struct.pack(">4sIQ", b"MCS1", 2, 1 << 40),
        framed(b"[" * 100_000),
        framed(b'{"type":"a","id":NaN,"fields":{},"arrays":[]}'),
        framed(b"\xff\xfe"),
        framed(b"1" * 10_000),
        framed({"type": "a", "id": True, "fields": {}, "arrays": []}),
        framed({"type": "a", "id": -1, "fields": {}, "arrays": []}),
        framed({"type": "a", "id": 1, "fields": {}, "arrays": []}, b"too much"),
        framed(
            {
                "type": "a",
                "id": 1,
                "fields": {},
                "arrays": [{"name": "a", "dtype": "object", "shape": [1], "bytes": 8}],
            },
            bytes(8),
        ),
        framed(
            {
                "type": "a",
                "id": 1,
                "fields": {},
                "arrays": [{"name": "a", "dtype": "uint8", "shape": [0, 1 << 62, 1 << 62], "bytes": 0}],
            }
        ),
    ],
)
def test_malformed_and_oversized_frames_are_refused(data):
    with pytest.raises(ProtocolError):
        FrameParser().feed(data)


def test_text_in_the_stream_is_named_in_the_error():
    with pytest.raises(ProtocolError, match="Welcome to gpuhost"):
        FrameParser().feed(b"Welcome to gpuhost\n")


def test_received_arrays_can_be_written_to():
    (message,) = FrameParser().feed(encode(Message("a", 1, {}, {"mask": np.zeros((2, 3), np.uint8)})))
    message.arrays["mask"][0, 0] = 1


def test_an_array_of_another_type_is_refused():
    with pytest.raises(ProtocolError, match="float64"):
        encode(Message("a", 1, {}, {"x": np.zeros(2)}))
