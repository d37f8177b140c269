"""Option contracts and their market data, as Alpaca shows them: the contracts list, chains, snapshots, latest and historic prices.

Both feeds show the same market here. At Alpaca the indicative one is of delayed trades and changed quotes.
Sources: OpenAPI of 2026-08-13 (GET /v2/options/contracts, /v1beta1/options), docs.alpaca.markets/docs/options-trading
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

import msgspec

from trading_system.brokers.alpaca import facts, wire
from trading_system.brokers.alpaca.twin.data import MarketData, Shower
from trading_system.brokers.alpaca.twin.forms import (
    Place,
    Refusal,
    answer,
    bad_parameter,
    choice,
    from_token,
    number,
    parse_day,
    parse_time,
    to_token,
)
from trading_system.brokers.alpaca.twin.universe import Universe, option
from trading_system.domain.money import plain
from trading_system.domain.option import Contract, Right, occ
from trading_system.sim.market import TICK_NS, Market, Print, Tick, mix, seed_of
from trading_system.sim.options import MULTIPLIER, Chains
from trading_system.sim.pricing import CENT
from trading_system.sim.sessions import Sessions, iso, new_york_day
from trading_system.transport.message import Response

KINDS = ("quotes", "trades")
SYMBOLS_MAX = 100  # of one question
_EXCHANGE = "C"


class OptionShower(Shower):
    """Entries of one contract: an exchange on either side, conditions as one letter, no trade id and no tape."""

    def __init__(self, market: Market, symbol: str) -> None:
        super().__init__(market, symbol, crypto=False)

    def quote(self, tick: Tick) -> wire.Quote:
        bid, bid_lots = tick.bids[0] if tick.bids else (0, 0)
        ask, ask_lots = tick.asks[0]
        return wire.Quote(
            t=iso(tick.time_ns),
            bp=self.price(bid),
            bs=self.size(bid_lots),
            ap=self.price(ask),
            as_=self.size(ask_lots),
            bx=_EXCHANGE,
            ax=_EXCHANGE,
            c="A",
        )

    def trade(self, printed: Print) -> wire.Trade:
        return wire.Trade(t=iso(printed.time_ns), p=self.price(printed.price), s=self.size(printed.lots), x=_EXCHANGE, c="I")


class OptionDesk(MarketData):
    """Everything about contracts that is not an order. opra: whether the plan includes the OPRA feed."""

    minutes_per_page = 5_000  # each of them is priced

    def __init__(self, universe: Universe, market: Market, hours: str, *, opra: bool) -> None:
        super().__init__(universe, market, sip=opra)
        sessions = Sessions(hours, extended=False)
        listed = (asset.symbol for asset in universe.assets.values() if "has_options" in (asset.attributes or ()))
        self.chains = Chains(market, dict.fromkeys(listed, sessions))
        self.sessions = sessions
        self._opra = opra

    def open(self, name: str, now_ns: int) -> Contract | None:
        """A contract by symbol or id, made known to market and universe; expired ones included."""
        known = self._universe.options.get(name)
        contract = self.chains.find(name if known is None else known.symbol, now_ns)
        if contract is not None:
            self.know(contract)
        return contract

    def know(self, contract: Contract) -> wire.Asset:
        """Open a contract's market; its asset."""
        symbol = occ(contract)
        if symbol not in self._universe.options:
            asset = option(symbol)
            self._universe.options.update({symbol: asset, asset.id: asset})
            self.chains.market_of(contract)
            self.showers[symbol] = OptionShower(self._market, symbol)
        return self._universe.options[symbol]

    def over(self, contract: Contract, now_ns: int) -> bool:
        return now_ns >= self.chains.expires_ns(contract)

    # -- contracts -------------------------------------------------------------------------------------------------------------------------------

    def contracts(self, query: Mapping[str, str], now_ns: int) -> Response:
        """Sorted by symbol. Without a filter on expiry only what ends before the coming weekend."""
        day = new_york_day(now_ns)
        active = choice(query, "status", "active", ("active", "inactive")) == "active"
        limit, shows = number(query, "limit", 100, facts.CONTRACTS_PAGE_MAX), query.get("show_deliverables", "").lower() == "true"
        dated = any(query.get(name) for name in ("expiration_date", "expiration_date_gte", "expiration_date_lte"))
        weekend = day + timedelta(days=(5 - day.weekday()) % 7 or 7)
        matches = _filter(query)
        named = set(filter(None, query.get("underlying_symbols", "").split(","))) or set(self.chains.underlyings)
        names = named & set(self.chains.underlyings)
        if query.get("style") == "european" or query.get("ppind", "").lower() == "false":  # every class is American and in the Penny Program
            names = set()
        found = (
            one
            for name in names
            for one in (*self.chains.contracts(name, day), *(() if active else self.chains.expired(name, day)))
            if self.over(one, now_ns) is not active and matches(one) and (dated or not active or one.expiry < weekend)
        )
        page, token = _page(found, query, limit)
        return answer(wire.OptionContracts(option_contracts=[self._contract(one, now_ns, shows=shows) for one in page], next_page_token=token))

    def contract(self, name: str, now_ns: int) -> Response:
        found = self.open(name, now_ns)
        if found is None:
            raise Refusal(404, 40410000, f"option contract {name} not found")
        return answer(self._contract(found, now_ns, shows=True))

    def _contract(self, contract: Contract, now_ns: int, *, shows: bool) -> wire.OptionContract:
        symbol, over = occ(contract), self.over(contract, now_ns)
        asset, stock = self.know(contract), self._universe.assets[contract.underlying]
        before = self._session_before(min(new_york_day(now_ns), contract.expiry))
        session = self.sessions.on(before)
        assert session is not None
        last = self.chains.market_of(contract).value(session.close_ns // TICK_NS - 1)
        return wire.OptionContract(
            id=asset.id,
            symbol=symbol,
            name=f"{contract.underlying} {contract.expiry:%b %d %Y} {plain(contract.strike)} {contract.right.value.title()}",
            status="inactive" if over else "active",
            tradable=not over,
            expiration_date=contract.expiry.isoformat(),
            root_symbol=contract.underlying,
            underlying_symbol=contract.underlying,
            underlying_asset_id=stock.id,
            type=contract.right.value,
            style="american",
            strike_price=plain(contract.strike),
            multiplier=plain(MULTIPLIER),
            size=plain(MULTIPLIER),
            open_interest=str(mix(seed_of(0, symbol), before.toordinal()) % 5000),
            open_interest_date=before.isoformat(),
            close_price=plain(last.price.quantize(CENT)),
            close_price_date=before.isoformat(),
            deliverables=[_deliverable(stock)] if shows else None,
        )

    def _session_before(self, day: date) -> date:
        day -= timedelta(days=1)
        while self.sessions.on(day) is None:
            day -= timedelta(days=1)
        return day

    # -- snapshots -------------------------------------------------------------------------------------------------------------------------------

    def snapshots(self, query: Mapping[str, str], now_ns: int) -> Response:
        """Of the contracts that are named."""
        self._feed(query, now_ns, crypto=False, latest=True)
        wanted = [self.open(symbol, now_ns) for symbol in self._symbols(query, now_ns, crypto=False)]
        return self._snapshots((one for one in wanted if one is not None), query, now_ns)

    def chain(self, underlying: str, query: Mapping[str, str], now_ns: int) -> Response:
        """Of every contract on a stock that the filters let through. A stock without options has an empty chain."""
        self._feed(query, now_ns, crypto=False, latest=True)
        matches = _filter(query)
        listed = self.chains.contracts(underlying, new_york_day(now_ns)) if underlying in self.chains.underlyings else ()
        return self._snapshots((one for one in listed if matches(one) and not self.over(one, now_ns)), query, now_ns)

    def _snapshots(self, contracts: Iterable[Contract], query: Mapping[str, str], now_ns: int) -> Response:
        since_ns = parse_time(query["updated_since"], "updated_since") if query.get("updated_since") else 0
        limit = number(query, "limit", 100, facts.CHAIN_PAGE_MAX)
        page, token = _page(contracts, query, limit)
        for one in page:
            self.know(one)
        rows: dict[str, wire.OptionSnapshot] = {
            occ(one): self._snapshot(one, now_ns) for one in page if self._market.latest(occ(one), now_ns).time_ns >= since_ns
        }
        return answer(wire.OptionSnapshots(snapshots=rows, next_page_token=token))

    def _snapshot(self, contract: Contract, now_ns: int) -> wire.OptionSnapshot:
        symbol = occ(contract)
        shower, tick, printed = self.showers[symbol], self._market.latest(symbol, now_ns), self._market.last_print(symbol, now_ns)
        known = self.chains.market_of(contract).value(tick.number)
        shown = wire.OptionSnapshot(latestQuote=shower.quote(tick), latestTrade=None if printed is None else shower.trade(printed))
        if tick.bids:
            shown.impliedVolatility = known.volatility
            shown.greeks = wire.OptionGreeks(**msgspec.structs.asdict(known.greeks))
        return shown

    # -- what is asked ---------------------------------------------------------------------------------------------------------------------------

    def _symbols(self, query: Mapping[str, str], now_ns: int, *, crypto: bool) -> list[str]:
        names = [name for name in query.get("symbols", "").split(",") if name]
        if not names:
            raise Refusal(400, None, "symbols is required")
        if len(names) > SYMBOLS_MAX:
            raise Refusal(400, None, f"too many symbols: at most {SYMBOLS_MAX}")
        found = (self.open(name, now_ns) for name in names)
        return sorted({occ(contract) for contract in found if contract is not None})

    def _feed(self, query: Mapping[str, str], now_ns: int, *, crypto: bool, latest: bool = False, end_ns: int = 0) -> None:
        """Who names no feed gets what the plan has; without the plan for it OPRA is refused."""
        feed = query.get("feed", "")
        if feed not in ("", "opra", "indicative"):
            raise Refusal(400, None, f"invalid feed: {feed}")
        if feed == "opra" and not self._opra:
            raise Refusal(403, None, "OPRA agreement is not signed")


def _page(contracts: Iterable[Contract], query: Mapping[str, str], limit: int) -> tuple[Sequence[Contract], str | None]:
    """One page in order of symbols, and the token of the next."""
    after = from_token(query["page_token"]).symbol if query.get("page_token") else ""
    rest = sorted((one for one in contracts if occ(one) > after), key=occ)
    page = rest[:limit]
    return page, to_token(Place(occ(page[-1]), 0)) if len(rest) > limit else None


def _filter(query: Mapping[str, str]) -> Callable[[Contract], bool]:
    right = choice(query, "type", "", ("", *(right.value for right in Right)))
    root = query.get("root_symbol", "")
    exact = parse_day(query["expiration_date"], "expiration_date") if query.get("expiration_date") else None
    first = parse_day(query["expiration_date_gte"], "expiration_date_gte") if query.get("expiration_date_gte") else date.min
    last = parse_day(query["expiration_date_lte"], "expiration_date_lte") if query.get("expiration_date_lte") else date.max
    low, high = _strike(query, "strike_price_gte"), _strike(query, "strike_price_lte")

    def matches(one: Contract) -> bool:
        return (
            right in ("", one.right.value)
            and root in ("", one.underlying)
            and exact in (None, one.expiry)
            and first <= one.expiry <= last
            and (low is None or one.strike >= low)
            and (high is None or one.strike <= high)
        )

    return matches


def _strike(query: Mapping[str, str], name: str) -> Decimal | None:
    if not query.get(name):
        return None
    try:
        return msgspec.convert(query[name], Decimal, strict=False)
    except msgspec.ValidationError as error:
        raise bad_parameter(name) from error


def _deliverable(stock: wire.Asset) -> wire.OptionDeliverable:
    return wire.OptionDeliverable(
        type="equity",
        symbol=stock.symbol,
        asset_id=stock.id,
        amount=plain(MULTIPLIER),
        allocation_percentage="100",
        settlement_type="T+1",
        settlement_method="CCC",
        delayed_settlement=False,
    )
