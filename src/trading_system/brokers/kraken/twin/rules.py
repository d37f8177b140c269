"""What Kraken refuses: every check on a new order or an amend, in one place and in Kraken's words.

Sources: docs.kraken.com (AddOrder, AmendOrder, spot errors); where the docs have no text, what other connectors saw.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec

from trading_system.brokers.kraken import facts, wire
from trading_system.brokers.kraken.twin.forms import Refusal, flag, invalid, number, time_of
from trading_system.brokers.kraken.twin.universe import MONEY, Universe
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.money import ONE, ZERO, on_grid
from trading_system.sim.exchange import Exchange, Ticket
from trading_system.sim.market import LOT

TYPES = {
    "market": OrdType.MARKET,
    "limit": OrdType.LIMIT,
    "stop-loss": OrdType.STOP,
    "stop-loss-limit": OrdType.STOP_LIMIT,
    "trailing-stop": OrdType.TRAILING_STOP,
}
_SIDES = {"buy": Side.BUY, "sell": Side.SELL}
_TIMES = {"GTC": TimeInForce.GTC, "GTD": TimeInForce.GTC, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}
_FLAGS = frozenset({"post", "fcib", "fciq", "nompp", "viqc"})
_UUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{32}")
_FREE_ID = re.compile(r"[!-~]{1,18}")
_DISTANCE = re.compile(r"\+([0-9]{1,12}(?:\.[0-9]{1,10})?)(%?)")
_USERREF = re.compile(r"-?[0-9]{1,10}")
_Word = TypeVar("_Word")
SLIPPAGE_HELD = Decimal("1.01")  # a market buy holds so much more than the offer


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """An order that passed: what the exchange needs, and the words it came in."""

    ticket: Ticket
    kind: str
    price: str
    price2: str
    tif: str
    flags: tuple[str, ...]
    userref: int
    cl_ord_id: str | None
    expires_ns: int
    cash: Decimal | None  # of a market buy by its amount
    post: bool


class Rules:
    """The checks that need to know what is listed and how the account stands."""

    def __init__(self, universe: Universe, exchange: Exchange) -> None:
        self._universe = universe
        self._exchange = exchange

    def asked(self, form: Mapping[str, str], now_ns: int) -> Asked:
        """A new order that Kraken would take. Raises Refusal, which leaves no trace."""
        symbol = self.symbol(form)
        pair = self._universe.pair(symbol)
        kind, side = _word(TYPES, form, "ordertype"), _word(_SIDES, form, "type")
        flags = tuple(filter(None, form.get("oflags", "").split(",")))
        if not _FLAGS.issuperset(flags) or {"fcib", "fciq"} <= set(flags):
            raise invalid("oflags")
        tif = "" if kind is OrdType.MARKET else (form.get("timeinforce") or "GTC").upper()
        if tif and (tif not in _TIMES or (kind is not OrdType.LIMIT and tif in ("IOC", "FOK"))):
            raise invalid("timeinforce")
        post = "post" in flags
        if post and (kind is not OrdType.LIMIT or tif in ("IOC", "FOK")):
            raise invalid("oflags")
        _leverage(form)
        expires_ns = _expiry(form, tif, now_ns)
        userref, cl_ord_id = _ids(form)
        price, price2, terms = self._prices(form, kind, pair)
        qty, cash = self._volume(form, kind, side, flags, symbol, pair, now_ns)
        base = self._exchange.terms[symbol].base
        ticket = Ticket(
            symbol=symbol,
            cl_ord_id=cl_ord_id or "",
            side=side,
            ord_type=kind,
            time_in_force=_TIMES.get(tif, TimeInForce.GTC),  # a market order eats through the book until it is done
            qty=qty,
            reserve_px=self._reserve(kind, side, terms, symbol, now_ns),
            opening=side is Side.BUY,
            fee_asset=base if "fcib" in flags else MONEY,
            price=terms.get("price"),
            stop_px=terms.get("stop_px"),
            trail_px=terms.get("trail_px"),
            trail_pct=terms.get("trail_pct"),
        )
        if cash is None:
            _least(ticket, pair, terms, self._exchange.mark(symbol, now_ns))
        self.afford(ticket, ZERO)
        if post:
            self.rests(symbol, side, terms["price"], now_ns)
        return Asked(
            ticket=ticket,
            kind=form["ordertype"],
            price=price,
            price2=price2,
            tif=tif,
            flags=flags,
            userref=userref,
            cl_ord_id=cl_ord_id,
            expires_ns=expires_ns,
            cash=cash,
            post=post,
        )

    def symbol(self, form: Mapping[str, str]) -> str:
        name = form.get("pair", "")
        if not name:
            raise invalid("pair")
        try:
            return self._universe.symbols[name]
        except KeyError:
            raise Refusal("EQuery:Unknown asset pair") from None

    def _prices(self, form: Mapping[str, str], kind: OrdType, pair: wire.AssetPair) -> tuple[str, str, dict[str, Decimal]]:
        """As they came, and as the exchange takes them."""
        price, price2 = form.get("price", ""), form.get("price2", "")
        match kind:
            case OrdType.MARKET:
                return "0", "0", {}
            case OrdType.LIMIT:
                return price, "0", {"price": tick(price, "price", pair)}
            case OrdType.STOP:
                return price, "0", {"stop_px": tick(price, "price", pair)}
            case OrdType.STOP_LIMIT:
                return price, price2, {"stop_px": tick(price, "price", pair), "price": tick(price2, "price2", pair)}
            case _:
                found = _DISTANCE.fullmatch(price)
                if found is None or not Decimal(found[1]):
                    raise invalid("price")
                return f"+{Decimal(found[1]):.4f}%" if found[2] else price, "0", {"trail_pct" if found[2] else "trail_px": Decimal(found[1])}

    def _volume(
        self, form: Mapping[str, str], kind: OrdType, side: Side, flags: tuple[str, ...], symbol: str, pair: wire.AssetPair, now_ns: int
    ) -> tuple[Decimal, Decimal | None]:
        """In units. A market buy by its amount (viqc) buys what that pays for, through the depth that there is."""
        volume = number(form.get("volume", ""), "volume")
        if not volume:
            raise invalid("volume")
        if "viqc" not in flags:
            _digits(volume, pair.lot_decimals, "volume")
            if volume < Decimal(pair.ordermin or "0"):
                raise Refusal("EOrder:Order minimum not met")
            return volume, None
        if kind is not OrdType.MARKET or side is not Side.BUY:
            raise invalid("oflags")
        _digits(volume, pair.cost_decimals or 0, "volume")
        if volume < Decimal(pair.costmin or "0"):
            raise Refusal("EOrder:Cost minimum not met")
        qty, left, unit = ZERO, volume, self._exchange.market.listings[symbol].unit
        for ask, lots in self._exchange.market.latest(symbol, now_ns).asks:
            take = min(lots * LOT, left / (ask * unit))
            qty, left = qty + take, left - take * ask * unit
        step = ONE.scaleb(-pair.lot_decimals)
        qty = qty // step * step
        if qty < Decimal(pair.ordermin or "0"):
            raise Refusal("EOrder:Order minimum not met")
        return qty, volume

    def _reserve(self, kind: OrdType, side: Side, terms: Mapping[str, Decimal], symbol: str, now_ns: int) -> Decimal:
        """What a unit holds back: its price, and the fee on top."""
        ask = self._exchange.market.latest(symbol, now_ns).asks[0][0] * self._exchange.market.listings[symbol].unit
        px = terms.get("price") or terms.get("stop_px") or ask * SLIPPAGE_HELD
        return px * (1 + facts.TAKER_FEE) if side is Side.BUY else px

    def afford(self, ticket: Ticket, freed: Decimal) -> None:
        """freed: what the order that it takes the place of holds. Raises Refusal: too little money, or too few units."""
        assert ticket.qty is not None
        if ticket.side is Side.BUY:
            enough = ticket.qty * ticket.reserve_px <= self._exchange.free_cash() + freed
        else:
            enough = ticket.qty <= self._exchange.position(ticket.symbol) - self._exchange.held(ticket.symbol) + freed
        if not enough:
            raise Refusal("EOrder:Insufficient funds")

    def rests(self, symbol: str, side: Side, price: Decimal, now_ns: int) -> None:
        """Raises Refusal: a post-only order would take."""
        now, unit = self._exchange.market.latest(symbol, now_ns), self._exchange.market.listings[symbol].unit
        best = (now.asks if side is Side.BUY else now.bids)[0][0] * unit
        if (price - best) * side.sign >= 0:
            raise Refusal("EOrder:Post only order")


def deadline(form: Mapping[str, str], now_ns: int) -> None:
    """Raises Refusal: it has passed, or lies further ahead than Kraken waits."""
    if "deadline" in form:
        until_ns = time_of(form["deadline"], "deadline")
        if until_ns > now_ns + facts.DEADLINE_MAX_NS:
            raise invalid("deadline")
        if until_ns <= now_ns:
            raise Refusal("EService:Deadline elapsed")


def tick(text: str, name: str, pair: wire.AssetPair) -> Decimal:
    """A price on the pair's grid. Raises Refusal."""
    value = number(text, name)
    if not value:
        raise Refusal("EOrder:Invalid price")
    if not on_grid(value, Decimal(pair.tick_size or "1")):
        raise Refusal("EOrder:Tick size check failed")
    return value


