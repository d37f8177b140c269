"""The twin's portfolio history: what the account was worth, minute by minute as time passed, cut into the windows that one asks for."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from trading_system.brokers.alpaca import wire
from trading_system.brokers.alpaca.twin.forms import Refusal, answer, bad_parameter, choice, parse_time
from trading_system.domain.money import ZERO
from trading_system.sim.exchange import Exchange
from trading_system.sim.sessions import DAY_NS, MINUTE_NS, SECOND_NS, Sessions, new_york_day, new_york_ns
from trading_system.transport.message import Response

SAMPLES_MAX = 150_000  # about a hundred days of minutes; the oldest go
INTRADAY_MAX_DAYS = 30
_WINDOWS = {"1Min": MINUTE_NS, "5Min": 5 * MINUTE_NS, "15Min": 15 * MINUTE_NS, "1H": 60 * MINUTE_NS, "1D": DAY_NS}
_PERIOD = re.compile(r"([1-9]\d{0,2})([DWMA])")
_DAYS = {"D": 1, "W": 7, "M": 30, "A": 365}
_CENT, _BASIS = Decimal("0.01"), Decimal("0.000001")
_EPOCH = date(1970, 1, 1)


class Portfolio:
    """Equity over time. sessions: those of the stocks, which say what market hours are."""

    def __init__(self, exchange: Exchange, sessions: Sessions, start_ns: int) -> None:
        self._exchange = exchange
        self._sessions = sessions
        self._times: list[int] = [start_ns]
        self._equities: list[Decimal] = [exchange.equity(start_ns)]

    def sample(self, now_ns: int) -> None:
        """Once a minute, whenever the twin is looked at."""
        if now_ns // MINUTE_NS > self._times[-1] // MINUTE_NS:
            self._times.append(now_ns)
            self._equities.append(self._exchange.equity(now_ns))
            if len(self._times) > SAMPLES_MAX:
                del self._times[: SAMPLES_MAX // 10], self._equities[: SAMPLES_MAX // 10]

    def history(self, query: Mapping[str, str], activities: Sequence[wire.Activity], now_ns: int) -> Response:
        """GET /v2/account/portfolio/history. Raises Refusal: what cannot be read, or does not go together."""
        start_ns, end_ns = _span(query, now_ns)
        days = -(-(end_ns - start_ns) // DAY_NS)
        frame = query.get("timeframe") or ("1Min" if days < 7 else "15Min" if days <= INTRADAY_MAX_DAYS else "1D")
        if frame not in _WINDOWS or (frame != "1D" and days > INTRADAY_MAX_DAYS + 1):
            raise bad_parameter("timeframe")
        default = "extended_hours" if query.get("extended_hours", "").lower() == "true" else "market_hours"
        reporting = choice(query, "intraday_reporting", default, ("market_hours", "extended_hours", "continuous"))
        reset = choice(query, "pnl_reset", "per_day", ("no_reset", "per_day")) == "per_day" and frame != "1D"
        start_ns = max(start_ns, self._times[0] - self._times[0] % DAY_NS - DAY_NS)
        spans = list(self._daily(start_ns, end_ns) if frame == "1D" else self._windows(start_ns, end_ns, _WINDOWS[frame], reporting))
        spans = [span for span in spans if span[2] > self._times[0]]  # there is no data from before the account
        first_ns = spans[0][1] if spans else now_ns
        base = self._at(first_ns)
        bases = [self._at(new_york_ns(new_york_day(begin_ns), 0)) if reset else base for _, begin_ns, _ in spans]
        equities = [self._at(min(until_ns, now_ns), now_ns).quantize(_CENT, ROUND_HALF_EVEN) for _, _, until_ns in spans]
        gains = [equity - start for equity, start in zip(equities, bases, strict=True)]
        shown = wire.PortfolioHistory(
            timestamp=[label // SECOND_NS for label, _, _ in spans],
            equity=equities,
            profit_loss=[gain.quantize(_CENT, ROUND_HALF_EVEN) for gain in gains],
            profit_loss_pct=[(gain / start).quantize(_BASIS, ROUND_HALF_EVEN) if start else ZERO for gain, start in zip(gains, bases, strict=True)],
            base_value=base.quantize(_CENT, ROUND_HALF_EVEN),
            timeframe=frame,
        )
        wanted = query.get("cashflow_types") or "NONE"
        if wanted != "NONE":
            shown.cashflow = _cashflow(wanted, activities, spans)
        return answer(shown)

    def _at(self, time_ns: int, now_ns: int | None = None) -> Decimal:
        """What it was worth at the last look before an instant; worked out anew for now."""
        if now_ns is not None and time_ns >= now_ns:
            return self._exchange.equity(now_ns)
        return self._equities[max(0, bisect_right(self._times, time_ns) - 1)]

    def _windows(self, start_ns: int, end_ns: int, step_ns: int, reporting: str) -> Iterator[tuple[int, int, int]]:
        """(label, begin, end) of each window that begins while it counts."""
        for begin_ns in range(start_ns - start_ns % step_ns, end_ns, step_ns):
            if reporting == "continuous" or self._sessions.is_open(begin_ns, extended=reporting == "extended_hours"):
                yield begin_ns, begin_ns, begin_ns + step_ns

    def _daily(self, start_ns: int, end_ns: int) -> Iterator[tuple[int, int, int]]:
        """Trading days, each labelled by midnight UTC of its date."""
        day = new_york_day(start_ns)
        while new_york_ns(day, 0) < end_ns:
            after = day + timedelta(days=1)
            if self._sessions.on(day) is not None:
                yield (day - _EPOCH).days * DAY_NS, new_york_ns(day, 0), new_york_ns(after, 0)
            day = after


def _span(query: Mapping[str, str], now_ns: int) -> tuple[int, int]:
    """From when to when. Two of start, end and period say it; a period is whole days up to the end's."""
    if all(query.get(name) for name in ("start", "end", "period")):
        raise Refusal(422, 40010001, "only two of start, end and period can be specified at the same time")
    end_ns = min(parse_time(query["end"], "end"), now_ns) if query.get("end") else now_ns
    if query.get("start") and not query.get("period"):
        start_ns = parse_time(query["start"], "start")
        if start_ns >= end_ns:
            raise bad_parameter("start")
        return start_ns, end_ns
    found = _PERIOD.fullmatch(query.get("period") or "1M")
    if found is None:
        raise bad_parameter("period")
    days = int(found[1]) * _DAYS[found[2]]
    if query.get("start"):
        start_ns = parse_time(query["start"], "start")
        return start_ns, min(start_ns + days * DAY_NS, now_ns)
    return new_york_ns(new_york_day(end_ns) - timedelta(days=days - 1), 0), end_ns


def _cashflow(wanted: str, activities: Sequence[wire.Activity], spans: Sequence[tuple[int, int, int]]) -> dict[str, list[Decimal]]:
    """Money that came and went in each window, by type of activity."""
    begins = [begin_ns for _, begin_ns, _ in spans]
    found: dict[str, list[Decimal]] = {}
    for activity in activities:
        kind = activity.activity_type
        if activity.net_amount is None or activity.created_at is None or (wanted != "ALL" and kind not in wanted.split(",")):
            continue
        place = bisect_left(begins, parse_time(activity.created_at, "created_at") + 1) - 1
        if place >= 0:
            found.setdefault(kind, [ZERO] * len(spans))[place] += Decimal(activity.net_amount)
    return found
