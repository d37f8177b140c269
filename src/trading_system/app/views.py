"""What the desk shows: plain values that the command line, its --json and the socket share. Numbers are strings, times UTC nanoseconds."""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal

from trading_system.core.ledger import EquityMark
from trading_system.core.risk import Halt
from trading_system.domain.account import AccountSnapshot, Position
from trading_system.domain.hours import MarketClock
from trading_system.domain.ids import BrokerName
from trading_system.domain.instrument import Pricing
from trading_system.domain.market import Bar, BookSnapshot, Quote
from trading_system.domain.money import plain
from trading_system.domain.news import NewsItem
from trading_system.domain.option import OptionSnapshot
from trading_system.domain.order import Attached, Fill, Order
from trading_system.domain.portfolio import ClosedPosition, PortfolioHistory
from trading_system.domain.search import Match
from trading_system.journal.record import Alert

View = dict[str, object]


def order_view(order: Order) -> View:
    return {
        "cl_ord_id": order.cl_ord_id,
        "broker": order.broker,
        "account": order.account,
        "instrument": order.instrument,
        "side": order.side.value,
        "ord_type": order.ord_type.value,
        "time_in_force": order.time_in_force.value,
        "order_qty": plain(order.order_qty) if order.order_qty else None,
        "cash_order_qty": _number(order.cash_order_qty),
        "price": _number(order.price),
        "stop_px": _number(order.stop_px),
        "trail_px": _number(order.trail_px),
        "trail_pct": _number(order.trail_pct),
        "attached": None if order.attached is None else _attached_view(order.attached),
        "contingency": order.contingency.value,
        "parent": order.parent,
        "legs": [{"instrument": leg.instrument, "side": leg.side.value, "ratio_qty": leg.ratio_qty} for leg in order.legs],
        "protect_stop_px": _number(order.protect_stop_px),
        "protects": order.protects,
        "ord_status": order.ord_status.value,
        "doubt": order.doubt.value,
        "order_id": order.order_id,
        "cum_qty": plain(order.stated_cum_qty if order.legs else order.cum_qty),  # what a multileg order fills is booked by its legs
        "leaves_qty": plain(order.leaves_qty),
        "avg_px": _average(order.avg_px),
        "external": order.external,
        "intent": order.intent,
        "text": order.text,
        "sent_ns": order.sent_ns,
        "updated_ns": order.updated_ns,
    }


def _attached_view(attached: Attached) -> View:
    return {
        "take_profit_px": _number(attached.take_profit_px),
        "stop_px": _number(attached.stop_px),
        "stop_limit_px": _number(attached.stop_limit_px),
    }


def fill_view(order: Order, fill: Fill) -> View:
    return {
        "exec_id": fill.exec_id,
        "cl_ord_id": order.cl_ord_id,
        "broker": order.broker,
        "instrument": order.instrument,
        "side": order.side.value,
        "qty": plain(fill.qty),
        "price": plain(fill.price),
        "fee": plain(fill.fee),
        "fee_currency": fill.fee_currency,
        "transact_ns": fill.transact_ns,
    }


def position_view(broker: str, position: Position, pricing: Pricing) -> View:
    return {
        "broker": broker,
        "instrument": position.instrument,
        "qty": plain(position.qty),
        "avg_px": _average(position.avg_px or None),
        "mark_px": _number(position.mark_px),
        "market_value": None if position.mark_px is None else plain(pricing.worth(position.qty, position.mark_px)),
        "unrealized_pnl": plain(position.unrealized_pnl) if position.avg_px and position.mark_px is not None else None,  # it is between the two
    }


def account_view(account: AccountSnapshot) -> View:
    return {
        "broker": account.broker,
        "account": account.account,
        "environment": account.environment,
        "currency": account.currency,
        "equity": plain(account.equity),
        "last_equity": plain(account.last_equity),
        "cash": plain(account.cash),
        "balances": {currency: plain(amount) for currency, amount in account.moneys.items()},
        "rates": {currency: plain(rate) for currency, rate in account.rates.items()},
        "buying_power": plain(account.buying_power),
        "tradable": account.tradable,
        "text": account.text,
        "recv_ns": account.recv_ns,
    }


def quote_view(broker: str, quote: Quote) -> View:
    return {
        "broker": broker,
        "instrument": quote.instrument,
        "bid_px": _number(quote.bid_px),
        "bid_qty": plain(quote.bid_qty),
        "ask_px": _number(quote.ask_px),
        "ask_qty": plain(quote.ask_qty),
        "transact_ns": quote.transact_ns,
    }


