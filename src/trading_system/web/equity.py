"""What all accounts together were worth, a point a minute, kept beside the journal so that the curve outlives a restart. For the eye: limits and
halts are reckoned from the journal's own marks."""

from collections import deque
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import msgspec

from trading_system.app.desk import Desk
from trading_system.domain.money import parse_decimal, plain

FILE = "web-equity.csv"
POINTS_MAX = 31 * 24 * 60  # a month of minutes
MINUTE_NS = 60_000_000_000
SHOWN_MAX = 1_000  # points in one answer; of more, each so-manieth


class Point(msgspec.Struct, frozen=True):
    at_ns: int
    equity: Decimal
    high_water: Decimal


class EquityCurve:
    def __init__(self, desk: Desk, folder: Path) -> None:
        self._desk = desk
        self._path = folder / FILE
        self._points: deque[Point] = deque(self._read(), maxlen=POINTS_MAX)
        if len(self._points) == POINTS_MAX:
            self._rewrite()

    async def run(self) -> None:
        while True:
            self.look()
            await self._desk.clock.sleep_ns(MINUTE_NS)

    def look(self) -> None:
        """Note what everything is worth now, if every broker has said it."""
        now_ns = self._desk.clock.now_ns()
        mark = self._desk.marked(now_ns)
        if mark is None:
            return
        point = Point(now_ns, mark.equity, mark.high_water)
        self._points.append(point)
        with suppress(OSError), self._path.open("a", encoding="ascii") as file:  # a full disk costs points, nothing else
            file.write(_line(point))

    def points(self, hours: int) -> list[dict[str, object]]:
        since_ns = self._desk.clock.now_ns() - hours * 60 * MINUTE_NS
        found = [point for point in self._points if point.at_ns >= since_ns]
        step = -(-len(found) // SHOWN_MAX) or 1
        shown = found[::-1][::step][::-1]  # the newest is always among them
        return [{"at_ns": point.at_ns, "equity": plain(point.equity), "high_water": plain(point.high_water)} for point in shown]

    def _read(self) -> list[Point]:
        """What is there and can be read; a torn last line is left out."""
        points = []
        with suppress(OSError):
            for line in self._path.read_text(encoding="ascii", errors="replace").splitlines():
                with suppress(ValueError):
                    at_ns, equity, high_water = line.split(",")
                    points.append(Point(int(at_ns), parse_decimal(equity), parse_decimal(high_water)))
        return points

    def _rewrite(self) -> None:
        beside = self._path.with_suffix(".new")
        with suppress(OSError):
            beside.write_text("".join(_line(point) for point in self._points), encoding="ascii")
            beside.replace(self._path)


def _line(point: Point) -> str:
    return f"{point.at_ns},{plain(point.equity)},{plain(point.high_water)}\n"