def _digits(value: Decimal, most: int, name: str) -> None:
    if not on_grid(value, ONE.scaleb(-most)):
        raise invalid(name)


def _least(ticket: Ticket, pair: wire.AssetPair, terms: Mapping[str, Decimal], mark: Decimal) -> None:
    assert ticket.qty is not None
    if ticket.qty * (terms.get("price") or terms.get("stop_px") or mark) < Decimal(pair.costmin or "0"):
        raise Refusal("EOrder:Cost minimum not met")


def _leverage(form: Mapping[str, str]) -> None:
    if form.get("leverage", "none") not in ("none", "", "0"):
        raise Refusal("EOrder:Insufficient margin")
    if flag(form, "reduce_only"):
        raise Refusal("EOrder:Reduce only:No position exists")
    if any(name.startswith("close[") and value for name, value in form.items()):
        raise invalid("close")  # what a conditional close becomes is not modelled
    if form.get("starttm", "0") not in ("0", ""):
        raise invalid("starttm")


def _expiry(form: Mapping[str, str], tif: str, now_ns: int) -> int:
    text = form.get("expiretm", "0")
    if text in ("", "0"):
        if tif == "GTD":
            raise invalid("expiretm")
        return 0
    found = re.fullmatch(r"(\+?)([0-9]{1,10})", text)
    if found is None or tif != "GTD":
        raise invalid("expiretm")
    expires_ns = int(found[2]) * 1_000_000_000 + (now_ns if found[1] else 0)
    if expires_ns <= now_ns:
        raise invalid("expiretm")
    return expires_ns


def client_id(form: Mapping[str, str]) -> str | None:
    """The client id of an order, or that is asked for: a UUID, 32 hex digits, or up to 18 characters. Raises Refusal: none of these."""
    cl_ord_id = form.get("cl_ord_id") or None
    if cl_ord_id is not None and not (_UUID.fullmatch(cl_ord_id) or _FREE_ID.fullmatch(cl_ord_id)):
        raise invalid("cl_ord_id")
    return cl_ord_id


def _ids(form: Mapping[str, str]) -> tuple[int, str | None]:
    userref, cl_ord_id = form.get("userref", ""), client_id(form)
    if userref and not (_USERREF.fullmatch(userref) and -(1 << 31) <= int(userref) < 1 << 31):
        raise invalid("userref")
    if cl_ord_id is not None and userref not in ("", "0"):
        raise invalid("cl_ord_id and userref exclude each other")
    return int(userref or "0"), cl_ord_id


def _word(table: Mapping[str, _Word], form: Mapping[str, str], name: str) -> _Word:
    try:
        return table[form.get(name, "")]
    except KeyError:
        raise invalid(name) from None