def book_view(broker: str, book: BookSnapshot) -> View:
    sides = {"bids": book.bids, "asks": book.asks}
    rows = {name: [{"px": plain(price), "qty": plain(qty)} for price, qty in side] for name, side in sides.items()}
    return {"broker": broker, "instrument": book.instrument, **rows, "transact_ns": book.transact_ns}


def equity_view(history: PortfolioHistory) -> View:
    return {
        "broker": history.broker,
        "timeframe": history.timeframe,
        "base_value": _number(history.base_value),
        "points": [
            {
                "open_ns": point.open_ns,
                "equity": plain(point.equity),
                "profit_loss": plain(point.profit_loss),
                "profit_loss_pct": plain(point.profit_loss_pct),
            }
            for point in history.points
        ],
    }


def gain_view(broker: str, closed: ClosedPosition) -> View:
    return {
        "broker": broker,
        "instrument": closed.instrument,
        "qty": plain(closed.qty),
        "opened": closed.opened.isoformat(),
        "closed": closed.closed.isoformat(),
        "cost": plain(closed.cost),
        "proceeds": plain(closed.proceeds),
        "gain": plain(closed.gain),
    }


def news_view(item: NewsItem) -> View:
    return {
        "news_id": item.news_id,
        "created_ns": item.created_ns,
        "updated_ns": item.updated_ns,
        "symbols": list(item.symbols),
        "headline": item.headline,
        "summary": item.summary,
        "source": item.source,
        "author": item.author,
        "url": item.url,
    }


def match_view(broker: str, one: Match) -> View:
    return {"broker": broker, "instrument": one.instrument, "asset_class": one.asset_class.value, "symbol": one.symbol, "title": one.title}


def chain_view(broker: str, underlying: str, price: Decimal | None, expiry: date, expiries: Iterable[date], lines: Iterable[OptionSnapshot]) -> View:
    return {
        "broker": broker,
        "underlying": underlying,
        "price": _number(price),
        "expiry": expiry.isoformat(),
        "expiries": [day.isoformat() for day in expiries],
        "options": [_option_view(line) for line in lines],
    }


def strikes_view(broker: str, underlying: str, expiry: date, expiries: Iterable[date], strikes: Iterable[Decimal]) -> View:
    days = [day.isoformat() for day in expiries]
    return {"broker": broker, "underlying": underlying, "expiry": expiry.isoformat(), "expiries": days, "strikes": [plain(one) for one in strikes]}


def hours_view(broker: str, clock: MarketClock) -> View:
    return {
        "broker": broker,
        "state": clock.state.value,
        "next_state": clock.next_state.value,
        "next_ns": clock.next_ns,
        "text": clock.text,
        "transact_ns": clock.transact_ns,
    }


def _option_view(line: OptionSnapshot) -> View:
    quote, greeks = line.quote, line.greeks
    names = ("delta", "gamma", "theta", "vega", "rho")
    return {
        "instrument": line.instrument,
        "right": line.contract.right.value,
        "strike": plain(line.contract.strike),
        "bid_px": None if quote is None else _number(quote.bid_px),
        "ask_px": None if quote is None else _number(quote.ask_px),
        "implied_volatility": _number(line.implied_volatility),
        "greeks": None if greeks is None else {name: _number(getattr(greeks, name)) for name in names},
    }


def bar_view(bar: Bar) -> View:
    prices = {name: plain(getattr(bar, name)) for name in ("open", "high", "low", "close", "volume")}
    return {"instrument": bar.instrument, "open_ns": bar.open_ns, "period_ns": bar.period_ns, **prices, "vwap": _number(bar.vwap or None)}


def halt_view(halt: Halt) -> View:
    return {"scope": halt.scope, "level": halt.level.value, "rule": halt.rule, "text": halt.text, "set_ns": halt.set_ns}


def alert_view(number: int, alert: Alert) -> View:
    return {"number": number, "severity": alert.severity, "text": alert.text, "now_ns": alert.now_ns}


def risk_view(mark: EquityMark | None, halts: Iterable[Halt], ready: Mapping[BrokerName, bool]) -> View:
    figures: View = {}
    if mark is not None:
        figures = {
            "equity": plain(mark.equity),
            "day_start": plain(mark.day_start),
            "high_water": plain(mark.high_water),
            "day_loss": plain(mark.loss().quantize(Decimal("1e-6"))),
            "drawdown": plain(mark.drawdown().quantize(Decimal("1e-6"))),
        }
    return {**figures, "halts": [halt_view(halt) for halt in halts], "ready": dict(ready)}


def dead_man_view(why_not: Mapping[BrokerName, str | None]) -> View:
    return {name: {"armed": why is None, "text": why or ""} for name, why in why_not.items()}


def _number(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def _average(price: Decimal | None) -> str | None:
    """What is divided has no end of digits."""
    return None if price is None else plain(price.quantize(Decimal("1e-9")))
