"""The market's REST surface of the twin: quotes, chains, bars, trades, clock, calendar, and what can be looked up.

A sandbox shows the market of a quarter of an hour ago: it is the market that its orders fill on, so here only the dates of its quotes are old.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from trading_system.brokers.tradier import facts, wire
from trading_system.brokers.tradier.twin.forms import MS, answer, container, instant, number, parameter, today, wall
from trading_system.brokers.tradier.twin.rules import Form
from trading_system.brokers.tradier.twin.universe import CENT, Universe
from trading_system.domain.money import ZERO
from trading_system.domain.option import Contract, Right, is_option, occ
from trading_system.sim.market import LOT, Bar, Market, mix, seed_of
from trading_system.sim.options import Chains
from trading_system.sim.sessions import DAY_NS, MINUTE_NS, SECOND_NS, Session, Sessions, new_york_ns
from trading_system.transport.message import Response

_STEPS = {"1min": 1, "5min": 5, "15min": 15}
_REACH_DAYS = {"tick": 5, "1min": 20, "5min": 40, "15min": 40}


class MarketData:
    """Everything below /markets. live: whether its dates are those of now."""

    def __init__(self, universe: Universe, market: Market, chains: Chains, sessions: Sessions, *, live: bool) -> None:
        self._universe = universe
        self._market = market
        self._chains = chains
        self._sessions = sessions
        self._delay_ns = 0 if live else facts.SANDBOX_DELAY_NS

    # -- quotes ----------------------------------------------------------------------------------------------------------------------------------

    def quotes(self, form: Form, now_ns: int) -> Response:
        """What is not known stands apart, or alone where nothing is."""
        names = [name for name in form.get("symbols", "").split(",") if name]
        if not names:
            raise parameter("symbols", "is required.")
        greeks = form.get("greeks", "").lower() == "true"
        found = [quote for name in names if (quote := self.quote(name, now_ns, greeks=greeks)) is not None]
        missing = [name for name in names if not any(quote.symbol == name for quote in found)]
        inside: dict[str, object] = {}
        if found:
            inside["quote"] = found[0] if len(found) == 1 else found
        if missing:
            inside["unmatched_symbols"] = {"symbol": missing[0] if len(missing) == 1 else missing}
        return answer({"quotes": inside})

    def quote(self, name: str, now_ns: int, *, greeks: bool = False) -> wire.Quote | None:
        contract = self._chains.find(name, now_ns) if is_option(name) else None  # type: ignore[arg-type]
        if contract is not None:
            self._chains.market_of(contract)
        elif name not in self._universe.stocks:
            return None
        shown = self._quote(name, now_ns)
        if contract is not None:
            self._contract(shown, contract, now_ns, greeks=greeks)
        return shown

    def _quote(self, name: str, now_ns: int) -> wire.Quote:
        market, unit = self._market, self._market.listings[name].unit
        stock = self._universe.stocks.get(name)
        tick, printed = market.latest(name, now_ns), market.last_print(name, now_ns)
        bid, bid_lots = tick.bids[0] if tick.bids else (0, 0)
        ask, ask_lots = tick.asks[0]
        last = number((printed.price if printed is not None else ask) * unit)
        size = 1 if stock is None else 100  # stocks in hundreds
        dated = (tick.time_ns - self._delay_ns) // MS
        day, before = self._day(name, now_ns), self._before(name, now_ns) if stock is not None else None
        closed = number((before.close if before is not None else ask) * unit)
        return wire.Quote(
            symbol=name,
            description=stock.name if stock is not None else name,
            exch=stock.exch if stock is not None else "Z",
            type=stock.kind if stock is not None else "option",
            last=last,
            change=number(last - closed),
            volume=0 if day is None else day.volume,
            open=None if day is None else number(day.open * unit),
            high=None if day is None else number(day.high * unit),
            low=None if day is None else number(day.low * unit),
            close=None,
            bid=number(bid * unit),
            ask=number(ask * unit),
            change_percentage=number(((last - closed) / closed * 100).quantize(CENT)) if closed else number(ZERO),
            average_volume=0 if before is None else before.volume,
            last_volume=0 if printed is None else int(printed.lots * LOT),
            trade_date=0 if printed is None else (printed.time_ns - self._delay_ns) // MS,
            prevclose=closed,
            week_52_high=number(max(last, closed)),
            week_52_low=number(min(last, closed)),
            bidsize=Decimal(max(bid_lots > 0, int(bid_lots * LOT) // size)),
            bidexch="Q",
            bid_date=dated,
            asksize=Decimal(max(1, int(ask_lots * LOT) // size)),
            askexch="Q",
            ask_date=dated,
            root_symbols=name if stock is not None and stock.options else msgspec.UNSET,
        )

    def _contract(self, shown: wire.Quote, contract: Contract, now_ns: int, *, greeks: bool) -> None:
        """What an option's quote says besides."""
        tick = self._market.latest(shown.symbol, now_ns)
        shown.description = f"{contract.underlying} {contract.expiry:%b %d %Y} ${contract.strike:.2f} {contract.right.value.title()}"
        shown.underlying, shown.strike, shown.contract_size = contract.underlying, number(contract.strike), 100
        shown.expiration_date, shown.option_type, shown.root_symbol = contract.expiry.isoformat(), contract.right.value, contract.underlying
        shown.expiration_type = "standard" if 15 <= contract.expiry.day <= 21 else "weeklys"
        shown.open_interest = mix(seed_of(0, shown.symbol), now_ns // DAY_NS) % 5000
        if greeks:
            known = self._chains.market_of(contract).value(tick.number)
            one = {name: getattr(known.greeks, name) for name in ("delta", "gamma", "theta", "vega", "rho")}
            shown.greeks = None
            if tick.bids:
                iv = known.volatility
                shown.greeks = wire.Greeks(**one, phi=number(ZERO), bid_iv=iv, mid_iv=iv, ask_iv=iv, smv_vol=iv)
                shown.greeks.updated_at = wall(now_ns).replace("T", " ")

    def _day(self, name: str, now_ns: int) -> Bar | None:
        if name not in self._universe.stocks:
            return None
        start_ns = new_york_ns(today(now_ns), 0)
        return self._market.bar(name, start_ns, self._market.minutes(name, start_ns, now_ns // MINUTE_NS * MINUTE_NS))

    def _before(self, name: str, now_ns: int) -> Bar | None:
        """The last minute of the session before."""
        return self._market.last_bar(name, new_york_ns(today(now_ns), 0))

    # -- options ---------------------------------------------------------------------------------------------------------------------------------

    def chain(self, form: Form, now_ns: int) -> Response:
        day = _day_of(form, "expiration")
        greeks = form.get("greeks", "").lower() == "true"
        found = [self.quote(occ(one), now_ns, greeks=greeks) for one in self._contracts(form, now_ns) if one.expiry == day]
        return answer(container("options", "option", found, word=False))

    def strikes(self, form: Form, now_ns: int) -> Response:
        day = _day_of(form, "expiration")
        found = sorted({one.strike for one in self._contracts(form, now_ns) if one.expiry == day})
        return answer(container("strikes", "strike", map(number, found), word=False))

    def expirations(self, form: Form, now_ns: int) -> Response:
        """Days alone, or with what they are asked for."""
        contracts = self._contracts(form, now_ns)
        days = sorted({one.expiry for one in contracts})
        strikes, size, kind = (form.get(name, "").lower() == "true" for name in ("strikes", "contractSize", "expirationType"))
        if not (strikes or size or kind):
            return answer(container("expirations", "date", [day.isoformat() for day in days], word=False))
        rows = []
        for day in days:
            row: dict[str, object] = {"date": day.isoformat()}
            if size:
                row["contract_size"] = 100
            if kind:
                row["expiration_type"] = "standard" if 15 <= day.day <= 21 else "weeklys"
            if strikes:
                row["strikes"] = {"strike": sorted({number(one.strike) for one in contracts if one.expiry == day})}
            rows.append(row)
        return answer(container("expirations", "expiration", rows, word=False))

    def option_symbols(self, form: Form, now_ns: int) -> Response:
        underlying = form.get("underlying", "")
        found = [occ(one) for one in self._contracts({"symbol": underlying}, now_ns)]
        return answer({"symbols": [{"rootSymbol": underlying, "options": found}] if found else None})

    def _contracts(self, form: Form, now_ns: int) -> list[Contract]:
        """What is listed on a stock and not over."""
        name = form.get("symbol", "")
        if name not in self._chains.underlyings:
            return []
        return [
            one
            for one in sorted(self._chains.contracts(name, today(now_ns)), key=lambda one: (one.expiry, one.strike, one.right is Right.PUT))
            if now_ns < self._chains.expires_ns(one)
        ]

    # -- the past --------------------------------------------------------------------------------------------------------------------------------

    def history(self, form: Form, now_ns: int) -> Response:
        name, interval = self._listed(form, now_ns), form.get("interval", "daily")
        if interval not in ("daily", "weekly", "monthly"):
            raise parameter("interval", "is not valid.")
        if name is None:
            return answer({"history": None})
        last = _day_of(form, "end") if "end" in form else today(now_ns)
        day = _day_of(form, "start") if "start" in form else last - timedelta(days=365)
        groups: dict[date, list[int]] = {}
        while day <= min(last, today(now_ns)):
            start_ns = new_york_ns(day, 0)
            first = {"daily": day, "weekly": day - timedelta(days=day.weekday()), "monthly": day.replace(day=1)}[interval]
            end_ns = min(new_york_ns(day + timedelta(days=1), 0), now_ns // MINUTE_NS * MINUTE_NS)
            groups.setdefault(first, []).extend(self._market.minutes(name, start_ns, end_ns))
            day += timedelta(days=1)
        unit, rows = self._market.listings[name].unit, []
        for first, minutes in groups.items():
            bar = self._market.bar(name, new_york_ns(first, 0), minutes)
            if bar is not None:
                o, h, l, c = (number(units * unit) for units in (bar.open, bar.high, bar.low, bar.close))  # noqa: E741
                rows.append(wire.Day(date=first.isoformat(), open=o, high=h, low=l, close=c, volume=bar.volume))
        return answer(container("history", "day", rows, word=False))

    def timesales(self, form: Form, now_ns: int) -> Response:
        name, interval = self._listed(form, now_ns), form.get("interval", "tick")
        if interval not in _REACH_DAYS:
            raise parameter("interval", "is not valid.")
        midnight_ns = new_york_ns(today(now_ns), 0)
        start_ns = instant(form["start"], "start") if "start" in form else midnight_ns
        end_ns = min(instant(form["end"], "end") if "end" in form else now_ns, now_ns)
        earliest = today(now_ns) - timedelta(days=_REACH_DAYS[interval] * 7 // 5 + 1)
        if start_ns < new_york_ns(earliest, 0):
            raise parameter("start", f"must be on or after {earliest.isoformat()}.")
        if name is None:
            return answer({"series": None})
        regular = form.get("session_filter", "all") == "open"
        rows = self._trades(name, start_ns, end_ns) if interval == "tick" else self._bars(name, start_ns, end_ns, _STEPS[interval], regular=regular)
        return answer(container("series", "data", rows, word=False))

    def _trades(self, name: str, start_ns: int, end_ns: int) -> Iterable[wire.TimeSale]:
        unit = self._market.listings[name].unit
        for one in self._market.prints(name, start_ns, end_ns):
            price = number(one.price * unit)
            yield _sale(one.time_ns, price, price, price, price, int(one.lots * LOT), price)

    def _bars(self, name: str, start_ns: int, end_ns: int, step: int, *, regular: bool) -> Iterable[wire.TimeSale]:
        """Whole intervals, by their start."""
        unit, groups = self._market.listings[name].unit, dict[int, list[int]]()
        for minute in self._market.minutes(name, start_ns, end_ns // MINUTE_NS * MINUTE_NS):
            if not regular or self._sessions.is_open(minute * MINUTE_NS):
                groups.setdefault(minute // step * step, []).append(minute)
        for first, minutes in groups.items():
            bar = self._market.bar(name, first * MINUTE_NS, minutes)
            if bar is not None and (first + step) * MINUTE_NS <= end_ns:
                o, h, l, c = (number(units * unit) for units in (bar.open, bar.high, bar.low, bar.close))  # noqa: E741
                vwap = number((bar.vwap * unit).quantize(Decimal("0.0001"), ROUND_HALF_EVEN))
                yield _sale(bar.start_ns, o, h, l, c, bar.volume, vwap)

    def _listed(self, form: Form, now_ns: int) -> str | None:
        name = form.get("symbol", "")
        return name if self.quote(name, now_ns) is not None else None

    # -- when ------------------------------------------------------------------------------------------------------------------------------------

    def clock(self, now_ns: int) -> Response:
        session = self._sessions.at(now_ns)
        changes: list[tuple[int, str]] = []
        if session is not None:
            marks = (session.early_ns, session.open_ns, session.close_ns, session.late_ns)
            changes = list(zip(marks, ("premarket", "open", "postmarket", "closed"), strict=True))
        state = next((name for at_ns, name in reversed(changes) if at_ns <= now_ns), "closed")
        following = next(((at_ns, name) for at_ns, name in changes if at_ns > now_ns), None)
        if following is None:
            following = (self._sessions.next(now_ns).early_ns, "premarket")
        text = (
            "Market is closed" if session is None or state == "closed" else f"Market is open from {_hm(session.open_ns)} to {_hm(session.close_ns)}"
        )
        shown = wire.Clock(
            date=today(now_ns).isoformat(),
            description=text,
            state=state,
            timestamp=now_ns // SECOND_NS,
            next_change=_edge(today(now_ns), following[0]),
            next_state=following[1],
        )
        return answer({"clock": shown})

    def calendar(self, form: Form, now_ns: int) -> Response:
        month, year = form.get("month", f"{today(now_ns).month}"), form.get("year", f"{today(now_ns).year}")
        if not (month.isdecimal() and year.isdecimal() and 1 <= int(month) <= 12 and 2000 <= int(year) <= 2100):
            raise parameter("month", "is not valid.")
        day, days = date(int(year), int(month), 1), []
        while day.month == int(month):
            days.append(_calendar_day(day, self._sessions.on(day)))
            day += timedelta(days=1)
        return answer({"calendar": {"month": int(month), "year": int(year), "days": {"day": days}}})

    # -- what there is ---------------------------------------------------------------------------------------------------------------------------

    def easy_to_borrow(self) -> Response:
        return answer(container("securities", "security", [self._security(row.symbol) for row in self._universe.stocks.values() if row.easy]))

    def search(self, form: Form) -> Response:
        """By a part of the name or of the symbol."""
        wanted = form.get("q", "").lower()
        exchanges, kinds = form.get("exchanges", ""), form.get("types", "")
        found = [
            self._security(row.symbol)
            for row in self._universe.stocks.values()
            if (wanted in row.name.lower() or wanted in row.symbol.lower())
            and (not exchanges or row.exch in exchanges.split(","))
            and (not kinds or row.kind in kinds.split(","))
        ]
        return answer(container("securities", "security", found))

    def _security(self, symbol: str) -> wire.Security:
        row = self._universe.stocks[symbol]
        return wire.Security(symbol=row.symbol, exchange=row.exch, type=row.kind, description=row.name)


def _sale(at_ns: int, o: Decimal, h: Decimal, l: Decimal, c: Decimal, volume: int, vwap: Decimal) -> wire.TimeSale:  # noqa: E741
    price = number(((h + l) / 2).quantize(Decimal("0.0001")))
    return wire.TimeSale(time=wall(at_ns), timestamp=at_ns // SECOND_NS, price=price, open=o, high=h, low=l, close=c, volume=volume, vwap=vwap)


def _day_of(form: Form, name: str) -> date:
    try:
        return date.fromisoformat(form.get(name, ""))
    except ValueError:
        raise parameter(name, "is not a valid date.") from None


def _hm(ns: int) -> str:
    return wall(ns)[11:16]


def _edge(day: date, ns: int) -> str:
    """A time of this day; its end is 24:00."""
    return "24:00" if ns == new_york_ns(day + timedelta(days=1), 0) else _hm(ns)


def _calendar_day(day: date, session: Session | None) -> wire.CalendarDay:
    """A day that never closes is written 00:00 to 24:00, with nothing before and after."""
    if session is None:
        return wire.CalendarDay(date=day.isoformat(), status="closed", description="Market is closed")
    return wire.CalendarDay(
        date=day.isoformat(),
        status="open",
        description="Market is open",
        premarket=wire.Span(start=_edge(day, session.early_ns), end=_edge(day, session.open_ns)),
        open=wire.Span(start=_edge(day, session.open_ns), end=_edge(day, session.close_ns)),
        postmarket=wire.Span(start=_edge(day, session.close_ns), end=_edge(day, session.late_ns)),
    )
