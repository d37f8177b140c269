"""What Tradier refuses: every check on an order. What is wrong with the form is refused in the answer; what the account or the market forbids, in the
order's row, a moment after it was received.

Which refusal comes where is not stated; others saw both (../shared/protocols/tradier.md §6).
Not modelled: uncovered options, prices too far from the market, the count of day trades. Which option level allows what is not stated: here 1 allows
what shares or money cover, 2 what is bought, 3 spreads.
"""

import math
import re
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from trading_system.brokers.tradier import facts
from trading_system.brokers.tradier.twin.forms import Denied, business, parameter
from trading_system.brokers.tradier.twin.universe import CENT, Universe
from trading_system.domain.fix import Contingency, OrdType, Side, TimeInForce
from trading_system.domain.money import ONE, ZERO, bounded, on_grid
from trading_system.domain.option import Contract, is_option
from trading_system.sim.exchange import Exchange, Terms, Ticket
from trading_system.sim.options import MULTIPLIER, Chains
from trading_system.sim.sessions import Sessions

Form = Mapping[str, str]
_TAG = re.compile(r"[A-Za-z0-9-]*")
_EQUITY = {"buy": (Side.BUY, True), "buy_to_cover": (Side.BUY, False), "sell": (Side.SELL, False), "sell_short": (Side.SELL, True)}  # side, opens
_OPTION = {
    "buy_to_open": (Side.BUY, True),
    "buy_to_close": (Side.BUY, False),
    "sell_to_open": (Side.SELL, True),
    "sell_to_close": (Side.SELL, False),
}
_TYPES = {"market": OrdType.MARKET, "limit": OrdType.LIMIT, "stop": OrdType.STOP, "stop_limit": OrdType.STOP_LIMIT}
_DURATIONS = {"day": TimeInForce.DAY, "gtc": TimeInForce.GTC, "pre": TimeInForce.DAY, "post": TimeInForce.DAY}
GROUPS = {"oto": (Contingency.OTO, 2), "oco": (Contingency.OCO, 2), "otoco": (Contingency.BRACKET, 3)}
WHOLE = {"multileg": facts.LEGS_MAX, "combo": facts.COMBO_LEGS_MAX}  # and how many legs they have at most
NET = {"market": None, "debit": ONE, "credit": -ONE, "even": ZERO}
_COLLAR = Decimal("1.04")  # above the offers, what an order without a limit holds back
_SHORT_MIN = Decimal(5)


