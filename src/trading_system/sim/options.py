"""Options: the market of a contract, made of its underlying's own price at the same instant, and the chains on stocks: what is listed on a day.

Pure as the market below: the same question has the same answer for ever. Quotes, trades, volatility and greeks come from one model (sim/pricing.py),
so a chain, a quote and a fill cannot disagree. Those on stocks expire when their day's session closes, at 16:00 New York in regular hours.
Not modelled: a split of the stock, which would change its contracts too.
"""

import calendar
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache

from trading_system.domain.fix import Side
from trading_system.domain.ids import InstrumentID
from trading_system.domain.option import Contract, Right, occ, option_name, parse_occ
from trading_system.sim.market import LOT, TICK_NS, TICKS, Listing, Market, Minute, Print, Tick, mix, seed_of
from trading_system.sim.pricing import CENT, STOCKS, Grid, Value, quote, value
from trading_system.sim.sessions import MINUTE_NS, Sessions, new_york_day, new_york_ns

MULTIPLIER = Decimal(100)  # shares that one contract is about
WEEKLIES, MONTHLIES = 4, 4  # Fridays ahead, and third Fridays
_STEPS = ((Decimal(25), Decimal("0.5")), (Decimal(100), Decimal(1)), (Decimal(250), Decimal("2.5")))
_WIDEST = Decimal(5)
_NEAR, _FAR, _COARSE = 12, 6, 4  # strikes on each side: 12 steps, and 6 of four steps
_LEVELS = 3
_SIZE_TICKS = 20  # sizes stand for five seconds
_RARITY = 16  # one of so many trades of the stock comes with one of the contract


