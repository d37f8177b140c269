"""The gate: limits, latched halts, and the rules every order passes. Nothing else makes an Approved."""

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from trading_system.core.blotter import Reserved
from trading_system.core.ledger import EquityMark
from trading_system.core.options import greatest_loss, unit_risk
from trading_system.domain.account import AccountSnapshot
from trading_system.domain.errors import BadRequest, Halted, RiskRefused
from trading_system.domain.fix import Contingency, OrdType, Side, TimeInForce
from trading_system.domain.hours import is_open
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID
from trading_system.domain.instrument import AssetClass, Instrument
from trading_system.domain.market import Quote
from trading_system.domain.money import ONE, ZERO, on_grid, plain, round_price
from trading_system.domain.option import Contract, is_option, option_name, underlying_of
from trading_system.domain.order import Approved, Leg, NewOrder, Order, shares_of
from trading_system.domain.ports import Facts

_SECOND_NS = 1_000_000_000
DOLLAR_COINS = frozenset({"USDT", "USDC", "FDUSD", "TUSD", "DAI", "PYUSD"})
DEPEG_MAX = Decimal("0.01")  # of a dollar: further away no entry is taken in it (RELIABILITY.md §5)
_STOPS = frozenset({OrdType.STOP, OrdType.STOP_LIMIT})
_OPTION_COLLAR_MIN = Decimal("0.10")  # money per unit: of a cheap option a fraction is less than its spread


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The owner's limits, as the settings of the same names say. Fractions of equity, not percent; durations in nanoseconds."""

    max_position_pct: Decimal = Decimal("0.30")
    max_leverage: Decimal = Decimal("2.0")
    max_daily_loss_pct: Decimal = Decimal("0.10")
    max_drawdown_pct: Decimal = Decimal("0.50")
    max_concurrent_positions: int = 3
    enable_crypto: bool = True
    crypto_symbols: frozenset[str] = frozenset({"BTC", "ETH", "SOL"})  # bases: BTC admits BTC/USD here and BTC/USDT elsewhere
    crypto_max_position_pct: Decimal = Decimal("0.20")
    crypto_max_daily_loss_pct: Decimal = Decimal("0.08")
    crypto_max_drawdown_pct: Decimal = Decimal("0.40")
    crypto_max_leverage: Decimal = Decimal("1.0")
    enable_circuit_breakers: bool = True
    halt_on_daily_loss: bool = True
    halt_on_drawdown: bool = True
    validate_orders: bool = True
    enable_shorts: bool = False
    max_spread_pct: Decimal = Decimal("0.01")
    crypto_max_spread_pct: Decimal = Decimal("0.005")
    enable_uncovered_options: bool = False
    option_max_premium_pct: Decimal = Decimal("0.02")
    option_price_collar_pct: Decimal = Decimal("0.25")
    price_collar_pct: Decimal = Decimal("0.03")
    crypto_price_collar_pct: Decimal = Decimal("0.03")
    max_orders_per_second: int = 5
    max_orders_per_minute: int = 60
    max_open_orders: int = 50
    max_open_orders_per_instrument: int = 10
    duplicate_order_window_ns: int = 5 * _SECOND_NS
    quote_max_age_ns: int = 15 * _SECOND_NS
    crypto_quote_max_age_ns: int = 5 * _SECOND_NS
    account_max_age_ns: int = 60 * _SECOND_NS


class Level(StrEnum):
    """All three refuse new risk and pass cancels and reducing orders. KILL also cancels the working entries when it is set."""

    REDUCE_ONLY = "reduce_only"
    HALT = "halt"
    KILL = "kill"

    @property
    def rank(self) -> int:
        """How hard it is: a halt is only ever replaced by one as hard."""
        return _RANK[self]


_RANK = {Level.REDUCE_ONLY: 0, Level.HALT: 1, Level.KILL: 2}


class Halt(msgspec.Struct, frozen=True, kw_only=True):
    """A latched stop. scope: "all", "crypto", a broker's name, or "broker:INSTRUMENT". Only `trading resume` clears it. also: what else calls for
    it, rule and words, the newest first; the text says it all."""

    scope: str
    level: Level
    rule: str
    text: str
    set_ns: int
    also: tuple[tuple[str, str], ...] = ()

    @property
    def rules(self) -> tuple[str, ...]:
        """Everything that calls for it."""
        return (self.rule, *(rule for rule, _ in self.also))


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """A position or reservation as the gate counts it, over all accounts. mark: what one counts, in BASE_CURRENCY; None: nobody knows. here: its
    broker is on this desk."""

    broker: BrokerName
    instrument: InstrumentID
    asset_class: AssetClass
    qty: Decimal
    mark: Decimal | None
    here: bool = True