class Rules:
    """The checks of one account. Each raises Refusal, which leaves no trace, or Denied, which leaves a rejected order."""

    def __init__(self, universe: Universe, exchange: Exchange, chains: Chains, sessions: Sessions, *, level: int) -> None:
        self._universe = universe
        self._exchange = exchange
        self._chains = chains
        self._sessions = sessions
        self._level = level  # of options that the account may trade

    # -- the form --------------------------------------------------------------------------------------------------------------------------------

    @staticmethod
    def tag(form: Form) -> str:
        tag = form.get("tag", "")
        if len(tag) > facts.TAG_MAX:
            raise parameter("tag", f"contains more than {facts.TAG_MAX} characters.")
        if not _TAG.fullmatch(tag):
            raise parameter("tag", "contains invalid characters.")
        return tag

    def single(self, form: Form, now_ns: int) -> Ticket:
        """One order, as the form has it."""
        option = form.get("option_symbol")
        symbol = form.get("symbol", "") if option is None else option
        side, opening = _side(form.get("side", ""), option=option is not None)
        ord_type = _TYPES.get(form.get("type", ""))
        if ord_type is None:
            raise parameter("type", "is not a valid order type.")
        tif = _duration(form, ord_type, now_ns, self._sessions)
        if option is not None:
            self.contract(option, now_ns)
        elif symbol not in self._universe.stocks:
            raise business("SecurityUndefined")
        price, stop_px = amount(form, "price") if ord_type.has_price else None, amount(form, "stop") if ord_type.has_stop else None
        if ord_type.has_price and not price:
            raise business("LimitPriceUndefined")
        if ord_type.has_stop and not stop_px:
            raise business("StopPriceUndefined")
        if form.get("side") == "sell_short" and form.get("duration") == "gtc":
            raise business("ShortOrderIsGtc")
        return Ticket(
            symbol=symbol,
            cl_ord_id=self.tag(form),
            side=side,
            ord_type=ord_type,
            time_in_force=tif,
            qty=_quantity(form.get("quantity", "")),
            price=price,
            stop_px=stop_px,
            extended=form.get("duration") in ("pre", "post"),
            opening=opening,
        )

    def contract(self, symbol: str, now_ns: int) -> Contract:
        """A contract that trades, known from now on to account and market."""
        contract = self._chains.find(symbol, now_ns) if is_option(symbol) else None  # type: ignore[arg-type]
        if contract is None:
            raise business("SecurityUndefined")
        ends_ns = self._chains.expires_ns(contract)
        if now_ns >= ends_ns:
            raise business("InvalidOrderExpiration")
        self._chains.market_of(contract)
        if symbol not in self._universe.terms:
            self._universe.terms[symbol] = Terms(base=symbol, multiplier=MULTIPLIER, contract=contract, expires_ns=ends_ns)
        return contract

    def several(self, form: Form, now_ns: int) -> tuple[Ticket, list[Ticket]]:
        """An order that fills as a whole, and one for each of its legs. The leg of a combo that names no option is its shares."""
        kind, most, combo = form.get("type", ""), WHOLE[form["class"]], form["class"] == "combo"
        if kind not in NET:
            raise parameter("type", "is not a valid order type.")
        sign, price = NET[kind], amount(form, "price")
        if sign and not price:
            raise business("LimitPriceUndefined")
        ord_type = OrdType.MARKET if sign is None else OrdType.LIMIT
        tif = _duration(form, ord_type, now_ns, self._sessions)
        parts = [_indexed(form, place) for place in range(facts.LEGS_MAX + 1) if f"side[{place}]" in form]
        if not 2 <= len(parts) <= most or sum("option_symbol" not in part for part in parts) != combo:
            raise parameter("class", f"a {form['class']} order has 2 to {most} legs{', one of them an equity' if combo else ''}.")
        legs = []
        for part in parts:
            symbol, option = part.get("option_symbol", form.get("symbol", "")), "option_symbol" in part
            if symbol not in self._universe.stocks and not option:
                raise business("SecurityUndefined")
            if option and self.contract(symbol, now_ns).underlying != form.get("symbol"):
                raise parameter("option_symbol", f"{symbol} is not on the symbol of the order.")
            side, opening = _side(part["side"], option=option)
            qty = _quantity(part.get("quantity", ""))
            legs.append(Ticket(symbol=symbol, cl_ord_id="", side=side, ord_type=ord_type, time_in_force=tif, qty=qty, opening=opening))
        if len({leg.symbol for leg in legs}) < len(legs):
            raise parameter("option_symbol", "each leg has a contract of its own.")
        lots = [leg.qty or ZERO for leg in legs]
        if combo:
            lots = [qty / MULTIPLIER if leg.symbol == form.get("symbol") else qty for leg, qty in zip(legs, lots, strict=True)]
        if any(not on_grid(qty, ONE) for qty in lots):
            raise parameter("quantity", "other shares than hundreds are not modelled here.")
        wholes = Decimal(math.gcd(*map(int, lots)))
        whole = Ticket(
            symbol=next(leg.symbol for leg in legs if leg.symbol != form.get("symbol")),
            cl_ord_id=self.tag(form),
            side=Side.BUY,
            ord_type=ord_type,
            time_in_force=tif,
            qty=wholes,
            price=None if sign is None else sign * (price or ZERO),
            opening=True,
        )
        return whole, legs

    def linked(self, form: Form, now_ns: int) -> tuple[Ticket | None, list[Ticket]]:
        """The entry, where there is one, and the exits."""
        contingency, count = GROUPS[form["class"]]
        shared = {name: value for name, value in form.items() if name in ("duration", "symbol", "option_symbol", "tag")}
        parts = [shared | _indexed(form, place) for place in range(count)]
        tickets = [msgspec.structs.replace(self.single(part, now_ns), contingency=contingency) for part in parts]
        entry, exits = (None, tickets) if contingency is Contingency.OCO else (tickets[0], tickets[1:])
        if entry is not None and entry.ord_type is OrdType.MARKET:
            raise business("OtoFirstLesIsMarketNotAllowed")
        if len(exits) > 1:
            if any(ticket.ord_type is OrdType.MARKET for ticket in exits):
                raise business("OtoOcoMarketNotAllowed")
            if len({ticket.time_in_force for ticket in exits}) > 1:
                raise business("OcoExpirationTypeNotTheSame")
            if len({ticket.side for ticket in exits}) > 1:
                raise business("OcoOrderWithOppositeLegs")
            if len({ticket.ord_type for ticket in exits}) < 2 or len({ticket.symbol for ticket in exits}) > 1:
                raise parameter("type", "the legs of an oco differ in type and have one symbol.")
            if sum(not ticket.waits for ticket in exits) != 1:
                raise parameter("type", "two exits that rest in the book are not modelled here.")
        modelled = entry is None or (entry.opening and all(one.side is entry.side.opposite and one.symbol == entry.symbol for one in exits))
        if any(ticket.opening or ticket.qty != exits[0].qty for ticket in exits) or not modelled or (entry and entry.qty != exits[0].qty):
            raise parameter("side", "an entry and exits for all of it are what is modelled here.")
        return entry, exits

    # -- the account and the market --------------------------------------------------------------------------------------------------------------

    def admit(self, ticket: Ticket, now_ns: int) -> Ticket:
        """A single order that may work, with what it holds back. Raises Denied."""
        option = ticket.symbol not in self._universe.stocks
        self._sides(ticket, option=option)
        self._market(ticket, now_ns)
        if option:
            contract = self._exchange.terms[ticket.symbol].contract
            assert contract is not None
            if self._level < (2 if ticket.opening and ticket.side is Side.BUY else 1):
                raise Denied("OptionLevelRestriction")
            net = ticket.side.sign * (ticket.price or self._touch(ticket.symbol, ticket.side, now_ns))
            reserve_px, covered = self._charge({contract: ticket.side.sign * ONE}, ticket.qty or ZERO, net)
            return msgspec.structs.replace(ticket, reserve_px=reserve_px, covered=covered)
        if not ticket.opening:
            return ticket
        if ticket.side is Side.SELL:
            self._shorts(ticket, now_ns)
        px = ticket.price or max(ticket.stop_px or ZERO, self._touch(ticket.symbol, Side.BUY, now_ns)) * _COLLAR
        if (ticket.qty or ZERO) * px > self._exchange.buying_power(now_ns):
            raise Denied("InitialMargin")
        return msgspec.structs.replace(ticket, reserve_px=px)

    def admit_whole(self, whole: Ticket, legs: list[Ticket], now_ns: int) -> Ticket:
        """An order of several legs that may work, with what it holds back. Raises Denied."""
        wholes, lots, net, terms = whole.qty or ONE, {}, ZERO, self._exchange.terms
        stock = next((leg for leg in legs if terms[leg.symbol].contract is None), None)
        for leg in legs:
            contract, ratio = terms[leg.symbol].contract, leg.side.sign * (leg.qty or ZERO) / wholes
            net += ratio * terms[leg.symbol].multiplier / MULTIPLIER * self._touch(leg.symbol, leg.side, now_ns)
            if contract is not None:
                self._sides(leg, option=True)
                lots[contract] = ratio
        bought = any(leg.opening and leg.side is Side.BUY for leg in legs if leg is not stock)
        if self._level < (3 if stock is None else 2 if bought else 1):
            raise Denied("OptionLevelRestriction")
        net = net if whole.price is None else whole.price
        reserve_px, covered = self._charge(lots, wholes, net) if stock is None else self._charge_combo(stock, lots, wholes, net, now_ns)
        return msgspec.structs.replace(whole, reserve_px=reserve_px, covered=covered)

    def _sides(self, ticket: Ticket, *, option: bool, freed: Decimal = ZERO) -> None:
        """The side says what becomes of the position, and has to be right; no order passes zero. freed: by the order's other legs."""
        position, more = self._exchange.position(ticket.symbol), "Option" if option else ""
        free = abs(position) - self._exchange.held(ticket.symbol) + freed
        match ticket.side, ticket.opening:
            case Side.BUY, True if position < 0:
                raise Denied(f"UnexpectedBuyOrder{more}")
            case Side.SELL, True if position > 0:
                raise Denied(f"UnexpectedSellShortOrder{more}")
            case Side.BUY, False if position >= 0:
                raise Denied(f"UnexpectedBuyToCoverOrder{more}")
            case Side.SELL, False if position <= 0:
                raise Denied(f"UnexpectedSellOrder{more}")
        if not ticket.opening and (ticket.qty or ZERO) > free:
            raise Denied("LongPositionCrossZero" if ticket.side is Side.SELL else "ShortPositionCrossZero")

    def _market(self, ticket: Ticket, now_ns: int) -> None:
        tick, unit = self._exchange.market.latest(ticket.symbol, now_ns), self._exchange.market.listings[ticket.symbol].unit
        if ticket.stop_px is not None:
            if ticket.side is Side.BUY and ticket.stop_px <= tick.asks[0][0] * unit:
                raise Denied("BuyStopOrderStopPriceLessAsk")
            if ticket.side is Side.SELL and tick.bids and ticket.stop_px >= tick.bids[0][0] * unit:
                raise Denied("SellStopOrderStopPriceGreaterBid")
        for other in self._exchange.open_orders(ticket.symbol):
            if other.side is ticket.side or other.dormant:
                continue
            if OrdType.MARKET in (other.ticket.ord_type, ticket.ord_type) and not other.ticket.waits:
                raise Denied("OrderWithDifferentSide")
            if ticket.price is not None and (other.price, other.ticket.waits) == (ticket.price, ticket.waits):
                raise Denied("WashTradeAttempt")

    def _shorts(self, ticket: Ticket, now_ns: int) -> None:
        if self._exchange.multiplier == ONE:
            raise Denied("ShortStockTradingDeniedForAccount")
        if not self._universe.stocks[ticket.symbol].easy:
            raise Denied("ShortTradingDeniedForSecurity")
        if self._touch(ticket.symbol, Side.SELL, now_ns) < _SHORT_MIN:
            raise Denied("SellShortOrderLastPriceBelow5")

    def _touch(self, symbol: str, side: Side, now_ns: int) -> Decimal:
        """What a buy may have to pay, or a sell gets at least from the best bid."""
        tick, unit = self._exchange.market.latest(symbol, now_ns), self._exchange.market.listings[symbol].unit
        if side is Side.BUY:
            return tick.asks[-1][0] * unit
        return tick.bids[0][0] * unit if tick.bids else ZERO

    def _charge(self, lots: Mapping[Contract, Decimal], wholes: Decimal, net: Decimal) -> tuple[Decimal, Decimal]:
        """Money and shares that each unit holds back. Raises Denied."""
        x, underlying = self._exchange, next(iter(lots)).underlying
        cost, bare = self._tied_up(lots, wholes, net)
        if bare > 0 and bare > x.position(underlying) - x.held(underlying):
            raise Denied("ShortOptionTradingDeniedForAccount")
        if cost > 0 and cost > x.free_cash():
            raise Denied("InitialMargin")
        return max(ZERO, cost) / wholes, max(ZERO, bare) / wholes

    def _charge_combo(self, stock: Ticket, lots: Mapping[Contract, Decimal], wholes: Decimal, net: Decimal, now_ns: int) -> tuple[Decimal, Decimal]:
        """The same with shares in the order: those that it buys cover what it sells, and those that it sells need not cover what it buys back. Shares
        that are sold short are paid for as bought ones are."""
        x = self._exchange
        cost, bare = self._tied_up(lots, wholes, net)
        self._sides(stock, option=False, freed=max(ZERO, -bare))
        moved = stock.side.sign * (stock.qty or ZERO)
        if bare > 0 and bare > max(ZERO, x.position(stock.symbol)) - x.held(stock.symbol) + (moved if stock.opening == (moved > 0) else ZERO):
            raise Denied("ShortOptionTradingDeniedForAccount")
        if stock.opening and moved < 0:
            self._shorts(stock, now_ns)
            cost -= 2 * moved * self._touch(stock.symbol, Side.SELL, now_ns)
        if cost > 0 and cost > x.buying_power(now_ns):
            raise Denied("InitialMargin")
        own = moved if stock.opening and moved > 0 else ZERO
        return max(ZERO, cost) / wholes, max(ZERO, bare - own) / wholes

    def _tied_up(self, lots: Mapping[Contract, Decimal], wholes: Decimal, net: Decimal) -> tuple[Decimal, Decimal]:
        """What it costs with what the positions tie up more after it than before: money, and shares."""
        x, underlying = self._exchange, next(iter(lots)).underlying
        before = x.contracts()
        for order in x.open_orders():  # shorts that are on their way to be bought back need no cover
            contract = x.terms[order.symbol].contract
            if contract in before and order.order_id not in x.wholes and not order.ticket.opening and order.side is Side.BUY:
                before[contract] += (order.qty or ZERO) - order.filled_qty
        after = dict(before)
        for contract, ratio in lots.items():
            after[contract] = after.get(contract, ZERO) + ratio * wholes
        had, has = x.tied(before), x.tied(after)
        bare = has.shares.get(underlying, ZERO) - had.shares.get(underlying, ZERO)
        return has.cash - had.cash + net * MULTIPLIER * wholes, bare


