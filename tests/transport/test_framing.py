"""Server-sent events: the standard's own examples, every way a line may end, and the same events however the bytes are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_system.transport import framing
from trading_system.transport.framing import EventFrames, LineFrames, Oversized, ServerEvent, decode_event, encode_comment, encode_event

# The examples of html.spec.whatwg.org/multipage/server-sent-events.html, 9.2.6, and what they mean.
STANDARD = (
    b"data: YHOO\ndata: +2\ndata: 10\n\n",
    b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
    b"data:test\n\ndata: test\n\n",
)


def events(*pieces: bytes) -> list[ServerEvent]:
    frames = EventFrames()
    return [decode_event(frame) for piece in pieces for frame in frames.feed(piece)]


def test_the_standards_examples() -> None:
    assert events(STANDARD[0]) == [ServerEvent(data=b"YHOO\n+2\n10")]
    assert events(STANDARD[1]) == [
        ServerEvent(comment="test stream"),
        ServerEvent(data=b"first event", event_id="1"),
        ServerEvent(data=b"second event", event_id=""),
        ServerEvent(data=b" third event"),
    ]
    assert events(STANDARD[2]) == [ServerEvent(data=b"test")] * 2


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_lines_end_in_three_ways(end: bytes) -> None:
    text = end.join([b"event: fill", b"id: 7", b"retry: 250", b"data: a", b"data: b", b"", b": beat", b"data", b"", b""])

    assert events(text) == [
        ServerEvent(event="fill", event_id="7", retry_ms=250, data=b"a\nb"),
        ServerEvent(comment="beat"),
        ServerEvent(),
    ]


def test_a_bare_cr_ends_its_line_at_once_and_the_lf_behind_it_ends_no_second_one() -> None:
    assert events(b"data: a\r", b"\r") == [ServerEvent(data=b"a")]
    assert events(b"data: a\r", b"\n\r", b"\n", b"data: b\r\n\r\n") == [ServerEvent(data=b"a"), ServerEvent(data=b"b")]
    assert events(b"data: a\r", b"", b"\ndata: b\n\n") == [ServerEvent(data=b"a\nb")]


def test_a_mark_at_the_very_start_is_no_part_of_the_first_line() -> None:
    assert events(b"\xef", b"\xbb\xbfdata: a\n\n", b"\xef\xbb\xbfdata: b\n\ndata: c\n\n") == [
        ServerEvent(data=b"a"),
        ServerEvent(),
        ServerEvent(data=b"c"),
    ]


def test_what_the_standard_ignores_is_ignored() -> None:
    text = b"nonsense: 1\nid: a\0b\nretry: 1s\nretry: \xd9\xa3\nDATA: x\ndata : y\ndata: z\n\n"

    assert events(text) == [ServerEvent(data=b"z")]


def test_an_event_that_is_not_finished_is_not_given_out() -> None:
    assert events(b"data: a\n\ndata: half") == [ServerEvent(data=b"a")]
    assert events(b"data: a\ndata: whole line\n") == []


def test_a_comment_inside_an_event_breaks_nothing() -> None:
    assert events(b"data: a\n: beat\ndata: b\n\n") == [ServerEvent(comment="beat"), ServerEvent(data=b"a\nb")]


def test_lines_and_events_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "LINE_MAX", 100)
    monkeypatch.setattr(framing, "EVENT_MAX", 250)

    assert events(b"data: " + b"x" * 94 + b"\n\n") == [ServerEvent(data=b"x" * 94)]
    for pieces in ([b"data: " + b"x" * 95], [b"data: ", b"x" * 50, b"x" * 45], [b"data: " + b"x" * 80 + b"\n"] * 3):
        with pytest.raises(Oversized):
            events(*pieces)


@given(
    st.lists(
        st.sampled_from(
            [b"data", b": beat", b":", b"id: 7", b"event: fill", b"\r", b"\n", b"\r\n", b" ", b"x", b"\xc3\xa9", b"\xef\xbb\xbf", b"data: {}"]
        )
    ),
    st.data(),
)
def test_any_cut_gives_the_same_events(parts: list[bytes], data: st.DataObject) -> None:
    text = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    assert events(*pieces) == events(text)


@given(st.lists(st.one_of(st.binary().map(lambda raw: raw.replace(b"\r", b"")), st.none()), max_size=8))
def test_what_is_written_is_what_is_read(sent: list[bytes | None]) -> None:
    text = b"".join(encode_comment("beat") if data is None else encode_event(data, event_id="7") for data in sent)

    assert events(text) == [ServerEvent(comment="beat") if data is None else ServerEvent(data=data, event_id="7") for data in sent]


# -- lines -----------------------------------------------------------------------------------------------------------------------------------------

LINES = b'{"type":"HEARTBEAT"}\n\n \r\n{"a":"\xc3\xa9"}\n{"half'


@given(st.lists(st.integers(0, len(LINES)), max_size=8))
def test_lines_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    """Empty ones are none, and what has no end yet is not given out."""
    places = [0, *sorted(cuts), len(LINES)]
    frames = LineFrames()
    found = [line for start, end in pairwise(places) for line in frames.feed(LINES[start:end])]

    assert found == [b'{"type":"HEARTBEAT"}', b'{"a":"\xc3\xa9"}']


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "LINE_MAX", 10)
    frames = LineFrames()
    assert frames.feed(b"123456789") == []
    with pytest.raises(Oversized):
        frames.feed(b"01")
