"""The tape: everything that went over the wire, nothing that must not be seen."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from trading_system.transport import tape as module
from trading_system.transport.message import NoAnswer, NotSent, Request, Response
from trading_system.transport.tape import Tape, TapedDialer, TapedHttp, body_of, played
from trading_system.transport.websocket import Connection, ConnectionLost

SECOND = 1_000_000_000


class Line:
    def __init__(self) -> None:
        self.frames = [b'{"a":1}', b"\x93\x01\xff"]

    async def send(self, frame: str | bytes) -> None: ...

    async def receive(self, *, within_ns: int = 0) -> bytes:
        if not self.frames:
            raise ConnectionLost("over")
        return self.frames.pop(0)

    async def aclose(self) -> None: ...


class Far:
    """Answers the first request, then fails; dials once."""

    def __init__(self) -> None:
        self.calls = 0

    async def send(self, request: Request, *, within_ns: int) -> Response:
        self.calls += 1
        if self.calls > 1:
            raise NoAnswer("sent, but gone")
        return Response(status=200, headers={"x": "1"}, body=b'{"secret":"hunter22"}')

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Connection:
        self.calls += 1
        if self.calls > 1:
            raise NotSent("no connection")
        return Line()

    async def aclose(self) -> None: ...


def recorder(path: Path) -> Tape:
    return Tape(path, lambda text: text.replace("hunter22", "****"), now_ns=lambda: 7)


async def test_requests_answers_and_failures_are_kept_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "wire.tape"
    tape = recorder(path)
    http = TapedHttp(Far(), tape)
    request = Request(method="POST", url="http://x/y?key=hunter22", headers={"APCA-API-SECRET-KEY": "hidden-by-name"}, body=b"{}")
    await http.send(request, within_ns=SECOND)
    with pytest.raises(NoAnswer):
        await http.send(request, within_ns=SECOND)
    await http.aclose()
    tape.close()
    entries = list(played(path))

    assert [entry.what for entry in entries] == ["request", "answer", "request", "failure"]
    assert "hunter22" not in path.read_text()
    assert "hidden-by-name" not in path.read_text()
    assert entries[1].status == 200
    assert path.stat().st_mode & 0o777 == 0o600


async def test_frames_play_back_as_the_bytes_they_were(tmp_path: Path) -> None:
    path = tmp_path / "wire.tape"
    tape = recorder(path)
    dialer = TapedDialer(Far(), tape)
    connection = await dialer.dial("ws://x", {}, within_ns=SECOND)
    await connection.send("hello")
    frames = [await connection.receive(), await connection.receive()]
    with pytest.raises(ConnectionLost):
        await connection.receive()
    with pytest.raises(NotSent):
        await dialer.dial("ws://x", {}, within_ns=SECOND)
    await connection.aclose()

    assert [body_of(entry) for entry in played(path) if entry.what == "in"] == frames
    assert [entry.what for entry in played(path)] == ["open", "out", "in", "in", "closed", "failure"]


async def test_no_way_of_writing_hides_a_secret(tmp_path: Path) -> None:
    tape = Tape(tmp_path / "t", lambda text: text.replace('p"ass\\', "****"), now_ns=lambda: 7)
    packed = b"\x82\xa6secret\xa6" + b'p"ass\\' + b"\xff"
    tape.write("out", "ws://x", body=packed)
    tape.write("out", "ws://x", body=b'say p"ass\\')
    tape.write("out", "ws://x", body=b"x" * (module.BODY_MAX - 3) + b'p"ass\\')
    tape.close()
    frame, text, cut = played(tmp_path / "t")

    assert body_of(frame) == b"\x82\xa6secret\xa6****\xff"
    assert text.body == "say ****"
    assert cut.body == "x" * (module.BODY_MAX - 3) + "***"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_stops_the_tape_and_nothing_else(tmp_path: Path) -> None:
    tape = recorder(tmp_path / "t")
    tape._file = Path("/dev/full").open("w")  # noqa: SIM115  the tape closes it
    tape.write("in", "ws://x", body=b"x")
    tape.write("in", "ws://x", body=b"x")
    tape.close()

    assert (tmp_path / "t").read_text() == ""


def test_a_full_tape_stops_and_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIZE_MAX", 200)
    tape = recorder(tmp_path / "t")
    for _ in range(50):
        tape.write("in", "ws://x", body=b"x" * 50)

    assert (tmp_path / "t").stat().st_size < 500
    assert all(json.loads(line) for line in (tmp_path / "t").read_text().splitlines())
