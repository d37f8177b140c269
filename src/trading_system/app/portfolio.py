"""One book over all accounts, in one currency: what is held where, what it is worth, and how far every limit is used."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec.structs import replace

from trading_system.app.desk import Desk
from trading_system.app.state import holdings
from trading_system.app.views import View, position_view, risk_view
from trading_system.core.ledger import EquityMark
from trading_system.core.risk import Holding, Limits
from trading_system.domain.account import AccountSnapshot, Position
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import ZERO, plain
from trading_system.domain.ports import CountsRequests

_CENT = Decimal("0.01")
_PART = Decimal("0.000001")


def portfolio(desk: Desk) -> View:
    """From what is known, no broker is asked: equity, cash by currency, positions with their worth in BASE_CURRENCY and as a part of the equity.
    A fill is in the positions at once, in equity and cash when the account is read next (15 s at most).
    What has no mark or no rate has no worth, and is named in `unpriced`."""
    rows, unpriced = [], []
    long, short = ZERO, ZERO
    equity = sum((account.equity for account in desk.accounts.values()), ZERO)
    for name, account in desk.accounts.items():
        for position in _held(desk, account):
            worth = _worth(desk, name, position.instrument, position.qty)
            if worth is None:
                unpriced.append(f"{name}:{position.instrument}")
            else:
                long, short = long + max(worth, ZERO), short + min(worth, ZERO)
            row = position_row(desk, name, position)
            rows.append({**row, "worth": _cents(worth), "part": None if worth is None or not equity else _part(worth / equity)})
    return {
        "currency": desk.base_currency,
        "equity": _cents(equity),
        "cash": {currency: plain(amount) for currency, amount in _cash(desk).items()},
        "long": _cents(long),
        "short": _cents(short),
        "leverage": _part((long - short) / equity) if equity > 0 else None,
        "positions": rows,
        "unpriced": unpriced,
    }


def position_row(desk: Desk, broker: BrokerName, position: Position) -> View:
    """With what it was bought at: where its broker does not say so, by what this desk's own fills cost, as long as they are all that is held:
    those of orders that are still in memory."""
    pricing = desk.pricing(broker, position.instrument)
    average = None if position.avg_px or pricing.inverse else _average(desk, broker, position)
    if average is not None:
        gain = ZERO if position.mark_px is None else pricing.worth(position.qty, position.mark_px - average)
        position = replace(position, avg_px=average, unrealized_pnl=gain)
    return position_view(broker, position, pricing)


def _average(desk: Desk, broker: BrokerName, position: Position) -> Decimal | None:
    """None: the fills leave another quantity, so some of it came from elsewhere, or went there. Fees in kind leave at the average."""
    orders = (order for order in desk.books.blotter if (order.broker, order.instrument) == (broker, position.instrument) and not order.legs)
    fills = sorted(((fill, order.side.sign) for order in orders for fill in order.fills), key=lambda one: one[0].transact_ns)
    units = average = ZERO
    for fill, sign in fills:
        before, units = units, units + sign * fill.qty
        if before * sign >= 0:
            average = (before * average + sign * fill.qty * fill.price) / units
        elif before * units < 0:
            average = fill.price
        units -= fill.fee if fill.fee_currency == position.instrument else ZERO
    return average if units and units == position.qty else None


def used(limits: Limits, mark: EquityMark, held: Iterable[Holding]) -> dict[str, Decimal]:
    """How much of each limit is used, by its name: 1 is all of it. What has no price is left out; the gate refuses beside it anyway."""
    crypto, found = AssetClass.CRYPTO, dict[str, Decimal]()
    found["MAX_DAILY_LOSS_PCT"] = mark.loss() / limits.max_daily_loss_pct
    found["MAX_DRAWDOWN_PCT"] = mark.drawdown() / limits.max_drawdown_pct
    found["CRYPTO_MAX_DAILY_LOSS_PCT"] = mark.loss(crypto) / limits.crypto_max_daily_loss_pct
    found["CRYPTO_MAX_DRAWDOWN_PCT"] = mark.drawdown(crypto) / limits.crypto_max_drawdown_pct
    if mark.equity <= 0:
        return found
    gross = coins = ZERO
    accounts: dict[tuple[InstrumentID, AssetClass], dict[BrokerName, Decimal]] = {}
    for holding in held:
        if holding.mark is None:
            continue
        worth = holding.qty * holding.mark / mark.equity
        accounts.setdefault((holding.instrument, holding.asset_class), {})[holding.broker] = worth
        gross, coins = gross + abs(worth), coins + (abs(worth) if holding.asset_class.is_crypto else ZERO)
    for (instrument, asset_class), worths in accounts.items():
        is_crypto = asset_class.is_crypto
        name, most = ("CRYPTO_MAX_POSITION_PCT", limits.crypto_max_position_pct) if is_crypto else ("MAX_POSITION_PCT", limits.max_position_pct)
        one_way = max(sum(max(ZERO, side * worth) for worth in worths.values()) for side in (1, -1))  # as the gate counts: nothing is set off
        found[f"{name} ({instrument} at {' and '.join(worths)})"] = one_way / most
    return found | {"MAX_LEVERAGE": gross / limits.max_leverage, "CRYPTO_MAX_LEVERAGE": coins / limits.crypto_max_leverage}


def limits_of(desk: Desk) -> View:
    """The risk figures, and each limit with what is used of it now (fractions of the equity, counts, multiples). A crypto limit that nothing is used
    of is left out."""
    mark, limits = desk.books.mark, desk.limits
    shares = {} if mark is None else used(limits, mark, holdings(desk))
    held = {name for broker, name in desk.books.ledger.traded() if desk.books.ledger.position(broker, name)}
    figures = [
        *(_limit(name, most, share) for name, share, most in _ratios(limits, shares) if share or not name.startswith("crypto")),
        _limit("positions", Decimal(limits.max_concurrent_positions), Decimal(len(held)) / limits.max_concurrent_positions),
        _limit("open_orders", Decimal(limits.max_open_orders), Decimal(len(desk.books.blotter.working())) / limits.max_open_orders),
    ]
    return {**risk_view(mark, desk.in_force(), desk.ready), "limits": figures}


def brokers_of(desk: Desk) -> list[View]:
    """What each is called, whether it is ready for new risk, its streams by their last word, and how many requests it would take now."""
    rows: list[View] = []
    for name, broker in desk.brokers.items():
        heard = {stream: told for (of, stream), told in desk.hub.links.all().items() if of == name}
        budgets = broker.budgets() if isinstance(broker, CountsRequests) else {}
        row: View = {"broker": name, "title": broker.facts.title, "ready": desk.ready[name]}
        row["streams"] = [{"name": stream, "link": told.link, "text": told.text, "heard_ns": told.heard_ns} for stream, told in sorted(heard.items())]
        row["budgets"] = [{"name": kind, "left": budget.left, "limit": budget.limit} for kind, budget in sorted(budgets.items())]
        rows.append(row)
    return rows


def _ratios(limits: Limits, shares: Mapping[str, Decimal]) -> tuple[tuple[str, Decimal | None, Decimal], ...]:
    return (
        ("day_loss", shares.get("MAX_DAILY_LOSS_PCT"), limits.max_daily_loss_pct),
        ("drawdown", shares.get("MAX_DRAWDOWN_PCT"), limits.max_drawdown_pct),
        ("leverage", shares.get("MAX_LEVERAGE"), limits.max_leverage),
        ("largest_position", _largest(shares, "MAX_POSITION_PCT"), limits.max_position_pct),
        ("crypto_day_loss", shares.get("CRYPTO_MAX_DAILY_LOSS_PCT"), limits.crypto_max_daily_loss_pct),
        ("crypto_drawdown", shares.get("CRYPTO_MAX_DRAWDOWN_PCT"), limits.crypto_max_drawdown_pct),
        ("crypto_leverage", shares.get("CRYPTO_MAX_LEVERAGE"), limits.crypto_max_leverage),
        ("crypto_largest_position", _largest(shares, "CRYPTO_MAX_POSITION_PCT"), limits.crypto_max_position_pct),
    )


def _largest(shares: Mapping[str, Decimal], rule: str) -> Decimal | None:
    """Of the positions that this rule holds for, as the gate does: a coin's is its own. None: nobody knows what they are a part of."""
    return max((share for name, share in shares.items() if name.startswith(f"{rule} (")), default=ZERO if "MAX_LEVERAGE" in shares else None)


