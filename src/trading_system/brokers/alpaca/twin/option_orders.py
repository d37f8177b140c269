"""What Alpaca refuses of option orders, single and of several legs, and what the rest of them holds back; exercise instructions.

Apart from the rules of stocks and coins: levels, cover and premiums are known here alone. A sold call is covered by shares or by a call that is held,
a sold put by money for its strike or by a put; options that are bought are paid for. Orders on their way cover nothing; a short that is on its way to
be bought back needs no cover.
Sources: docs.alpaca.markets/docs/options-trading-overview (levels, buying power, expiration, every error text below that has a source) and
options-level-3-trading; the texts for leg counts, ratios and single legs are ours.
"""

import math
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from trading_system.brokers.alpaca import facts, wire
from trading_system.brokers.alpaca.twin.forms import Refusal, shown
from trading_system.brokers.alpaca.twin.options import OptionDesk
from trading_system.brokers.alpaca.twin.rules import LegBody, Rules, SubmitBody, forbidden, parameter, rule
from trading_system.brokers.alpaca.twin.universe import Universe
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.money import ONE, ZERO, on_grid, plain
from trading_system.domain.option import Contract, Right, is_option, occ, parse_occ
from trading_system.sim.exchange import Exchange, SimOrder, Terms, Ticket
from trading_system.sim.options import MULTIPLIER
from trading_system.sim.pricing import CENT
from trading_system.sim.sessions import MINUTE_NS, new_york_day, new_york_ns

TYPES = {"market": OrdType.MARKET, "limit": OrdType.LIMIT}
LEVELS = range(4)  # 0 nothing, 1 covered calls and cash-secured puts, 2 options that are bought, 3 spreads
LAST_OPENING_NS = 30 * MINUTE_NS  # before a contract's end
DNE_UNTIL = 16 * 60 + 30  # New York, in minutes
_COLLAR = Decimal("1.04")  # above the offers, what a market order holds back


