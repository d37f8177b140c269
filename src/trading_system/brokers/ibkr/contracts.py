"""Our names of instruments and IB's words for contracts, both ways. Both transports use these.

Stocks, funds and bonds in dollars, options on them, futures in dollars, pairs quoted in dollars, coins. What else an account may hold has a name here
and cannot be traded: pairs that are quoted in another money, futures on coins and those priced in cents.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import msgspec

from trading_system.domain.bond import is_cusip
from trading_system.domain.errors import BadRequest, ProtocolError
from trading_system.domain.fund import is_fund
from trading_system.domain.future import Future, future_name, is_future, parse_future
from trading_system.domain.ids import InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import plain
from trading_system.domain.option import Contract, Right, is_option, occ, parse_occ, underlying_of
from trading_system.domain.search import Match

HOME = "USD"
COINS = frozenset({"BTC", "ETH", "LTC", "BCH", "SOL", "ADA", "XRP", "DOGE", "LINK", "AVAX", "UNI", "AAVE", "MATIC"})
MONEYS = frozenset({"EUR", "GBP", "AUD", "NZD"})  # whose pairs are quoted in dollars
SEC_TYPES: Mapping[AssetClass, str] = {
    AssetClass.EQUITY: "STK",
    AssetClass.OPTION: "OPT",
    AssetClass.FOREX: "CASH",
    AssetClass.CRYPTO: "CRYPTO",
    AssetClass.LISTED_FUTURE: "FUT",
    AssetClass.BOND: "BOND",
    AssetClass.FUND: "FUND",
}
EXCHANGES: Mapping[str, str] = {"STK": "SMART", "OPT": "SMART", "BOND": "SMART", "FUND": "FUNDSERV", "CASH": "IDEALPRO", "CRYPTO": "PAXOS"}
_CLASSES = {sec_type: asset_class for asset_class, sec_type in SEC_TYPES.items()}
_MILLE = Decimal(1000)
# By exchange and IB's symbol: what a price is per. Where one symbol names several contracts (SI) the multiplier says which is meant.
# Source: interactivebrokers.com, Contract Information Center
_FUTURES: Mapping[str, Mapping[str, str]] = {
    "CME": {"ES": "50", "MES": "5", "NQ": "20", "MNQ": "2", "RTY": "50", "M2K": "5", "EUR": "125000", "GBP": "62500", "AUD": "100000"},
    "CBOT": {"YM": "5", "MYM": "0.5", "ZB": "1000", "ZN": "1000", "ZF": "1000", "ZT": "2000"},
    "NYMEX": {"CL": "1000", "MCL": "100", "NG": "10000", "RB": "42000", "HO": "42000"},
    "COMEX": {"GC": "100", "MGC": "10", "SI": "5000", "HG": "25000"},
    "CFE": {"VIX": "1000"},
}
FUTURES = {root: (exchange, multiplier) for exchange, roots in _FUTURES.items() for root, multiplier in roots.items()}


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """A contract in the words that IB finds it by."""

    symbol: str
    sec_type: str
    exchange: str
    currency: str = HOME
    last_trade: str = ""
    strike: Decimal = Decimal(0)
    right: str = ""
    multiplier: str = ""


def asset_class_of(sec_type: str) -> AssetClass | None:
    """None: a kind that this desk does not trade."""
    return _CLASSES.get(sec_type)


def encode_instrument(instrument: InstrumentID) -> Words:
    """The words for an instrument.

    >>> encode_instrument(InstrumentID("BRK.B")).symbol
    'BRK B'

    Raises: BadRequest: a pair that is not quoted in dollars, or of things IB does not have; a future that is not in the table.
    """
    if is_future(instrument):
        return _encode_future(parse_future(instrument))
    base, slash, currency = instrument.partition("/")
    if slash:
        if currency != HOME or base not in COINS | MONEYS:
            raise unknown(instrument)
        sec_type = "CRYPTO" if base in COINS else "CASH"
        return Words(symbol=base, sec_type=sec_type, exchange=EXCHANGES[sec_type])
    if is_option(instrument):
        contract = parse_occ(instrument)
        return Words(
            symbol=contract.underlying,
            sec_type="OPT",
            exchange="SMART",
            last_trade=f"{contract.expiry:%Y%m%d}",
            strike=contract.strike,
            right=contract.right.letter,
            multiplier="100",
        )
    if is_cusip(instrument):
        return Words(symbol=instrument, sec_type="BOND", exchange="SMART")
    if is_fund(instrument):
        return Words(symbol=instrument, sec_type="FUND", exchange=EXCHANGES["FUND"])
    return Words(symbol=instrument.replace(".", " "), sec_type="STK", exchange="SMART")


def _encode_future(future: Future) -> Words:
    if future.root not in FUTURES or future.currency != HOME:
        raise unknown(future_name(future))
    exchange, multiplier = FUTURES[future.root]
    return Words(symbol=future.root, sec_type="FUT", exchange=exchange, last_trade=f"{future.expiry:%Y%m%d}", multiplier=multiplier)


def units_of_future(instrument: InstrumentID) -> Decimal | None:
    """What a price of a future is per; None: it is none, or none that is in the table.

    >>> units_of_future(InstrumentID("ES-18DEC26/USD")), units_of_future(InstrumentID("AAPL"))
    (Decimal('50'), None)
    """
    if not is_future(instrument) or (root := parse_future(instrument).root) not in FUTURES:
        return None
    return Decimal(FUTURES[root][1])


def futures_of(root: str) -> Words:
    """All futures of one name, in words that fit several contracts.

    >>> futures_of("SI").multiplier
    '5000'
    """
    exchange, multiplier = FUTURES[root]
    return Words(symbol=root, sec_type="FUT", exchange=exchange, multiplier=multiplier)


def decode_instrument(
    sec_type: str,
    symbol: str,
    currency: str,
    local_symbol: str,
    last_trade: str = "",
    right: str = "",
    strike: Decimal = Decimal(0),
    multiplier: str = "",
) -> InstrumentID:
    """Our name of a contract; what cannot be traded here is called by IB's own name and its kind.

    >>> decode_instrument("OPT", "SPY", "USD", "SPY   250117C00440000", "20250117", "C", Decimal(440))
    'SPY250117C00440000'
    >>> decode_instrument("FUT", "ES", "USD", "ESZ6", "20261218", multiplier="50")
    'ES-18DEC26/USD'
    >>> decode_instrument("BOND", "912810TM0", "USD", "IBCID1"), decode_instrument("BOND", "US-T", "USD", "IBCID1")
    ('912810TM0', 'IBCID1.BOND')

    Raises: ProtocolError: an option without a day or a right, a future without a day.
    """
    match sec_type:
        case "STK" if currency == HOME:
            return InstrumentID(symbol.replace(" ", "."))
        case "FUND" if currency == HOME and is_fund(symbol):
            return InstrumentID(symbol)
        case "BOND" if currency == HOME and is_cusip(symbol):
            return InstrumentID(symbol)
        case "CASH" | "CRYPTO":
            return InstrumentID(f"{symbol}/{currency}")
        case "OPT" if currency == HOME:
            try:
                side = {"C": Right.CALL, "P": Right.PUT}[right[:1]]
                return occ(Contract(underlying=InstrumentID(symbol), expiry=_day(last_trade), right=side, strike=strike))
            except (ValueError, KeyError):
                raise ProtocolError("an option that cannot be read", f"{symbol} {last_trade} {right} {plain(strike)}".encode()) from None
        case "FUT" if currency == HOME and multiplier and multiplier == FUTURES.get(symbol, ("", ""))[1]:
            try:
                return future_name(Future(root=symbol, expiry=_day(last_trade), currency=currency))
            except ValueError:
                raise ProtocolError("a future that cannot be read", f"{symbol} {last_trade}".encode()) from None
    return InstrumentID(f"{(local_symbol or symbol).replace(' ', '.')}.{sec_type}")


def _day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def decode_match(symbol: str, title: str) -> Match:
    """A stock or fund in dollars."""
    return Match(instrument=decode_instrument("STK", symbol, HOME, symbol), asset_class=AssetClass.EQUITY, symbol=symbol, title=title)


def pairs_like(text: str) -> list[Match]:
    """Coins and pairs of moneys, which IB's own search leaves out.

    >>> [one.instrument for one in pairs_like("bt")]
    ['BTC/USD']
    """
    kinds = {"CRYPTO": COINS, "CASH": MONEYS}
    return [
        Match(instrument=decode_instrument(kind, base, HOME, ""), asset_class=_CLASSES[kind], symbol=spelling(kind, base, HOME, InstrumentID("")))
        for kind, bases in kinds.items()
        for base in sorted(bases)
        if f"{base}/{HOME}".startswith(text.upper())
    ]


def spelling(sec_type: str, symbol: str, currency: str, instrument: InstrumentID) -> str:
    """How IB writes it, as people know it: AAPL, BRK B, EUR.USD. An option and a future are called as we do: IB's own names say no day."""
    if sec_type in ("CASH", "CRYPTO"):
        return f"{symbol}.{currency}"
    return instrument if sec_type in ("OPT", "FUT") else symbol


def unknown(instrument: InstrumentID) -> BadRequest:
    if is_option(instrument):
        text = f"Interactive Brokers has no option {instrument} that this desk can trade"
        return BadRequest(f"{text}. `trading chain {underlying_of(instrument)}` lists those it has.")
    if is_future(instrument):
        roots = ", ".join(sorted(FUTURES))
        text = f"Interactive Brokers has no future {instrument} that this desk can trade: write ES-18DEC26/USD, with the last day of trading"
        return BadRequest(f"{text}. `trading search {parse_future(instrument).root}` lists the days; there are {roots}.")
    return BadRequest(
        f"Interactive Brokers has no {instrument} that this desk can trade. Stocks are written AAPL, share classes BRK.B, pairs EUR/USD, "
        "coins BTC/USD, bonds by their CUSIP, mutual funds VFIAX; pairs are those quoted in dollars."
    )