class OptionMarket:
    """One contract's market."""

    def __init__(self, market: Market, contract: Contract, expires_ns: int, grid: Grid = STOCKS) -> None:
        self._market = market
        self._contract = contract
        self._grid = grid
        self._lots = int(grid.size / LOT)
        self._stock = market.listings[contract.underlying]
        self._seed = seed_of(0, option_name(contract))
        self._expires_ns = expires_ns
        self._last = expires_ns // TICK_NS - 1
        self._valued: tuple[int, Value] | None = None

    def spot(self, number: int) -> Decimal:
        """Halfway between the stock's bid and offer."""
        tick = self._market.tick(self._contract.underlying, min(number, self._last))
        return (tick.bids[0][0] + tick.asks[0][0]) * self._market.listings[self._contract.underlying].unit / 2

    def value(self, number: int) -> Value:
        """What it is worth in one tick; after the last one, what it pays."""
        if self._valued is None or self._valued[0] != number:
            left_ns = 0 if number > self._last else self._expires_ns - number * TICK_NS
            self._valued = number, value(self._contract, self.spot(number), self._stock.volatility, left_ns)
        return self._valued[1]

    def tick(self, number: int) -> Tick:
        """After expiry it stays at the last one."""
        number = min(number, self._last)
        bid, ask = quote(self.value(number).price, self._grid)
        bits = mix(self._seed, number // _SIZE_TICKS)
        bids, asks = [], []
        for _ in range(_LEVELS):
            if bid > 0:
                bids.append((self._grid.units(bid), (1 + (bits & 31)) * self._lots))
            asks.append((self._grid.units(ask), (1 + (bits >> 5 & 31)) * self._lots))
            bid, ask = self._grid.down(bid), self._grid.up(ask)
            bits >>= 10
        printed = self._market.tick(self._contract.underlying, number).printed
        return Tick(number, tuple(bids), tuple(asks), None if printed is None else self._print(printed, bids, asks))

    def _print(self, printed: Print, bids: Sequence[tuple[int, int]], asks: Sequence[tuple[int, int]]) -> Print | None:
        """The trade that comes with one of the stock, if one does."""
        bits = mix(self._seed, printed.trade_id)
        if bits % _RARITY:
            return None
        side = Side.SELL if bids and bits >> 8 & 1 else Side.BUY
        touch = bids[0] if side is Side.SELL else asks[0]
        return Print(printed.trade_id, printed.time_ns, touch[0], min(touch[1], (1 + (bits >> 16) % 8) * self._lots), side)

    def prints(self, number: int) -> Sequence[Print]:
        found = []
        for printed in self._market.prints(self._contract.underlying, number * MINUTE_NS, min((number + 1) * MINUTE_NS, self._expires_ns)):
            if mix(self._seed, printed.trade_id) % _RARITY == 0:
                done = self.tick(printed.time_ns // TICK_NS).printed
                assert done is not None
                found.append(done)
        return found

    def minute(self, number: int) -> Minute:
        """The bar that its trades make."""
        done = self.prints(number)
        prices = [one.price for one in done] or [self._grid.units(quote(self.value(min(number * TICKS, self._last)).price, self._grid)[1])]
        volume = sum(one.lots for one in done) // self._lots
        return Minute(number, prices[0], max(prices), min(prices), prices[-1], volume, len(done), number, ((0, prices[0]),))

    def reach(self, number: int) -> tuple[int, int]:
        """From the lowest bid to the highest offer that the stock's range and the time allow; prices are monotonic in the one and the other."""
        minute, unit = self._market.minute(self._contract.underlying, number), self._market.listings[self._contract.underlying].unit
        slack = (self._stock.spread + 1) * self._stock.tick
        start_ns = self._expires_ns - number * MINUTE_NS
        worths = [
            value(self._contract, units * unit, self._stock.volatility, left_ns).price
            for units in (max(1, minute.low - slack), minute.high + slack)
            for left_ns in (start_ns, start_ns - MINUTE_NS)
        ]
        lowest, highest = quote(min(worths), self._grid)[0], quote(max(worths), self._grid)[1]
        return self._grid.units(lowest) - 1, self._grid.units(highest) + 1


class Chains:
    """The contracts on the stocks that have options, day by day."""

    def __init__(self, market: Market, hours: Mapping[str, Sessions]) -> None:
        self._market = market
        self._hours = hours  # by underlying
        self._markets: dict[InstrumentID, OptionMarket] = {}
        self._strikes = lru_cache(maxsize=4096)(self._strikes_of)
        self._contracts = lru_cache(maxsize=256)(self._contracts_of)

    @property
    def underlyings(self) -> Iterable[str]:
        return self._hours

    def relisted(self) -> None:
        """A stock was split: strikes are counted anew."""
        self._strikes.cache_clear()
        self._contracts.cache_clear()

    def contracts(self, underlying: str, day: date) -> Sequence[Contract]:
        """What is listed on a day, by expiry, strike, and call before put."""
        return self._contracts(underlying, day)

    def expiries(self, underlying: str, day: date) -> Sequence[date]:
        """The next Fridays and third Fridays, each moved to the session before where it is closed."""
        return sorted({expiry for expiry, _ in self._listed(underlying, day)})

    def find(self, symbol: str, now_ns: int) -> Contract | None:
        """A contract by its name, expired ones included."""
        try:
            contract = parse_occ(symbol)
        except ValueError:
            return None
        day = min(contract.expiry, new_york_day(now_ns))
        return contract if contract.underlying in self._hours and contract in self.contracts(contract.underlying, day) else None

    def expires_ns(self, contract: Contract) -> int:
        session = self._hours[contract.underlying].on(contract.expiry)
        assert session is not None
        return session.close_ns

    def market_of(self, contract: Contract) -> OptionMarket:
        """Its market, which is open from the first question on."""
        symbol = occ(contract)
        found = self._markets.get(symbol)
        if found is None:
            found = self._markets[symbol] = OptionMarket(self._market, contract, self.expires_ns(contract))
            hours, base = self._hours[contract.underlying], self._market.listings[contract.underlying].volatility
            listing = Listing(symbol=symbol, price=CENT, unit=CENT, volatility=base, touch=16, sessions=hours)
            self._market.derive(listing, found)
        return found

    def expired(self, underlying: str, day: date) -> Sequence[Contract]:
        """What ended in the four weeks before a day."""
        past = (day - timedelta(days=back) for back in range(28, 0, -1))
        return [
            one for ended in past if ended in self.expiries(underlying, ended) for one in self.contracts(underlying, ended) if one.expiry == ended
        ]

    # -- which -----------------------------------------------------------------------------------------------------------------------------------

    def _contracts_of(self, underlying: str, day: date) -> Sequence[Contract]:
        since: dict[date, date] = {}
        for expiry, listed in self._listed(underlying, day):
            since[expiry] = min(listed, since.get(expiry, listed))
        return tuple(
            Contract(underlying=InstrumentID(underlying), expiry=expiry, right=right, strike=strike)
            for expiry, listed in sorted(since.items())
            for strike in sorted(set().union(*(self._strikes(underlying, listed + timedelta(days=past)) for past in range((day - listed).days + 1))))
            for right in Right
        )

    def _listed(self, underlying: str, day: date) -> Iterable[tuple[date, date]]:
        """Expiry, and the day from which on it is listed."""
        friday = day + timedelta(days=(calendar.FRIDAY - day.weekday()) % 7)
        found = [(friday + timedelta(weeks=week), friday + timedelta(weeks=week - WEEKLIES, days=1)) for week in range(WEEKLIES)]
        month = day.year * 12 + day.month - 1
        if _third_friday(month) < day:
            month += 1
        found += [(_third_friday(month + ahead), _third_friday(month + ahead - MONTHLIES) + timedelta(days=1)) for ahead in range(MONTHLIES)]
        moved = ((self._session_day(underlying, nominal), listed) for nominal, listed in found)
        return [(expiry, listed) for expiry, listed in moved if expiry >= day]

    def _session_day(self, underlying: str, day: date) -> date:
        while self._hours[underlying].on(day) is None:
            day -= timedelta(days=1)
        return day

    def _strikes_of(self, underlying: str, day: date) -> frozenset[Decimal]:
        """Around the price as the day begins: close together near it, further apart beyond."""
        tick = self._market.latest(underlying, new_york_ns(day, 0))
        spot = tick.bids[0][0] * self._market.listings[underlying].unit
        step = next((step for below, step in _STEPS if spot < below), _WIDEST)
        near = {(spot / step).to_integral_value() * step + step * place for place in range(-_NEAR, _NEAR + 1)}
        wide = step * _COARSE
        far = {(spot / wide).to_integral_value() * wide + wide * place for place in range(-_FAR, _FAR + 1)}
        return frozenset(strike.normalize() + 0 for strike in near | far if strike > 0)


def _third_friday(month: int) -> date:
    """Of a month counted from the year 0."""
    first = date(month // 12, month % 12 + 1, 1)
    return first + timedelta(days=(calendar.FRIDAY - first.weekday()) % 7 + 14)