class OptionRules:
    """The checks of one account's option orders. Each raises Refusal, which leaves no trace."""

    def __init__(self, options: OptionDesk, universe: Universe, exchange: Exchange, rules: Rules) -> None:
        self._options = options
        self._universe = universe
        self._exchange = exchange
        self._rules = rules

    @staticmethod
    def several(body: SubmitBody) -> bool:
        return body.order_class == "mleg" or bool(body.legs)

    def one(self, body: SubmitBody) -> bool:
        return body.symbol is not None and (is_option(body.symbol) or body.symbol in self._universe.options)  # type: ignore[arg-type]

    # -- single orders ---------------------------------------------------------------------------------------------------------------------------

    def ticket(self, body: SubmitBody, cl_ord_id: str, configurations: wire.AccountConfigurations, level: int, now_ns: int) -> Ticket:
        _allowed(configurations, level)
        if body.order_class not in (None, "", "simple") or body.take_profit is not None or body.stop_loss is not None:
            raise rule("complex orders not supported for options trading")
        qty = _whole(body)
        ord_type = _ord_type(body)
        if ord_type is OrdType.LIMIT and (body.limit_price is None or body.limit_price <= 0):
            raise parameter("limit orders require limit_price")
        contract = self._contract(body.symbol or "", now_ns)
        symbol = occ(contract)
        side = _side(body.side)
        opening = self._intent(symbol, side, body.position_intent)
        self._in_time(ord_type, [(contract, opening)], now_ns)
        if opening and side is Side.BUY and level < 2:
            raise forbidden("account not eligible to trade long option contracts")
        ticket = Ticket(
            symbol=symbol,
            cl_ord_id=cl_ord_id,
            side=side,
            ord_type=ord_type,
            time_in_force=TimeInForce.DAY,
            qty=qty,
            price=body.limit_price,
            opening=opening,
        )
        self._rules.wash(ticket)
        if not opening:
            self._closable(ticket)
        return self._funded(ticket, contract, qty, level, now_ns)

    def repriced(self, order: SimOrder, changed: Ticket, level: int, now_ns: int) -> Ticket:
        """A replacement that the general rules let pass; the order it replaces gives back what it holds."""
        contract = self._exchange.terms[order.symbol].contract
        assert contract is not None
        assert changed.qty is not None
        self._in_time(changed.ord_type, [(contract, changed.opening)], now_ns)
        left = changed.qty - order.filled_qty
        return self._funded(changed, contract, left, level, now_ns, money=order.reserve, shares=left * order.ticket.covered)

    def _funded(
        self, ticket: Ticket, contract: Contract, qty: Decimal, level: int, now_ns: int, *, money: Decimal = ZERO, shares: Decimal = ZERO
    ) -> Ticket:
        net = ticket.side.sign * (ticket.price or self._touch(ticket.symbol, ticket.side, now_ns))
        reserve_px, covered = self._charge([(contract, ticket.side.sign * ONE)], qty, net, level, money, shares)
        return msgspec.structs.replace(ticket, reserve_px=reserve_px, covered=covered)

    # -- orders of several legs ------------------------------------------------------------------------------------------------------------------

    def whole(
        self, body: SubmitBody, cl_ord_id: str, configurations: wire.AccountConfigurations, level: int, now_ns: int
    ) -> tuple[Ticket, list[Ticket]]:
        """The order, and one for each of its legs."""
        _allowed(configurations, level)
        qty = _whole(body)
        ord_type = _ord_type(body)
        if ord_type is OrdType.LIMIT and body.limit_price is None:
            raise rule("limit price is required for limit orders")
        if ord_type is not OrdType.LIMIT and body.limit_price is not None:
            raise rule("limit price is only valid for limit orders")
        if level < 3:
            raise forbidden("account not eligible to trade spreads or uncovered contracts")
        parts = self._legs(body, now_ns)
        tickets = [
            Ticket(
                symbol=occ(contract),
                cl_ord_id=self._exchange.new_id(),
                side=side,
                ord_type=ord_type,
                time_in_force=TimeInForce.DAY,
                qty=qty * ratio,
                opening=opening,
            )
            for contract, side, ratio, opening in parts
        ]
        self._in_time(ord_type, [(contract, opening) for contract, _, _, opening in parts], now_ns)
        for ticket in tickets:
            if not ticket.opening:
                self._closable(ticket)
        net = body.limit_price
        if net is None:
            net = sum((side.sign * ratio * self._touch(occ(contract), side, now_ns) for contract, side, ratio, _ in parts), ZERO)
        lots = [(contract, side.sign * ratio) for contract, side, ratio, _ in parts]
        reserve_px, covered = self._charge(lots, qty, net, level, ZERO, ZERO)
        whole = Ticket(
            symbol=tickets[0].symbol,
            cl_ord_id=cl_ord_id,
            side=Side.BUY,
            ord_type=ord_type,
            time_in_force=TimeInForce.DAY,
            qty=qty,
            price=body.limit_price,
            reserve_px=reserve_px,
            opening=True,
            covered=covered,
        )
        return whole, tickets

    def _legs(self, body: SubmitBody, now_ns: int) -> list[tuple[Contract, Side, Decimal, bool]]:
        """Contract, side, ratio, and whether it opens."""
        legs: Sequence[LegBody] = body.legs or ()
        if not 2 <= len(legs) <= facts.LEGS_MAX:
            raise rule(f"mleg orders must have between 2 and {facts.LEGS_MAX} legs")
        parts = []
        for place, leg in enumerate(legs):
            if not leg.position_intent:
                raise rule(f"leg.{place} position intent is required")
            if leg.ratio_qty is None or leg.ratio_qty <= 0 or not on_grid(leg.ratio_qty, ONE):
                raise parameter(f"leg.{place} ratio_qty must be a whole number > 0")
            if self._universe.find(leg.symbol) is not None and leg.symbol not in self._universe.options:
                raise rule("equity legs are allowed only with a corresponding amount of call contracts")
            contract = self._contract(leg.symbol, now_ns, missing=f"asset not found for {leg.symbol}")
            side = _side(leg.side or leg.position_intent.partition("_")[0])
            parts.append((contract, side, leg.ratio_qty, self._intent(occ(contract), side, leg.position_intent)))
        first = parts[0][0].underlying
        other = next((contract.underlying for contract, *_ in parts if contract.underlying != first), None)
        if other is not None:
            raise rule(f"underlying asset mismatch: {first} != {other}")
        if len({contract for contract, *_ in parts}) < len(parts):
            raise rule("mleg orders must have a different contract in each leg")
        if math.gcd(*(int(ratio) for _, _, ratio, _ in parts)) != 1:
            raise rule("the ratio_qty of mleg orders must have no common divisor")
        return parts

    # -- what both have ----------------------------------------------------------------------------------------------------------------------------

    def _contract(self, name: str, now_ns: int, missing: str = "") -> Contract:
        """A contract that trades, known from now on to account and market."""
        contract = self._options.open(name, now_ns)
        if contract is None:
            if is_option(name) and parse_occ(name).expiry < new_york_day(now_ns):  # type: ignore[arg-type]
                raise rule(f'contract "{name}" is expired')
            raise rule(missing or f'contract "{name}" not found')
        symbol = occ(contract)
        if self._options.over(contract, now_ns):
            raise rule(f'contract "{symbol}" is expired')
        if symbol not in self._universe.terms:
            ends = self._options.chains.expires_ns(contract)
            self._universe.terms[symbol] = Terms(base=symbol, multiplier=MULTIPLIER, contract=contract, expires_ns=ends)
        return contract

    def _intent(self, symbol: str, side: Side, specified: str | None) -> bool:
        """Whether an order opens: the position says so, and what the client says must fit."""
        opening = self._exchange.position(symbol) * side.sign >= 0
        inferred = f"{side.value}_to_{'open' if opening else 'close'}"
        if specified and specified != inferred:
            raise rule(f"position intent mismatch, inferred: {inferred}, specified: {specified}")
        return opening

    def _in_time(self, ord_type: OrdType, parts: Sequence[tuple[Contract, bool]], now_ns: int) -> None:
        if ord_type is OrdType.MARKET and not self._options.sessions.is_open(now_ns):
            raise rule("options market orders are only allowed during market hours")
        for contract, opening in parts:
            if opening and now_ns >= self._options.chains.expires_ns(contract) - LAST_OPENING_NS:
                raise rule(f'contract "{occ(contract)}" expires soon, unable to open new positions')

    def _closable(self, ticket: Ticket) -> None:
        available = abs(self._exchange.position(ticket.symbol)) - self._exchange.held(ticket.symbol)
        if (ticket.qty or ZERO) > available:
            raise self._rules.insufficient_qty(ticket, available)

    def _touch(self, symbol: str, side: Side, now_ns: int) -> Decimal:
        """What a market order may have to pay, or will at least get from the best bid."""
        tick = self._exchange.market.latest(symbol, now_ns)
        if side is Side.BUY:
            return (tick.asks[-1][0] * CENT * _COLLAR).quantize(CENT)
        return tick.bids[0][0] * CENT if tick.bids else ZERO

    def _charge(
        self, lots: Sequence[tuple[Contract, Decimal]], units: Decimal, net: Decimal, level: int, money: Decimal, shares: Decimal
    ) -> tuple[Decimal, Decimal]:
        """Money and shares that each unit holds back: what the positions tie up more after it than before, and what it costs."""
        x, underlying = self._exchange, lots[0][0].underlying
        before = self._standing()
        after = dict(before)
        for contract, ratio in lots:
            after[contract] = after.get(contract, ZERO) + ratio * units
        if level < 3:  # what is held covers nothing
            before, after = ({contract: qty for contract, qty in rows.items() if qty < 0} for rows in (before, after))
        had, has = x.tied(before), x.tied(after)
        bare = has.shares.get(underlying, ZERO) - had.shares.get(underlying, ZERO)
        if bare > 0 and bare > x.position(underlying) - x.held(underlying) + shares:
            raise forbidden("account not eligible to trade uncovered option contracts")
        cost, free = has.cash - had.cash + net * MULTIPLIER * units, x.free_cash() + money
        if cost > 0 and cost > free:
            raise forbidden(f"insufficient options buying power (required: {shown(cost)}, available: {shown(free)})")
        return max(ZERO, cost) / units, max(ZERO, bare) / units

    def _standing(self) -> dict[Contract, Decimal]:
        """Option positions, less the shorts that open orders buy back."""
        found = self._exchange.contracts()
        for order in self._exchange.orders.values():
            contract = self._exchange.terms[order.symbol].contract
            if contract in found and not order.ord_status.terminal and not order.ticket.opening and order.side is Side.BUY:
                found[contract] += (order.qty or ZERO) - order.filled_qty
        return found

    # -- exercise --------------------------------------------------------------------------------------------------------------------------------

    def _long(self, name: str, now_ns: int) -> tuple[str, Contract, Decimal]:
        contract = self._options.open(name, now_ns)
        if contract is None:
            raise rule("invalid symbol")
        symbol = occ(contract)
        qty = self._exchange.position(symbol) if symbol in self._universe.terms else ZERO
        if qty <= 0:
            raise Refusal(404, 40410000, f"long position not found: {symbol}")
        return symbol, contract, qty

    def exercise(self, name: str, wanted: Decimal | None, now_ns: int) -> tuple[str, Decimal]:
        """What of a position may be exercised now; everything that no order holds, unless less is asked for."""
        x = self._exchange
        symbol, contract, held = self._long(name, now_ns)
        if wanted is not None and (wanted <= 0 or not on_grid(wanted, ONE)):
            raise rule("qty must be > 0")
        session = self._options.sessions.at(now_ns)
        if session is not None and now_ns >= session.close_ns:
            raise forbidden("exercise requests are not accepted after market close until midnight")
        if symbol in x.unexercised:
            raise forbidden("cannot exercise position marked as do-not-exercise")
        if contract.payoff(x.mark(contract.underlying, now_ns)) <= 0:
            text = "you are attempting to exercise an out of the money option contract"
            raise forbidden(f"{text}, please contact support@alpaca.markets to complete this request")
        available = held - x.held(symbol)
        if available <= 0:
            raise forbidden("no qty available to exercise")
        qty = available if wanted is None else wanted
        if qty > available:
            raise forbidden(f"insufficient qty available (requested: {plain(qty)}, available: {plain(available)})")
        self._deliverable(contract, qty)
        return symbol, qty

    def _deliverable(self, contract: Contract, qty: Decimal) -> None:
        """Money for a call, shares for a put; and the options that are left must stay covered."""
        x = self._exchange
        call, shares = contract.right is Right.CALL, qty * MULTIPLIER
        before = x.contracts()
        had, has = x.tied(before), x.tied(before | {contract: before[contract] - qty})
        there = x.position(contract.underlying) - x.held(contract.underlying)
        bare = has.shares.get(contract.underlying, ZERO) - had.shares.get(contract.underlying, ZERO) + (-shares if call else shares)
        if bare > 0 and bare > there:
            numbers = f"(requested: {plain(bare)}, available: {plain(max(ZERO, there))})"
            raise forbidden(f"insufficient underlying qty available for deliverable: {contract.underlying} {numbers}")
        cost, free = contract.strike * (shares if call else -shares) + has.cash - had.cash, x.free_cash()
        if cost > 0 and cost > free:
            raise forbidden(f"insufficient cash available (required: {shown(cost)}, available: {shown(free)})")

    def do_not_exercise(self, name: str, now_ns: int) -> str:
        """A position that shall expire even if it is worth something; said on its last day."""
        symbol, contract, _ = self._long(name, now_ns)
        if new_york_day(now_ns) != contract.expiry:
            raise forbidden("dne requests are only accepted on the expiration day of the option contract")
        if now_ns >= new_york_ns(contract.expiry, DNE_UNTIL):
            raise forbidden(f"dne requests are not accepted after {DNE_UNTIL // 60}:{DNE_UNTIL % 60:02d}")
        return symbol