def amount(form: Form, name: str) -> Decimal | None:
    """A price, in cents. Raises Refusal."""
    text = form.get(name)
    if text is None:
        return None
    try:
        value = bounded(Decimal(text))
    except (ArithmeticError, ValueError):
        raise parameter(name, "is not a valid number.") from None
    if value < 0 or not on_grid(value, CENT):
        raise parameter(name, "must be zero or more, with two decimals at most.")
    return value


def _indexed(form: Form, place: int) -> dict[str, str]:
    """The fields of one part."""
    mark = f"[{place}]"
    return {name.removesuffix(mark): value for name, value in form.items() if name.endswith(mark)}


def _side(word: str, *, option: bool) -> tuple[Side, bool]:
    known = (_OPTION if option else _EQUITY).get(word)
    if known is None:
        raise parameter("side", f"{word} is not a valid side.")
    return known


def _quantity(text: str) -> Decimal:
    if not text.isdecimal():  # no fractions
        raise parameter("quantity", "must be a positive whole number.")
    if not 1 <= int(text) <= facts.QUANTITY_MAX:
        raise business("IncorrectOrderQuantity")
    return Decimal(text)


def _duration(form: Form, ord_type: OrdType, now_ns: int, sessions: Sessions) -> TimeInForce:
    """What lasts until when. Before and after the session: limit orders, while their window is open."""
    word = form.get("duration", "")
    if word not in _DURATIONS:
        raise parameter("duration", "is not a valid duration.")
    if ord_type is OrdType.MARKET and word == "gtc":
        raise business("MarketOrderIsGtc")
    if word in ("pre", "post"):
        session = sessions.at(now_ns)
        early = session is not None and session.early_ns <= now_ns < session.open_ns
        late = session is not None and session.close_ns <= now_ns < session.late_ns
        if not (early if word == "pre" else late):
            raise parameter("duration", f"{word} market no longer available")
        if ord_type is not OrdType.LIMIT:
            raise business("LimitOrderRequiredOutsideMarketHours")
    return _DURATIONS[word]