class Arming(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner let out: up to max_notional in all (spent of it so far), until then, on these accounts."""

    accounts: tuple[str, ...]
    max_notional: Decimal
    spent: Decimal
    until_ns: int


class LegState(msgspec.Struct, frozen=True, kw_only=True):
    """One leg of a multileg order, as the desk knows it."""

    contract: Contract | None  # None: shares
    position: Decimal
    reserved: Reserved
    mark: Decimal | None = None  # of a unit; None: nobody knows
    shortable: bool = False


class RiskState(msgspec.Struct, frozen=True, kw_only=True):
    """The desk at one instant: everything the gate may look at. Of a multileg order instrument and quote are the whole's, position is 0."""

    limits: Limits
    facts: Facts
    halts: tuple[Halt, ...]
    ready: bool  # reconciled, and the order stream is back-filled
    ended: str = ""  # the part of the desk that died; "": none
    account: AccountSnapshot | None
    equity: EquityMark | None
    unvalued: str = ""  # why nobody knows what crypto made; "": it is known
    instrument: Instrument
    quote: Quote | None
    position: Decimal
    reserved: Reserved
    total: Reserved
    holdings: tuple[Holding, ...]
    reserved_crypto: Decimal  # notional that open crypto orders reserve
    elsewhere: tuple[Decimal, Decimal] = (ZERO, ZERO)  # how far other accounts go in this instrument, with what is open there: buys, sells
    working: tuple[Order, ...]  # on this instrument at this broker, in every account there
    recent: tuple[tuple[int, NewOrder], ...]  # what was approved in the last minute, newest first
    reserving: frozenset[tuple[BrokerName, InstrumentID]]  # where unsettled orders reserve something
    rate: Decimal | None = ONE  # what one unit of the instrument's currency is worth in BASE_CURRENCY; None: nobody knows
    cover: Decimal = ZERO  # units of this option that may be sold and are covered
    legs: tuple[LegState, ...] = ()  # of a multileg order, in its order
    live: bool
    arming: Arming | None  # live only
    dry_run: bool
    cl_ord_id: ClOrdID
    now_ns: int
    journal_free: int = 0  # bytes the journal can still take …
    journal_free_min: int = 0  # … and how many it must be able to take before new risk is taken


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """An order in the numbers the rules compare."""

    request: NewOrder
    px: Decimal  # the worse of its own price and the mark; 1 for inverse contracts, of which each counts the same at any price
    qty: Decimal
    notional: Decimal
    reducing: bool
    crypto: bool
    uncovered: Decimal  # units of an option that this sells, beyond what is held and what covers them
    opens: tuple[bool, ...]  # of each leg
    replaces: Order | None


def check(request: NewOrder, state: RiskState, replaces: Order | None = None) -> Approved:
    """Pass an order through every limit or refuse it. Notional is order_qty × the worse of price and mark × multiplier, in
    BASE_CURRENCY; of an inverse contract it is order_qty × multiplier. Nothing else makes an Approved, and Broker.submit takes nothing else.

    Raises: RiskRefused: names the rule, its limit and the value that broke it, in words a person can read. BadRequest: no order at all.
    """
    _well_formed(request)
    request = _on_price_grid(request, state.instrument)
    terms = _terms(request, state, replaces)
    for rule in _RULES:
        rule(terms, state)
    return Approved(
        request=request,
        cl_ord_id=state.cl_ord_id,
        account="" if state.account is None else state.account.account,
        symbol=state.instrument.symbol,
        reserve_px=terms.px * _unit(state),
        reserve_qty=terms.qty,
        reducing=terms.reducing,
        opens=terms.opens,
        dry_run=state.dry_run,
        approved_ns=state.now_ns,
        orig_cl_ord_id=None if replaces is None else replaces.cl_ord_id,
        orig_order_id=None if replaces is None else replaces.order_id,
    )


def breaches(limits: Limits, mark: EquityMark, now_ns: int) -> tuple[Halt, ...]:
    """The loss limits that this equity breaks, as the halts they call for. The desk latches them, or only warns where the owner said so."""
    crypto = AssetClass.CRYPTO
    tests = (
        ("all", "MAX_DAILY_LOSS_PCT", mark.loss(), limits.max_daily_loss_pct, "today's loss"),
        ("all", "MAX_DRAWDOWN_PCT", mark.drawdown(), limits.max_drawdown_pct, "the fall from the highest equity"),
        ("crypto", "CRYPTO_MAX_DAILY_LOSS_PCT", mark.loss(crypto), limits.crypto_max_daily_loss_pct, "today's crypto loss"),
        ("crypto", "CRYPTO_MAX_DRAWDOWN_PCT", mark.drawdown(crypto), limits.crypto_max_drawdown_pct, "the fall of crypto from its best"),
    )
    return tuple(
        Halt(scope=scope, level=Level.REDUCE_ONLY, rule=rule, text=f"{what} is {_pct(value)} of equity, the limit is {_pct(limit)}", set_ns=now_ns)
        for scope, rule, value, limit, what in tests
        if value >= limit
    )


def latches(limits: Limits, halt: Halt) -> bool:
    """Whether the owner wants this breach to stop trading; otherwise it is a warning with an alert."""
    return limits.halt_on_daily_loss if "DAILY_LOSS" in halt.rule else limits.halt_on_drawdown


def joined(standing: Halt, halt: Halt) -> Halt:
    """One halt of a scope for what stands and what comes: as hard as the harder. What came first may never show again, so each rule's last words
    stay."""
    said = ((standing.rule, standing.text.removesuffix(_besides(standing.also))), *standing.also)
    also = tuple((rule, text) for rule, text in said if rule != halt.rule)
    level = max(standing.level, halt.level, key=lambda level: level.rank)
    return replace(halt, level=level, text=halt.text + _besides(also), also=also)


def _besides(also: tuple[tuple[str, str], ...]) -> str:
    return "".join(f"; {rule}: {text}" for rule, text in also)


def covers(halt: Halt, broker: BrokerName, instrument: InstrumentID, asset_class: AssetClass) -> bool:
    """Whether a halt applies to orders on this instrument at this broker."""
    return halt.scope in ("all", broker, f"{broker}:{instrument}") or (halt.scope == "crypto" and asset_class.is_crypto)


def reduces(side: Side, qty: Decimal, position: Decimal, reserved: Reserved) -> bool:
    """Whether an order can only shrink the position, whatever else that is still open does: it fits into what is left to close."""
    if side is Side.SELL:
        return 0 < qty <= position - reserved.sell_qty
    return 0 < qty <= -position - reserved.buy_qty


def _well_formed(request: NewOrder) -> None:
    if (request.order_qty is None) == (request.cash_order_qty is None):
        raise BadRequest("give either a quantity or an amount of money, not both and not neither")
    amount = request.cash_order_qty if request.order_qty is None else request.order_qty
    if amount is None or amount <= 0:
        raise BadRequest("a quantity or amount is greater than zero; to sell, use sell")
    if request.legs:
        _well_legged(request)
        return
    for name, needed, value in (
        ("a limit price", request.ord_type.has_price, request.price),
        ("a stop price", request.ord_type.has_stop, request.stop_px),
    ):
        if needed and (value is None or value <= 0):
            raise BadRequest(f"a {request.ord_type} order needs {name} greater than zero")
        if not needed and value is not None:
            raise BadRequest(f"a {request.ord_type} order takes no {name.removeprefix('a ')}")
    if request.cash_order_qty is not None and request.ord_type is not OrdType.MARKET:
        raise BadRequest("an amount of money goes with a market order; give a quantity for the other types")
    trails = [trail for trail in (request.trail_px, request.trail_pct) if trail is not None]
    if len(trails) != (request.ord_type is OrdType.TRAILING_STOP):
        raise BadRequest("a trailing stop, and nothing else, takes one distance: an amount of money or a fraction of the price")
    if any(trail <= 0 for trail in trails) or (request.trail_pct is not None and request.trail_pct >= 1):
        raise BadRequest("a trailing stop's distance is greater than zero, a fraction below one")
    _well_attached(request)


def _well_legged(request: NewOrder) -> None:
    distinct = {leg.instrument for leg in request.legs}
    if len(request.legs) < 2 or len(distinct) < len(request.legs) or any(leg.ratio_qty < 1 for leg in request.legs):
        raise BadRequest("a multileg order has two legs or more, each another option, each at least once")
    if any(underlying_of(name) != request.instrument for name in distinct) or not any(map(is_option, distinct)):
        raise BadRequest(f"the legs of a multileg order are options on one thing, and shares of it at most: here {request.instrument}")
    if shares_of(request.legs) is None and math.gcd(*(leg.ratio_qty for leg in request.legs)) != 1:
        raise BadRequest("write a multileg order's ratios as small as they go, and the quantity as large")
    if request.ord_type is not OrdType.LIMIT or request.price is None or request.order_qty is None or request.side is not Side.BUY:
        raise BadRequest("a multileg order is bought whole, in a quantity, at the net price of its legs: below zero where it pays you")
    if request.attached is not None or request.protect_stop_px is not None or request.stop_px is not None:
        raise BadRequest("a multileg order takes no stops")


def _well_attached(request: NewOrder) -> None:
    attached = request.attached
    if attached is None:
        return
    prices = (attached.take_profit_px, attached.stop_px, attached.stop_limit_px)
    if not any(prices) or any(price is not None and price <= 0 for price in prices):
        raise BadRequest("give a take-profit price, a stop price or both, greater than zero")
    if attached.stop_limit_px is not None and attached.stop_px is None:
        raise BadRequest("the limit of a stop goes with its stop price")
    if request.protect_stop_px is not None or request.cash_order_qty is not None:
        raise BadRequest("linked orders take a quantity, and either the broker holds their stop or the desk does (--protect)")
    if request.reduce_only and (attached.take_profit_px is not None or attached.stop_px is None or request.ord_type is not OrdType.LIMIT):
        raise BadRequest("an OCO is an exit at a limit price, which is its take-profit, with a stop beside it")


def _on_price_grid(request: NewOrder, instrument: Instrument) -> NewOrder:
    """A limit price is put on the grid, never past what was asked; a stop price off the grid is refused by its rule."""
    if request.price is None:
        return request
    return replace(request, price=round_price(request.price, instrument.tick(request.price), request.side))


def _terms(request: NewOrder, state: RiskState, replaces: Order | None) -> Terms:
    if request.legs:
        return _leg_terms(request, state)
    mark = None if state.quote is None else state.quote.mid or state.quote.touch(request.side)
    trigger = None if mark is None else mark + request.side.sign * (request.trail_px or mark * (request.trail_pct or ZERO))
    prices = [price for price in (request.price, request.stop_px, mark, trigger) if price is not None]
    px = max(prices, default=ZERO)
    cash = request.cash_order_qty
    qty = request.order_qty if request.order_qty is not None else (cash / px if cash is not None and px else ZERO)
    leg = replaces is not None and replaces.parent is not None
    reserved = state.reserved if replaces is None else _without(state.reserved, replaces)
    if replaces is not None and leg:
        qty = replaces.reserve_qty  # of two exits that end one another, one reserves
    reducing = leg or reduces(request.side, qty, state.position, reserved)
    contract, uncovered = state.instrument.contract, ZERO
    if contract is not None and not reducing:
        short = ZERO if request.side is Side.BUY else qty - max(ZERO, state.position - reserved.sell_qty)
        uncovered = max(ZERO, short * state.instrument.multiplier - state.cover)
        px = unit_risk(contract, request.side, px, covered=not uncovered)
    if state.instrument.inverse:
        px = ONE
    return Terms(
        request=request,
        px=px,
        qty=qty,
        notional=qty * px * _unit(state),
        reducing=reducing,
        crypto=state.instrument.asset_class.is_crypto,
        uncovered=uncovered,
        opens=(),
        replaces=replaces,
    )


def _leg_terms(request: NewOrder, state: RiskState) -> Terms:
    """A multileg order in numbers: what it puts at risk is its greatest loss. One with shares closes what it closes at its mark, and counts for no
    less than what it opens is worth, leg by leg: so it is held.

    Raises: BadRequest: other shares than those of one contract, which have no one price for each share.
    """
    qty, price, multiplier = request.order_qty or ZERO, request.price or ZERO, state.instrument.multiplier
    legs = tuple(zip(request.legs, state.legs, strict=True))
    opens = tuple(not reduces(leg.side, qty * leg.ratio_qty, known.position, known.reserved) for leg, known in legs)
    opened = [part for part, opening in zip(legs, opens, strict=True) if opening]
    contracts = [(known.contract, leg.side.sign * leg.ratio_qty) for leg, known in opened if known.contract is not None]
    shares, covering, least = shares_of(request.legs), ZERO, ZERO
    if shares is not None:
        if shares.ratio_qty != multiplier:
            raise BadRequest(f"the shares of a multileg order are {plain(multiplier)}, what one contract is about: its price is for each of them")
        price -= sum((leg.side.sign * _worth(leg, known, multiplier) for (leg, known), opening in zip(legs, opens, strict=True) if not opening), ZERO)
        least = sum((_worth(leg, known, multiplier) for leg, known in opened), ZERO)
        covering = sum((Decimal(leg.side.sign) for leg, known in opened if known.contract is None and known.position * leg.side.sign >= 0), ZERO)
    loss = greatest_loss(contracts, price, covering)
    unbounded = sum((abs(ratio) * contract.strike for contract, ratio in contracts), abs(price))  # at least what must be delivered or paid
    px = max(least, unbounded if loss is None else loss)
    return Terms(
        request=request,
        px=px,
        qty=qty,
        notional=qty * px * _unit(state),
        reducing=not any(opens),
        crypto=False,
        uncovered=qty * state.instrument.multiplier if loss is None else ZERO,
        opens=opens,
        replaces=None,
    )


def _worth(leg: Leg, known: LegState, multiplier: Decimal) -> Decimal:
    """What one whole has of a leg, at its mark, in the price's own unit. Without a mark no entry passes."""
    return (known.mark or ZERO) * (leg.ratio_qty / multiplier if known.contract is None else leg.ratio_qty)


def _shares_opened(terms: Terms, state: RiskState) -> tuple[Leg, LegState] | None:
    """The leg of a multileg order that opens a position in shares."""
    parts = zip(terms.request.legs, state.legs, terms.opens, strict=True)
    return next(((leg, known) for leg, known, opens in parts if opens and known.contract is None), None)


def _without(reserved: Reserved, order: Order) -> Reserved:
    """For what is left to close, the order being replaced does not count twice: at the broker only one of the two can fill."""
    qty = max(ZERO, order.reserve_qty - order.cum_qty)
    return replace(reserved, buy_qty=reserved.buy_qty - qty) if order.side is Side.BUY else replace(reserved, sell_qty=reserved.sell_qty - qty)


def _unit(state: RiskState) -> Decimal:
    """What a price of 1 is in BASE_CURRENCY, for one unit. Without a rate it is counted as it stands: no entry passes then."""
    return state.instrument.multiplier * (ONE if state.rate is None else state.rate)


def _pct(fraction: Decimal) -> str:
    return f"{plain((fraction * 100).quantize(Decimal('0.01')))} %"


def _money(amount: Decimal) -> str:
    return f"{amount.quantize(Decimal('0.01')):,}"


def _equity(state: RiskState) -> Decimal:
    if state.equity is None or state.equity.equity <= 0:
        raise RiskRefused("EQUITY", "a known equity above zero", "the accounts report none", "Run `trading check`.")
    return state.equity.equity


def _halted(terms: Terms, state: RiskState) -> None:
    if not terms.reducing:
        refuse_halted(state.halts, terms.request.broker, terms.request.instrument, state.instrument.asset_class)


def refuse_halted(halts: Iterable[Halt], broker: BrokerName, instrument: InstrumentID, asset_class: AssetClass) -> None:
    """Raises Halted: one of them is in the way of new risk there."""
    for halt in halts:
        if covers(halt, broker, instrument, asset_class):
            raise Halted(halt.rule, f"no new risk while {halt.scope} is halted", halt.text, "Exits still pass; `trading resume` clears the halt.")


def _ready(terms: Terms, state: RiskState) -> None:
    if state.ended and not terms.reducing:
        raise RiskRefused("READY", "a desk of which every part runs", f"{state.ended} has ended", "Restart the desk.")
    if not state.ready and not terms.reducing:
        raise RiskRefused("READY", "a reconciled order stream", "the desk is still reading what happened", "Wait a moment and try again.")
    if state.account is not None and not state.account.tradable:
        raise RiskRefused("ACCOUNT", "an account that may trade", state.account.text, f"See {state.facts.pages.get('status', 'the broker')}.")


def _disk_space(terms: Terms, state: RiskState) -> None:
    """What can no longer be written down is no longer begun; the journal keeps a reserve for exits, cancels and halts."""
    if state.journal_free < state.journal_free_min and not terms.reducing:
        free, limit = (f"{plain((Decimal(size) / 1_000_000).quantize(Decimal(1)))} MB" for size in (state.journal_free, state.journal_free_min))
        advice = "Free some there and, if it was full, start the desk again; exits, cancels and halts still pass."
        raise RiskRefused("DISK_SPACE", f"{limit} free on the journal's volume", f"{free} left", advice)


def _armed(terms: Terms, state: RiskState) -> None:
    """Live money moves only while the owner has armed the desk; exits need no arming."""
    if not state.live or terms.reducing or state.account is None:
        return
    arming, advice = state.arming, "`trading arm --max-notional … --until …` lets live orders out."
    if arming is None or state.now_ns >= arming.until_ns or state.account.account not in arming.accounts:
        raise RiskRefused("ARM", "an armed desk", f"account {state.account.account} is not armed", advice)
    if arming.spent + terms.notional > arming.max_notional:
        raise RiskRefused("ARM", _money(arming.max_notional), f"{_money(arming.spent + terms.notional)} in all", advice)


def _reduce_only(terms: Terms, state: RiskState) -> None:
    if terms.request.reduce_only and not terms.reducing:
        open_qty = plain(state.position)
        raise RiskRefused(
            "REDUCE_ONLY", f"the open position of {open_qty}", plain(terms.qty), "Lower the quantity, or cancel what already closes it."
        )


def _capability(terms: Terms, state: RiskState) -> None:
    request, instrument = terms.request, state.instrument
    fractional = request.cash_order_qty is not None or (request.order_qty is not None and not on_grid(request.order_qty, instrument.whole_lot))
    rule = state.facts.rule(instrument.asset_class, request.ord_type, request.time_in_force, fractional=fractional)
    combo = shares_of(request.legs) is not None
    parts = f"{len(request.legs)} legs {'with shares ' if combo else ''}" if request.legs else ""
    what = f"{'fractional ' if fractional else ''}{parts}{request.ord_type} {request.time_in_force} for {instrument.asset_class}"
    too_many = bool(request.legs) and len(request.legs) > (state.facts.combo_legs_max if combo else state.facts.legs_max)
    if rule is None or too_many or (terms.replaces is not None and not state.facts.can_replace):
        raise RiskRefused("CAPABILITY", f"what {state.facts.title} takes", what, "See `trading brokers` for its order types and times in force.")
    if rule.cash_buys and (request.side is Side.BUY) != (request.cash_order_qty is not None):
        amount = "a buy names an amount of money" if request.side is Side.BUY else "a sale names a quantity"
        raise RiskRefused("CAPABILITY", f"what {state.facts.title} takes: {amount}", what, "Use --cash to buy, and a quantity to sell.")
    if request.extended_hours and not (rule.extended_hours and request.ord_type is OrdType.LIMIT and request.time_in_force is TimeInForce.DAY):
        raise RiskRefused("CAPABILITY", "limit day orders in extended hours", what, "Use --limit with --tif day, or drop --extended-hours.")


def _protection(terms: Terms, state: RiskState) -> None:
    """The stop that an entry asks for must be one that can rest: of a kind the broker takes, on the grid, and on the losing side of the price."""
    stop_px, request = terms.request.protect_stop_px, terms.request
    if stop_px is None:
        return
    if terms.reducing:
        raise RiskRefused("PROTECT", "a stop for what opens", f"{request.side} only closes", "Leave --protect away.")
    asset_class = state.instrument.asset_class
    if not any(rule.asset_class is asset_class and rule.ord_types & _STOPS for rule in state.facts.rules):
        raise RiskRefused("CAPABILITY", f"what {state.facts.title} takes", f"a stop for {asset_class}", "Leave --protect away.")
    _exit_beyond(stop_px, request.side, request.price or request.stop_px or _mid(state), "PROTECT", "a stop", state)


def _mid(state: RiskState) -> Decimal | None:
    return None if state.quote is None else state.quote.mid


def _exit_beyond(price: Decimal, entry: Side, reference: Decimal | None, rule: str, what: str, state: RiskState) -> None:
    """An exit at a loss lies below what was bought and above what was sold. Else it would go off at once."""
    if price <= 0 or (reference is not None and (reference - price) * entry.sign <= 0):
        side = "below" if entry is Side.BUY else "above"
        at = "the price" if reference is None else plain(reference)
        raise RiskRefused(rule, f"{what} {side} {at}", plain(price), "It would go off at once; name another price.")
    if state.limits.validate_orders and not on_grid(price, state.instrument.tick(price)):
        raise RiskRefused("TICK", f"steps of {plain(state.instrument.tick(price))}", plain(price), "Round its price.")


def _taken(state: RiskState, contingency: Contingency) -> str:
    """The entries that the broker links so, as in "limit day/gtc"."""
    lines = [line for line in state.facts.links if line.asset_class is state.instrument.asset_class and contingency in line.contingencies]
    return ", ".join(f"{'/'.join(sorted(line.ord_types))} {'/'.join(sorted(line.times_in_force))}" for line in lines)


def _linked(terms: Terms, state: RiskState) -> None:
    """Exits that the broker shall hold: of a kind it takes, on the grid, each on its own side of the price."""
    request, attached = terms.request, terms.request.attached
    if attached is None:
        return
    contingency, asset_class, tif = request.contingency, state.instrument.asset_class, request.time_in_force
    link = state.facts.link(asset_class, contingency, request.ord_type, tif)
    whole = on_grid(terms.qty, state.instrument.whole_lot)
    if link is None or not whole or request.extended_hours or (terms.replaces is not None and not link.can_replace):
        what = f"{'' if whole else 'fractional '}{contingency} {request.ord_type} {tif} for {asset_class}"
        advice = f"It takes {_taken(state, contingency) or 'none'}, in whole lots; --protect is a stop that the desk keeps itself."
        raise RiskRefused("CAPABILITY", f"linked orders that {state.facts.title} holds", what, advice)
    exit_ = contingency is Contingency.OCO
    if terms.reducing and not exit_:
        raise RiskRefused("PROTECT", "exits for what opens", f"{request.side} only closes", "An exit with a stop beside it is an OCO: --reduce-only.")
    entry = request.side.opposite if exit_ else request.side
    price = request.price or request.stop_px or _mid(state)
    if attached.stop_px is not None:
        known = [reference for reference in (price, _mid(state)) if reference is not None]
        nearest = min(known, default=None) if entry is Side.BUY else max(known, default=None)
        _exit_beyond(attached.stop_px, entry, nearest if exit_ else price, "STOP_LOSS", "a stop", state)
    if attached.stop_limit_px is not None and attached.stop_px is not None:
        if (attached.stop_px - attached.stop_limit_px) * entry.sign < 0:
            side = "at or below" if entry is Side.BUY else "at or above"
            raise RiskRefused("STOP_LOSS", f"its limit {side} its stop", plain(attached.stop_limit_px), "Else it could not fill when it goes off.")
        _exit_beyond(attached.stop_limit_px, entry, None, "STOP_LOSS", "the stop's limit", state)
    if attached.take_profit_px is not None:
        _exit_beyond(attached.take_profit_px, entry.opposite, price, "TAKE_PROFIT", "a take-profit", state)


def _crypto_allowed(terms: Terms, state: RiskState) -> None:
    if not terms.crypto or terms.reducing:
        return
    if not state.limits.enable_crypto:
        raise RiskRefused("ENABLE_CRYPTO", "no crypto", state.instrument.id, "Set ENABLE_CRYPTO=true to allow it.")
    if state.instrument.base not in state.limits.crypto_symbols:
        allowed = ", ".join(sorted(state.limits.crypto_symbols))
        raise RiskRefused("CRYPTO_SYMBOLS", allowed, state.instrument.base, "Add it to CRYPTO_SYMBOLS if you mean to trade it.")


def _broker_rules(terms: Terms, state: RiskState) -> None:
    """Our copy of the broker's own rules: tick, lot, minimum, hours."""
    if not state.limits.validate_orders:
        return
    request, instrument = terms.request, state.instrument
    if not instrument.tradable:
        raise RiskRefused("TRADABLE", "instruments the broker trades", instrument.id, "The broker has it listed, but not tradable now.")
    if request.order_qty is not None and not on_grid(request.order_qty, instrument.lot):
        raise RiskRefused("LOT", f"multiples of {plain(instrument.lot)}", plain(request.order_qty), "Round the quantity down.")
    if request.stop_px is not None and not on_grid(request.stop_px, instrument.tick(request.stop_px)):
        raise RiskRefused("TICK", f"steps of {plain(instrument.tick(request.stop_px))}", plain(request.stop_px), "Round the stop price.")
    if request.order_qty is not None and request.order_qty < instrument.min_qty:
        raise RiskRefused("MIN_QTY", plain(instrument.min_qty), plain(request.order_qty), "Raise the quantity.")
    worth = abs(instrument.pricing.worth(terms.qty, request.price or terms.px))  # at its own price, where it names one: so does the broker
    if terms.px and worth < instrument.min_notional and not terms.reducing:
        raise RiskRefused("MIN_NOTIONAL", _money(instrument.min_notional), _money(worth), "Raise the quantity.")
    auction = request.time_in_force in (TimeInForce.AT_THE_OPENING, TimeInForce.AT_THE_CLOSE)
    if not auction and is_open(instrument.hours, state.now_ns, extended=request.extended_hours) is not True:
        raise RiskRefused("HOURS", "the trading session", f"{instrument.id} is closed", "Wait for the open, or use --extended-hours with --limit.")


def _options(terms: Terms, state: RiskState) -> None:
    """No entry into what has expired, nothing sold that nothing covers, and no more premium at risk than the owner set."""
    limits = state.limits
    if not state.instrument.asset_class.is_option or terms.reducing:
        return
    today = datetime.fromtimestamp(state.now_ns // _SECOND_NS, UTC).date()
    own = () if state.instrument.contract is None else (state.instrument.contract,)
    for contract in (*own, *(leg.contract for leg in state.legs)):
        if contract is not None and contract.expiry < today:
            ended = f"{option_name(contract)} expired on {contract.expiry}"
            raise RiskRefused("EXPIRY", "options that live", ended, "Name a later one: `trading chain`.")
    if terms.uncovered and not limits.enable_uncovered_options:
        advice = "Lower the quantity, hold what covers it, or sell it as part of a spread. ENABLE_UNCOVERED_OPTIONS=true allows it."
        raise RiskRefused("UNCOVERED", f"the {plain(state.cover)} units that are covered", f"{plain(terms.uncovered)} would not be", advice)
    pct = limits.option_max_premium_pct
    held = max(ZERO, state.position) + state.reserved.buy_qty
    premium = terms.px
    if state.legs:  # of a combo what its shares cost is none
        parts = zip(terms.request.legs, state.legs, strict=True)
        shares = sum((leg.side.sign * _worth(leg, known, state.instrument.multiplier) for leg, known in parts if known.contract is None), ZERO)
        premium = (terms.request.price or ZERO) - shares
    after = (held + terms.qty) * premium * _unit(state)
    if terms.request.side is Side.BUY and after > pct * _equity(state):
        limit = f"{_pct(pct)} of equity = {_money(pct * _equity(state))}"
        raise RiskRefused("OPTION_MAX_PREMIUM_PCT", limit, f"{_money(after)} of premium in {state.instrument.id}", "Lower the quantity.")


def _shorts(terms: Terms, state: RiskState) -> None:
    allowed = "Lower the quantity; ENABLE_SHORTS=true allows shorting."
    combo = _shares_opened(terms, state)
    if combo is not None and combo[0].side is Side.SELL and (not state.limits.enable_shorts or not combo[1].shortable):
        free = plain(max(ZERO, combo[1].position - combo[1].reserved.sell_qty))
        raise RiskRefused("SHORT", f"the {free} you can sell", plain(terms.qty * combo[0].ratio_qty), allowed)
    if terms.request.side is Side.BUY or terms.reducing or state.instrument.asset_class.is_option:
        return
    spot = state.instrument.asset_class is AssetClass.CRYPTO
    short = terms.qty > state.position - state.reserved.sell_qty
    if short and (not state.limits.enable_shorts or not state.instrument.shortable or spot):
        free = plain(max(ZERO, state.position - state.reserved.sell_qty))
        never = "coins are sold or they are not held" if spot else f"{state.instrument.id} cannot be sold short here"
        advice = allowed if state.instrument.shortable and not spot else f"Lower the quantity; {never}."
        raise RiskRefused("SHORT", f"the {free} you can sell", plain(terms.qty), advice)


def _fresh(terms: Terms, state: RiskState) -> None:
    """Fail closed on missing or old data; only an exit may pass without."""
    if terms.reducing:
        return
    limit_ns = state.limits.crypto_quote_max_age_ns if terms.crypto else state.limits.quote_max_age_ns
    limit = f"a quote no older than {plain(Decimal(limit_ns) / _SECOND_NS)} s"
    if state.quote is None or state.quote.mid is None:
        raise RiskRefused("QUOTE_AGE", limit, f"{state.instrument.id} has no two-sided quote", "Wait for the market, or check the data feed.")
    age_ns = state.now_ns - state.quote.transact_ns
    if abs(age_ns) > limit_ns:  # from the future: this machine's clock is off, and no age means anything
        raise RiskRefused("QUOTE_AGE", limit, f"{plain(Decimal(age_ns // 1_000_000) / 1000)} s", "Wait for a fresh quote, or check the data feed.")
    if state.account is None or state.now_ns - state.account.recv_ns > state.limits.account_max_age_ns:
        raise RiskRefused("ACCOUNT_AGE", "account figures no older than ACCOUNT_MAX_AGE_S", "older or missing", "Run `trading check`.")


def _collar(terms: Terms, state: RiskState) -> None:
    mid = None if state.quote is None else state.quote.mid
    price = terms.request.price
    if mid is None or price is None:
        return
    reference = terms.request.stop_px or mid  # the limit of a stop-limit stands around its own trigger
    if state.legs and state.quote is not None:
        reference = state.quote.touch(terms.request.side) or mid  # the sides of several spreads add up: the middle is far from both
    name, pct = "PRICE_COLLAR_PCT", state.limits.price_collar_pct
    if terms.crypto:
        name, pct = "CRYPTO_PRICE_COLLAR_PCT", state.limits.crypto_price_collar_pct
    distance = reference * pct
    if state.instrument.asset_class.is_option:
        if shares_of(terms.request.legs) is None:
            name, pct = "OPTION_PRICE_COLLAR_PCT", state.limits.option_price_collar_pct
        distance = max(abs(reference) * pct, _OPTION_COLLAR_MIN, 2 * state.instrument.tick(reference))
    if (price - reference) * terms.request.side.sign > distance:
        raise RiskRefused(name, f"{_pct(pct)} from {plain(reference)}", plain(price), "Check the price for a typing error.")


def _spread(terms: Terms, state: RiskState) -> None:
    """An order without a price takes what it finds: not where the two sides are far apart."""
    quote, limits = state.quote, state.limits
    if terms.reducing or terms.request.price is not None or quote is None or quote.mid is None or quote.ask_px is None or quote.bid_px is None:
        return
    name, pct = ("CRYPTO_MAX_SPREAD_PCT", limits.crypto_max_spread_pct) if terms.crypto else ("MAX_SPREAD_PCT", limits.max_spread_pct)
    spread = (quote.ask_px - quote.bid_px) / quote.mid
    if spread > pct:
        sides = f"{plain(quote.bid_px)} to {plain(quote.ask_px)}, {_pct(spread)}"
        raise RiskRefused(name, f"{_pct(pct)} between bid and offer for orders without a price", sides, "Name a price with --limit.")


def _throttle(terms: Terms, state: RiskState) -> None:
    if terms.reducing:
        return
    second_ago_ns, minute_ago_ns = state.now_ns - _SECOND_NS, state.now_ns - 60 * _SECOND_NS
    last_second = len([at_ns for at_ns, _ in state.recent if at_ns > second_ago_ns])
    last_minute = len([at_ns for at_ns, _ in state.recent if at_ns > minute_ago_ns])
    if last_second >= state.limits.max_orders_per_second:
        raise RiskRefused("MAX_ORDERS_PER_SECOND", str(state.limits.max_orders_per_second), f"{last_second} already", "Wait a second.")
    if last_minute >= state.limits.max_orders_per_minute:
        raise RiskRefused("MAX_ORDERS_PER_MINUTE", str(state.limits.max_orders_per_minute), f"{last_minute} already", "Wait a minute.")


def _duplicate(terms: Terms, state: RiskState) -> None:
    if terms.request.repeat or terms.reducing:
        return
    for at_ns, earlier in state.recent:
        if state.now_ns - at_ns < state.limits.duplicate_order_window_ns and replace(earlier, intent=terms.request.intent) == terms.request:
            window = plain(Decimal(state.limits.duplicate_order_window_ns) / _SECOND_NS)
            raise RiskRefused("DUPLICATE_ORDER_WINDOW_S", f"one such order in {window} s", "the same order again", "Use --repeat if you mean it.")


def _open_orders(terms: Terms, state: RiskState) -> None:
    if terms.reducing or terms.replaces is not None:
        return
    attached = terms.request.attached
    exits = 0 if attached is None else (attached.take_profit_px is not None) + (attached.stop_px is not None)
    for name, limit, count in (
        ("MAX_OPEN_ORDERS", state.limits.max_open_orders, state.total.orders),
        ("MAX_OPEN_ORDERS_PER_INSTRUMENT", state.limits.max_open_orders_per_instrument, state.reserved.orders),
    ):
        if count + exits >= limit:
            raise RiskRefused(name, str(limit), f"{count} open", "Cancel some first.")


def _self_match(terms: Terms, state: RiskState) -> None:
    """An order that could trade with another order of ours is refused: the venue may call it a wash trade."""
    shares = shares_of(terms.request.legs)
    side, price = (terms.request.side, terms.request.price) if shares is None else (shares.side, None)
    for order in state.working:
        if order.held or order.legs:  # the legs of several are orders of their own
            continue
        crosses = price is None or order.price is None or (price - order.price) * side.sign >= 0
        if order.side is side.opposite and crosses and not order.ord_type.waits and not terms.request.ord_type.waits:
            raise RiskRefused(
                "SELF_MATCH", "no trade with yourself", f"{order.cl_ord_id} rests on the other side", f"Cancel {order.cl_ord_id} first."
            )


def _doubtful(terms: Terms, state: RiskState) -> None:
    if state.reserved.in_doubt and not terms.reducing:
        raise RiskRefused(
            "IN_DOUBT", "no new risk beside an order in doubt", f"{state.reserved.in_doubt} on {state.instrument.id}", "Wait until it is resolved."
        )


def _convertible(terms: Terms, state: RiskState) -> None:
    """No entry in a currency whose worth nobody knows, nor in a dollar coin that has left the dollar."""
    if terms.reducing:
        return
    currency = state.instrument.currency
    if state.rate is None:
        advice = "Run `trading check`: the broker gave no price for it."
        raise RiskRefused("FX_RATE", f"a known price of {currency}", f"{currency} has none", advice)
    if currency in DOLLAR_COINS and abs(state.rate - 1) > DEPEG_MAX:
        raise RiskRefused("DEPEG", f"a {currency} within {_pct(DEPEG_MAX)} of a dollar", plain(state.rate), "Exits still pass.")


def _crypto_valued(terms: Terms, state: RiskState) -> None:
    """No crypto while nobody knows what crypto made: its loss limits could not be judged."""
    if terms.crypto and state.unvalued and not terms.reducing:
        raise RiskRefused("CRYPTO_PNL", "a known profit and loss of crypto", state.unvalued, "Run `trading check`; exits still pass.")


def _max_position(terms: Terms, state: RiskState) -> None:
    if terms.reducing:
        return
    pct = state.limits.crypto_max_position_pct if terms.crypto else state.limits.max_position_pct
    equity = _equity(state)
    after = abs(_towards(terms.request.side, state) + terms.qty) * terms.px * _unit(state)
    combo = _shares_opened(terms, state)
    if combo is not None:
        leg, known = combo
        before = known.position * leg.side.sign + (known.reserved.buy_qty if leg.side is Side.BUY else known.reserved.sell_qty)
        after = max(after, abs(before + terms.qty * leg.ratio_qty) * (known.mark or ZERO) * _unit(state) / state.instrument.multiplier)
    if after > pct * equity:
        name = "CRYPTO_MAX_POSITION_PCT" if terms.crypto else "MAX_POSITION_PCT"
        room = max(ZERO, pct * equity - (after - terms.notional))
        raise RiskRefused(
            name,
            f"{_pct(pct)} of equity = {_money(pct * equity)}",
            f"{state.instrument.id} would stand at {_money(after)}",
            f"At most {_money(room)} more fits.",
        )


def _concurrent(terms: Terms, state: RiskState) -> None:
    count = _others_open(terms.request.broker, terms.request.instrument, state)
    if not terms.reducing and count is not None and count >= state.limits.max_concurrent_positions:
        limit = str(state.limits.max_concurrent_positions)
        raise RiskRefused("MAX_CONCURRENT_POSITIONS", limit, f"{count} open or on their way", "Close one first.")


def _leverage(terms: Terms, state: RiskState) -> None:
    if terms.reducing:
        return
    equity = _equity(state)
    gross, crypto = _exposure(state)
    for name, limit, after, applies in (
        ("MAX_LEVERAGE", state.limits.max_leverage, gross + state.total.notional + terms.notional, True),
        ("CRYPTO_MAX_LEVERAGE", state.limits.crypto_max_leverage, crypto + state.reserved_crypto + terms.notional, terms.crypto),
    ):
        if applies and after > limit * equity:
            advice = "Lower the quantity or close something."
            raise RiskRefused(name, f"{plain(limit)} × equity = {_money(limit * equity)}", f"exposure would be {_money(after)}", advice)


def _towards(side: Side, state: RiskState) -> Decimal:
    """How far the position already goes that way over all accounts, with what is open; exits count too: beside them an entry carries further past
    zero. What goes the other way elsewhere is no room here."""
    bought, sold = state.elsewhere
    own = state.position * side.sign
    return own + (state.reserved.buy_qty + bought if side is Side.BUY else state.reserved.sell_qty + sold)


def _others_open(broker: BrokerName, instrument: InstrumentID, state: RiskState) -> int | None:
    """In how many instruments something is held or on its way; None: this is one of them."""
    open_keys = {(holding.broker, holding.instrument) for holding in state.holdings if holding.qty}
    open_keys |= {(other, underlying_of(reserving)) for other, reserving in state.reserving}
    return None if (broker, underlying_of(instrument)) in open_keys else len(open_keys)


def _exposure(state: RiskState) -> tuple[Decimal, Decimal]:
    """What is held in all, and in crypto. Raises RiskRefused: something without a price."""
    gross, crypto = ZERO, ZERO
    for holding in state.holdings:
        if holding.mark is None and holding.qty:
            at, advice = "", "Wait for its quote."
            if not holding.here:
                at, advice = f" at {holding.broker}", f"{holding.broker} is not on this desk: put its key back."
            raise RiskRefused("MAX_LEVERAGE", "positions with a known price", f"{holding.instrument}{at} has none", advice)
        worth = abs(holding.qty) * (holding.mark or ZERO)
        gross += worth
        crypto += worth if holding.asset_class.is_crypto else ZERO
    return gross, crypto


def room(side: Side, px: Decimal, state: RiskState) -> dict[str, Decimal]:
    """By rule, the notional at this price that an entry may have at most, in BASE_CURRENCY: what a size is cut down to before it comes here. The gate
    itself has the last word.

    Raises: RiskRefused: no equity is known, or something is held without a price.
    """
    limits, instrument, equity = state.limits, state.instrument, _equity(state)
    px = ONE if instrument.inverse else px
    gross, crypto = _exposure(state)
    is_crypto = instrument.asset_class.is_crypto
    count = _others_open(instrument.broker, instrument.id, state)
    name, pct = ("CRYPTO_MAX_POSITION_PCT", limits.crypto_max_position_pct) if is_crypto else ("MAX_POSITION_PCT", limits.max_position_pct)
    found = {
        name: pct * equity - _towards(side, state) * px * _unit(state),
        "MAX_LEVERAGE": limits.max_leverage * equity - gross - state.total.notional,
    }
    if is_crypto:
        found["CRYPTO_MAX_LEVERAGE"] = limits.crypto_max_leverage * equity - crypto - state.reserved_crypto
    if state.account is not None:
        found["BUYING_POWER"] = state.account.buying_power
    if count is not None and count >= limits.max_concurrent_positions:
        found["MAX_CONCURRENT_POSITIONS"] = ZERO
    return {rule: max(ZERO, left) for rule, left in found.items()}


def _buying_power(terms: Terms, state: RiskState) -> None:
    if terms.reducing or state.account is None:
        return
    if terms.notional > state.account.buying_power:
        raise RiskRefused("BUYING_POWER", _money(state.account.buying_power), _money(terms.notional), "Lower the quantity.")


def _losses(terms: Terms, state: RiskState) -> None:
    """The latched halts come first; this is the same arithmetic on the equity of this instant, so that no order slips in between."""
    if terms.reducing or state.equity is None:
        return
    for halt in breaches(state.limits, state.equity, state.now_ns):
        applies = covers(halt, terms.request.broker, terms.request.instrument, state.instrument.asset_class)
        if applies and latches(state.limits, halt):
            raise RiskRefused(halt.rule, "no new risk beyond it", halt.text, "Exits still pass.")


Rule = Callable[[Terms, RiskState], None]
_RULES: tuple[Rule, ...] = (
    _halted,
    _ready,
    _disk_space,
    _armed,
    _reduce_only,
    _capability,
    _protection,
    _linked,
    _crypto_allowed,
    _broker_rules,
    _options,
    _shorts,
    _fresh,
    _collar,
    _spread,
    _throttle,
    _duplicate,
    _open_orders,
    _self_match,
    _doubtful,
    _losses,
    _convertible,
    _max_position,
    _concurrent,
    _leverage,
    _crypto_valued,
    _buying_power,
)


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """The error breaker's thresholds (RELIABILITY.md §5): so many rejects in a minute, or so many orders in doubt at once, halt the broker."""

    rejects_per_minute: int = 5
    in_doubt_at_once: int = 3


def tripped(breaker: Breaker, limits: Limits, broker: BrokerName, counts: Mapping[str, int], now_ns: int) -> Halt | None:
    """The halt that errors at one broker call for. counts: "rejects" in the last minute, "in_doubt" now."""
    if not limits.enable_circuit_breakers:
        return None
    for name, limit, text in (
        ("rejects", breaker.rejects_per_minute, "orders refused within a minute"),
        ("in_doubt", breaker.in_doubt_at_once, "orders in doubt at once"),
    ):
        if counts[name] >= limit:
            return Halt(scope=broker, level=Level.HALT, rule="CIRCUIT_BREAKER", text=f"{counts[name]} {text} at {broker}", set_ns=now_ns)
    return None