def _allowed(configurations: wire.AccountConfigurations, level: int) -> None:
    if level < 1:
        raise forbidden("account not authorized to trade options")
    if configurations.suspend_trade:
        raise forbidden("new orders are rejected by user request")


def _whole(body: SubmitBody) -> Decimal:
    """The number of contracts, or of wholes."""
    if body.notional is not None:
        raise rule("notional orders are not supported for options trading")
    if body.qty is None:
        raise parameter("qty or notional is required")
    if body.qty <= 0:
        raise parameter("qty must be > 0")
    if not on_grid(body.qty, ONE):
        raise rule("qty must be integer for options trading")
    return body.qty


def _ord_type(body: SubmitBody) -> OrdType:
    if body.extended_hours:
        raise rule("extended hours is not supported for options trading")
    if body.type not in TYPES or body.stop_price is not None or body.trail_price is not None or body.trail_percent is not None:
        raise rule("invalid option order_type")
    if body.time_in_force != TimeInForce.DAY.value:
        raise rule("invalid option time_in_force")
    if body.limit_price is not None and not on_grid(body.limit_price, CENT):
        raise rule(f"invalid limit_price {plain(body.limit_price)}. sub-penny increment does not fulfill minimum pricing criteria")
    return TYPES[body.type]


def _side(text: str | None) -> Side:
    if text not in ("buy", "sell"):
        raise parameter(f"invalid side {text or ''}".strip())
    return Side(text)