def _limit(name: str, most: Decimal, share: Decimal | None) -> View:
    now = None if share is None else _part(max(share, ZERO) * most)
    return {"name": name, "now": now, "limit": plain(most), "used": None if share is None else _part(max(share, ZERO))}


def _held(desk: Desk, account: AccountSnapshot) -> Iterable[Position]:
    """As the broker showed it last; where our books have moved since, by our books, and what it was bought at its broker says at the next look."""
    shown = {position.instrument: position for position in account.positions}
    for broker, instrument in desk.books.ledger.traded():
        qty = desk.books.ledger.position(broker, instrument)
        before = shown.get(instrument)
        if broker != account.broker or qty == (ZERO if before is None else before.qty):
            continue
        mark = desk.mark_px(broker, instrument)
        shown[instrument] = Position(instrument=instrument, qty=qty, avg_px=ZERO, mark_px=mark, unrealized_pnl=ZERO)
    return [position for position in shown.values() if position.qty]


def _worth(desk: Desk, broker: BrokerName, name: InstrumentID, qty: Decimal) -> Decimal | None:
    px, rate = desk.mark_px(broker, name), desk.rate(broker, name)
    return None if px is None or rate is None else rate * desk.pricing(broker, name).worth(qty, px)


def _cash(desk: Desk) -> dict[str, Decimal]:
    cash: dict[str, Decimal] = {}
    for account in desk.accounts.values():
        for currency, amount in account.moneys.items():
            cash[currency] = cash.get(currency, ZERO) + amount
    return cash


def _cents(value: Decimal | None) -> str | None:
    return None if value is None else plain(value.quantize(_CENT))


def _part(value: Decimal) -> str:
    return plain(value.quantize(_PART))
