"""Server-sent events, messages of one line each, and messages behind their length, out of bytes. Pure: bytes in, one
frame for each out, whatever the pieces they came in.

Source: html.spec.whatwg.org/multipage/server-sent-events.html (9.2.5 and 9.2.6)
"""

import msgspec

LINE_MAX = 1 << 20  # bytes of one line
EVENT_MAX = 4 << 20  # bytes of one event, all lines
LENGTH_BYTES = 4
LENGTH_MAX = 0xFFFFFF  # bytes of one message behind its length
_BOM = b"\xef\xbb\xbf"


class Oversized(ValueError):
    """A line or an event larger than any that makes sense: the stream cannot be trusted any further."""


class ServerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What one frame says. data: its lines joined by line feeds, empty for a comment. retry_ms: how long the server wants us to wait."""

    event: str = "message"
    event_id: str | None = None
    data: bytes = b""
    retry_ms: int | None = None
    comment: str | None = None


class EventFrames:
    """Cuts a stream into frames. A frame is the lines of one event, or one comment, each line ended by a line feed.

    A comment is a frame of its own: it is how a quiet server says that it is still there.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._event = bytearray()
        self._first = True  # nothing but perhaps a byte order mark has come
        self._after_cr = False  # the last byte was a CR: an LF right behind it ends no second line

    def feed(self, piece: bytes) -> list[bytes]:
        """The frames that this piece ends. What an unfinished event holds when the stream ends is never given out. Raises Oversized."""
        frames: list[bytes] = []
        at = 0
        if self._after_cr and piece:
            at = 1 if piece[:1] == b"\n" else 0
            self._after_cr = False
        while at < len(piece):
            end = _line_end(piece, at)
            self._line += piece[at:end]
            if len(self._line) > LINE_MAX:
                raise Oversized(f"a line longer than {LINE_MAX} bytes")
            if end == len(piece):
                break
            self._take(frames)
            at = end + 1
            if piece[end : end + 1] == b"\r":
                self._after_cr = at == len(piece)
                at += piece[at : at + 1] == b"\n"
        return frames

    def _take(self, frames: list[bytes]) -> None:
        """One whole line."""
        line = bytes(self._line)
        self._line.clear()
        if self._first:
            line, self._first = line.removeprefix(_BOM), False
        if line.startswith(b":"):
            frames.append(line + b"\n")
        elif line:
            self._event += line + b"\n"
            if len(self._event) > EVENT_MAX:
                raise Oversized(f"an event larger than {EVENT_MAX} bytes")
        elif self._event:
            frames.append(bytes(self._event))
            self._event.clear()


class LineFrames:
    """Cuts a stream into lines, each a message of its own. Empty ones only keep the line open, and are none."""

    def __init__(self) -> None:
        self._line = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that this piece ends; what has no end yet waits. Raises Oversized."""
        self._line += piece
        *whole, rest = bytes(self._line).split(b"\n")
        self._line[:] = rest
        if max(map(len, (*whole, rest))) > LINE_MAX:
            raise Oversized(f"a line longer than {LINE_MAX} bytes")
        return [line for line in whole if line.strip()]


class LengthFrames:
    """Cuts a stream into messages, each behind its length in four bytes, the highest first."""

    def __init__(self) -> None:
        self._waits = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The messages that this piece ends. Raises Oversized."""
        self._waits += piece
        frames: list[bytes] = []
        at = 0
        while len(self._waits) - at >= LENGTH_BYTES:
            length = int.from_bytes(self._waits[at : at + LENGTH_BYTES], "big")
            if length > LENGTH_MAX:
                raise Oversized(f"a message of {length} bytes")
            end = at + LENGTH_BYTES + length
            if len(self._waits) < end:
                break
            frames.append(bytes(self._waits[at + LENGTH_BYTES : end]))
            at = end
        del self._waits[:at]
        return frames


def with_length(message: bytes) -> bytes:
    """A message as it goes over the wire.

    >>> with_length(b"61\\x001\\x00")
    b'\\x00\\x00\\x00\\x0561\\x001\\x00'
    """
    return len(message).to_bytes(LENGTH_BYTES, "big") + message


def _line_end(piece: bytes, at: int) -> int:
    """Where the line ends that goes on at `at`; the length of the piece when it does not end in it."""
    feed = piece.find(b"\n", at)
    carriage = piece.find(b"\r", at, len(piece) if feed < 0 else feed)
    ends = [end for end in (feed, carriage) if end >= 0]
    return min(ends, default=len(piece))


def decode_event(frame: bytes) -> ServerEvent:
    """One frame of EventFrames. Fields nobody knows are ignored, as the standard has it; so are an id with a NUL and a retry that is no number.

    >>> decode_event(b"id: 7\\ndata: one\\ndata: two\\n").data
    b'one\\ntwo'
    """
    name, event_id, retry_ms, comment = "", None, None, None
    data: list[bytes] = []
    for line in frame.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode(errors="replace")
        elif field == b"id" and b"\0" not in value:
            event_id = value.decode(errors="replace")
        elif field == b"retry" and value.isdigit():
            retry_ms = int(value[:9])
        elif line.startswith(b":"):
            comment = value.decode(errors="replace").strip()
    return ServerEvent(event=name or "message", event_id=event_id, data=b"\n".join(data), retry_ms=retry_ms, comment=comment)


def encode_event(data: bytes, *, event_id: str = "") -> bytes:
    """An event as it goes over the wire. data: one line or several."""
    head = f"id: {event_id}\n".encode() if event_id else b""
    return head + b"".join(b"data: " + line + b"\n" for line in data.split(b"\n")) + b"\n"


def encode_comment(text: str) -> bytes:
    """A comment as it goes over the wire."""
    return f": {text}\n\n".encode()
