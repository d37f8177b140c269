"""A message with a field that stands twice is no message."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_system.transport import strict


class Order(msgspec.Struct):
    id: str
    legs: "list[Order] | None" = None


@pytest.mark.parametrize(
    "message",
    [
        '{"id":"a","id":"a"}',
        '{"id":"a","id":"b"}',
        '{"id":"a","\\u0069d":"b"}',
        '{"id":"a" , "id"\t:"b"}',
        '{"id":"a","legs":[{"id":"b","id":"c"}]}',
        '{"id":"a","more":{"x":1,"y":{"z":1,"z":1}}}',
    ],
)
def test_a_field_that_stands_twice_is_refused_wherever_it_stands(message: str) -> None:
    assert msgspec.json.decode(message, type=Order)  # which takes the last
    for form in (message, message.encode()):
        with pytest.raises(msgspec.DecodeError, match="stands twice"):
            strict.decode(form, Order)


@pytest.mark.parametrize("message", [b"", b"{", b"null", b'{"id":"a","x":"\xff"}', b'{"id":"a","x":"\x01"}', b'{"id":1}', b'{"id":"a"} {}'])
def test_what_is_no_message_has_one_kind_of_error(message: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        strict.decode(message, Order)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(_json)
def test_every_other_message_reads_as_before(value: object) -> None:
    message = json.dumps(value)
    assert strict.decode(message, msgspec.Raw) == msgspec.json.decode(message, type=msgspec.Raw)
