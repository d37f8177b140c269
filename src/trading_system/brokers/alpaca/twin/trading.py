"""The trading REST surface of the twin: account, assets, clock, calendar, orders, positions, activities, and how an order looks on the wire."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal

import msgspec

from trading_system.brokers.alpaca import wire
from trading_system.brokers.alpaca.twin import activities
from trading_system.brokers.alpaca.twin.activities import Booked
from trading_system.brokers.alpaca.twin.forms import (
    JSON,
    STATUS,
    Refusal,
    activity_time,
    answer,
    bad_parameter,
    choice,
    day_span,
    new_york,
    number,
    parse_day,
    parse_time,
    shown,
    today,
    when,
)
from trading_system.brokers.alpaca.twin.linked import Linked
from trading_system.brokers.alpaca.twin.option_orders import LEVELS, OptionRules
from trading_system.brokers.alpaca.twin.options import OptionDesk
from trading_system.brokers.alpaca.twin.rules import CLIENT_ID_MAX, ReplaceBody, Rules, SubmitBody, parameter, replace_body, rule, submit_body
from trading_system.brokers.alpaca.twin.universe import Universe
from trading_system.domain.fix import Contingency, ExecType, OrdStatus, Side
from trading_system.domain.money import ONE, ZERO, plain
from trading_system.sim.exchange import ASSIGNED, EXERCISED, EXPIRED, Event, Exchange, Execution, FeePosting, Settlement, SimOrder, Ticket
from trading_system.sim.market import LOT
from trading_system.sim.sessions import DAY_NS, Session, Sessions, new_york_day
from trading_system.transport.message import Response

CALENDAR_MAX_DAYS = 4000  # about eleven years in one answer
_MULTIPLIERS = ("1", "2", "4")
_SETTLED = {EXERCISED: ("OPEXC", "Option Exercise"), ASSIGNED: ("OPASN", "Option Assignment"), EXPIRED: ("OPEXP", "Option Expiry")}


class ExerciseBody(msgspec.Struct, kw_only=True):
    """POST /v2/positions/{contract}/exercise: without a quantity everything."""

    qty: Decimal | None = None


class TradingDesk:
    """Everything below /v2 that is not market data. The exchange holds the state; this holds client ids, configurations and activities."""

    def __init__(
        self,
        universe: Universe,
        exchange: Exchange,
        options: OptionDesk,
        *,
        account_id: str,
        account_number: str,
        start_ns: int,
        options_level: int,
    ) -> None:
        margin = plain(exchange.multiplier)
        self.configurations = wire.AccountConfigurations(max_options_trading_level=options_level, max_margin_multiplier=margin)
        self.activities: list[wire.Activity] = []  # ascending by id
        self._booked: list[Booked] = []
        self.posts: Counter[str] = Counter()  # POST /v2/orders received, by client_order_id, refused ones included
        self._universe = universe
        self._exchange = exchange
        self._rules = Rules(universe, exchange)
        self._linked = Linked(universe, exchange)
        self._option_rules = OptionRules(options, universe, exchange, self._rules)
        self._options_level = options_level  # that the account was approved for
        self._account_id = account_id
        self._account_number = account_number
        self._start_ns = start_ns
        self._by_client_id: dict[str, SimOrder] = {}

    # -- account ---------------------------------------------------------------------------------------------------------------------------------

    def account(self, now_ns: int) -> Response:
        x = self._exchange
        marks = [x.worth(symbol, qty, now_ns) for symbol, qty in x.positions()]
        long, short = sum((m for m in marks if m > 0), ZERO), sum((m for m in marks if m < 0), ZERO)
        equity, power = x.cash + long + short, shown(x.buying_power(now_ns))
        margin = (long - short) / x.multiplier
        return answer(
            wire.Account(
                id=self._account_id,
                account_number=self._account_number,
                status="ACTIVE",
                crypto_status="ACTIVE",
                currency="USD",
                cash=shown(x.cash),
                equity=shown(equity),
                portfolio_value=shown(equity),
                last_equity=shown(x.last_equity),
                buying_power=power,
                regt_buying_power=power,
                non_marginable_buying_power=shown(x.free_cash()),
                options_buying_power=shown(x.free_cash()),
                long_market_value=shown(long),
                short_market_value=shown(short),
                position_market_value=shown(long - short),
                initial_margin=shown(margin),
                maintenance_margin=shown((long - short) * Decimal("0.3")),
                last_maintenance_margin="0",
                sma="0",
                multiplier=plain(x.multiplier),
                accrued_fees="0",
                shorting_enabled=x.multiplier > 1 and not self.configurations.no_shorting,
                trading_blocked=False,
                transfers_blocked=False,
                account_blocked=False,
                trade_suspended_by_user=self.configurations.suspend_trade,
                options_approved_level=self._options_level,
                options_trading_level=self._level(),
                created_at=when(self._start_ns),
                balance_asof=(new_york_day(now_ns) - timedelta(days=1)).isoformat(),
                crypto_tier=0,
                intraday_adjustments="0",
                pending_reg_taf_fees="0",
            )
        )

    def _level(self) -> int:
        """Of options: what the owner allows, up to what the account was approved for."""
        chosen = self.configurations.max_options_trading_level
        return self._options_level if chosen is None else min(chosen, self._options_level)

    def configure(self, body: bytes) -> Response:
        """PATCH: any subset of the fields, unknown ones ignored."""
        try:
            changes = msgspec.json.decode(body, type=dict[str, object])
            known = {name: value for name, value in changes.items() if name in wire.AccountConfigurations.__struct_fields__ and value is not None}
            merged = msgspec.convert(msgspec.structs.asdict(self.configurations) | known, wire.AccountConfigurations)
        except msgspec.DecodeError as error:
            raise Refusal(400, 40010001, f"request body format is invalid: {error}") from error
        level = merged.max_options_trading_level
        odd = level is not None and level not in LEVELS
        if odd or merged.max_margin_multiplier not in _MULTIPLIERS or merged.trade_confirm_email not in ("all", "none"):
            raise bad_parameter("account configuration")
        self.configurations = merged
        return answer(merged)

    # -- assets, clock, calendar -----------------------------------------------------------------------------------------------------------------

    def assets(self, query: Mapping[str, str]) -> Response:
        wanted = choice(query, "status", "active", ("active", "inactive"))
        kind, exchange = query.get("asset_class", ""), query.get("exchange", "")
        attributes = set(filter(None, query.get("attributes", "").split(",")))
        return answer(
            [
                asset
                for asset in self._universe.assets.values()
                if asset.status == wanted
                and kind in ("", asset.asset_class)
                and exchange in ("", asset.exchange)
                and (not attributes or attributes & set(asset.attributes or ()))
            ]
        )

    def asset(self, name: str) -> Response:
        asset = self._universe.find(name)
        if asset is None or asset.symbol in self._universe.options:
            raise Refusal(404, 40410000, f"asset not found for {name}")
        return answer(asset)

    def _sessions(self) -> Sessions:
        """The stock market's."""
        return next(listing.sessions for listing in self._universe.listings)

    def clock(self, now_ns: int) -> Response:
        sessions = self._sessions()
        running = sessions.current_or_next(now_ns)
        return answer(
            wire.Clock(
                timestamp=new_york(now_ns),
                is_open=sessions.is_open(now_ns),
                next_open=new_york(sessions.next(now_ns).open_ns),
                next_close=new_york(running.close_ns),
            )
        )

    def calendar(self, query: Mapping[str, str], now_ns: int) -> Response:
        choice(query, "date_type", "TRADING", ("TRADING", "SETTLEMENT"))
        day = new_york_day(now_ns)
        start = parse_day(query["start"], "start") if query.get("start") else day.replace(month=1, day=1)
        end = parse_day(query["end"], "end") if query.get("end") else date(day.year + 1, 12, 31)
        if (end - start).days > CALENDAR_MAX_DAYS:
            raise bad_parameter("end")
        sessions = self._sessions()
        days = (sessions.on(start + timedelta(days=place)) for place in range((end - start).days + 1))
        return answer([_calendar_day(session, sessions) for session in days if session is not None])

    # -- orders ----------------------------------------------------------------------------------------------------------------------------------

    def submit(self, raw: bytes, now_ns: int) -> Response:
        body = submit_body(raw)
        cl_ord_id = body.client_order_id or self._exchange.new_id()
        self.posts[cl_ord_id] += 1
        self._unique(cl_ord_id)
        return answer(self.show(self._take(body, cl_ord_id, now_ns), nested=True))

    def _take(self, body: SubmitBody, cl_ord_id: str, now_ns: int) -> SimOrder:
        """An order that the rules let pass reaches the exchange."""
        level = self._level()
        if self._option_rules.several(body):
            ticket, legs = self._option_rules.whole(body, cl_ord_id, self.configurations, level, now_ns)
            order = self._exchange.submit_legs(ticket, legs, now_ns)
            self._by_client_id |= {leg.cl_ord_id: leg for leg in self._exchange.legs(order)}
        elif self._option_rules.one(body):
            order = self._exchange.submit(self._option_rules.ticket(body, cl_ord_id, self.configurations, level, now_ns), now_ns)
        else:
            ticket = self._rules.ticket(body, cl_ord_id, self.configurations, now_ns)
            exits = self._linked.exits(body, ticket, now_ns)
            order = self._link(ticket, exits, now_ns) if exits else self._exchange.submit(ticket, now_ns)
        self._by_client_id[cl_ord_id] = order
        return order

    def _link(self, ticket: Ticket, exits: list[Ticket], now_ns: int) -> SimOrder:
        """The parent of a new group: its entry, of an OCO the take-profit."""
        alone = ticket.contingency is Contingency.OCO
        group = self._exchange.submit_linked(None if alone else ticket, [ticket, *exits] if alone else exits, now_ns)
        members = [self._exchange.orders[order_id] for order_id in group.members]
        self._by_client_id |= {order.cl_ord_id: order for order in members}
        return members[0]

    def _unique(self, cl_ord_id: str) -> None:
        """Ids are unique for ever; the refusal's code tells whether the earlier order still works (measured on paper, September 2026)."""
        if len(cl_ord_id) > CLIENT_ID_MAX:
            raise parameter(f"client_order_id must be no more than {CLIENT_ID_MAX} characters")
        earlier = self._by_client_id.get(cl_ord_id)
        if earlier is not None:
            raise Refusal(422, 40010001 if earlier.ord_status.terminal else 42210000, "client_order_id must be unique")

    def orders(self, query: Mapping[str, str]) -> Response:
        """nested: a child stands below its parent where that is listed too, else as a row of its own; so nothing is lost or told twice."""
        matches, nested = self._order_filter(query), _nested(query)
        newest_first = choice(query, "direction", "desc", ("asc", "desc")) == "desc"
        limit = number(query, "limit", 50, 500)
        found: list[wire.Order] = []
        for order in reversed(self._exchange.orders.values()) if newest_first else self._exchange.orders.values():
            if matches(order) and not (nested and self._below(order, matches)):
                found.append(self.show(order, nested=nested))
                if len(found) == limit:
                    break
        return answer(found)

    def _below(self, order: SimOrder, matches: Callable[[SimOrder], bool]) -> bool:
        group = self._exchange.groups.get(order.order_id)
        return group is not None and order.order_id in group.children and matches(self._exchange.orders[group.members[0]])

    def _order_filter(self, query: Mapping[str, str]) -> Callable[[SimOrder], bool]:
        status = choice(query, "status", "open", ("open", "closed", "all"))
        side = choice(query, "side", "", ("", "buy", "sell"))
        symbols = {self._universe.names.get(name, name) for name in query.get("symbols", "").split(",") if name}
        kinds = set(filter(None, query.get("asset_class", "").split(",")))
        after_ns = parse_time(query["after"], "after") if query.get("after") else 0
        until_ns = parse_time(query["until"], "until") if query.get("until") else 1 << 63
        places = {order_id: place for place, order_id in enumerate(self._exchange.orders)} if _bounded(query) else {}
        after = self._place(places, query.get("after_order_id"), -1)
        before = self._place(places, query.get("before_order_id"), len(places))

        def matches(order: SimOrder) -> bool:
            rows = self._exchange.legs(order) or [order]
            return (
                order.parent is None  # legs stand below their order
                and (status == "all" or order.ord_status.terminal is (status == "closed"))
                and side in ("", *(row.side.value for row in rows))
                and (not symbols or any(row.symbol in symbols for row in rows))
                and (not kinds or self._universe.asset(order.symbol).asset_class in kinds)
                and after_ns < order.submitted_ns < until_ns
                and (not places or after < places[order.order_id] < before)
            )

        return matches

    @staticmethod
    def _place(places: Mapping[str, int], order_id: str | None, default: int) -> int:
        if not order_id:
            return default
        if order_id not in places:
            raise Refusal(404, 40410000, f"order not found for {order_id}")
        return places[order_id]

    def _order(self, order_id: str) -> SimOrder:
        order = self._exchange.orders.get(order_id)
        if order is None:
            raise Refusal(404, 40410000, f"order not found for {order_id}")
        return order

    def order(self, order_id: str, query: Mapping[str, str]) -> Response:
        return answer(self.show(self._order(order_id), nested=_nested(query)))

    def order_by_client_id(self, cl_ord_id: str) -> Response:
        order = self._by_client_id.get(cl_ord_id)
        if order is None:
            raise Refusal(404, 40410000, f"order not found for {cl_ord_id}")
        return answer(self.show(order))

    def replace(self, order_id: str, raw: bytes, now_ns: int) -> Response:
        order = self._order(order_id)
        body: ReplaceBody = replace_body(raw)
        cl_ord_id = body.client_order_id or self._exchange.new_id()
        self._unique(cl_ord_id)
        ticket = self._rules.replacement(order, body, now_ns)
        if order.symbol in self._universe.options:
            ticket = self._option_rules.repriced(order, ticket, self._level(), now_ns)
        self._linked.check_replacement(order, ticket, now_ns)
        new = self._exchange.replace(order, ticket, cl_ord_id, now_ns)
        self._by_client_id[cl_ord_id] = new
        return answer(self.show(new))

    def cancel(self, order_id: str, now_ns: int) -> Response:
        order = self._order(order_id)
        if order.ord_status.terminal or order.ord_status in (OrdStatus.PENDING_CANCEL, OrdStatus.PENDING_REPLACE):
            raise rule(f'order is already in "{STATUS[order.ord_status]}" state')
        if order.parent is not None:
            raise rule("a leg cannot be canceled without its mleg order")
        self._exchange.cancel(order, now_ns)
        return Response(status=204, headers={}, body=b"")

    def cancel_all(self, now_ns: int) -> Response:
        asked = self._exchange.open_orders()
        for order in asked:
            if order.ord_status not in (OrdStatus.PENDING_CANCEL, OrdStatus.PENDING_REPLACE):
                self._exchange.cancel(order, now_ns)
        return answer([wire.CancelStatus(id=order.order_id, status=200) for order in asked], 207)

    def _legs(self, order: SimOrder) -> list[wire.Order] | None:
        if order.order_id in self._exchange.wholes:
            return [self._leg(leg, order) for leg in self._exchange.legs(order)]
        group = self._exchange.groups.get(order.order_id)
        if group is None or group.members[0] != order.order_id:
            return None
        return [self.show(self._exchange.orders[order_id]) for order_id in group.children]

    def _leg(self, leg: SimOrder, whole: SimOrder) -> wire.Order:
        """A leg of a multileg order says its ratio, and leaves type and prices to the whole."""
        ratio = (leg.ticket.qty or ZERO) / (whole.ticket.qty or ZERO)
        return msgspec.structs.replace(self._row(leg), order_class="mleg", type="", order_type="", ratio_qty=plain(ratio))

    def show(self, order: SimOrder, *, nested: bool = False) -> wire.Order:
        """An order in Alpaca's words; nested: with its children as legs. A multileg order always has them, and neither symbol nor side."""
        if order.parent is not None:
            return self._leg(order, self._exchange.orders[order.parent])
        shown_order = self._row(order, nested=nested)
        if order.order_id not in self._exchange.wholes:
            return shown_order
        empty = dict.fromkeys(("symbol", "asset_id", "asset_class", "side", "position_intent"), "")
        return msgspec.structs.replace(shown_order, order_class="mleg", legs=self._legs(order), **empty)

    def _row(self, order: SimOrder, *, nested: bool = False) -> wire.Order:
        ticket, asset = order.ticket, self._universe.asset(order.symbol)
        simple = "simple" if asset.symbol in self._universe.options else ""
        return wire.Order(
            id=order.order_id,
            client_order_id=order.cl_ord_id,
            created_at=when(order.submitted_ns),
            updated_at=when(order.updated_ns),
            submitted_at=when(order.submitted_ns),
            filled_at=when(order.filled_ns),
            expired_at=when(order.expired_ns),
            expires_at=when(order.expires_ns),
            canceled_at=when(order.canceled_ns),
            failed_at=when(order.failed_ns),
            replaced_at=when(order.replaced_ns),
            replaced_by=order.replaced_by,
            replaces=order.replaces,
            asset_id=asset.id,
            symbol=order.symbol,
            asset_class=asset.asset_class,
            notional=None if ticket.notional is None else plain(ticket.notional),
            qty=None if order.qty is None else plain(order.qty),
            filled_qty=plain(order.filled_qty),
            filled_avg_price=None if order.avg_px is None else shown(order.avg_px),
            order_class=simple if ticket.contingency is Contingency.NONE else ticket.contingency.value,
            order_type=ticket.ord_type.value,
            type=ticket.ord_type.value,
            side=ticket.side.value,
            position_intent=f"{ticket.side.value}_to_{'open' if ticket.opening else 'close'}",
            time_in_force=order.time_in_force.value,
            limit_price=None if order.price is None else plain(order.price),
            stop_price=None if order.stop_px is None else plain(order.stop_px),
            status=_status(order),
            extended_hours=ticket.extended,
            legs=self._legs(order) if nested else None,
            trail_percent=None if ticket.trail_pct is None else plain(ticket.trail_pct),
            trail_price=None if ticket.trail_px is None else plain(ticket.trail_px),
            hwm=None if order.hwm is None else plain(order.hwm),
        )

    # -- positions -------------------------------------------------------------------------------------------------------------------------------

    def positions(self, now_ns: int) -> Response:
        return answer([self._position(symbol, qty, now_ns) for symbol, qty in self._exchange.positions()])

    def _held(self, name: str) -> tuple[str, Decimal]:
        asset = self._universe.find(name)
        qty = self._exchange.position(asset.symbol) if asset is not None else ZERO
        if asset is None or not qty:
            raise Refusal(404, 40410000, "position does not exist")
        return asset.symbol, qty

    def position(self, name: str, now_ns: int) -> Response:
        return answer(self._position(*self._held(name), now_ns))

    def _position(self, symbol: str, qty: Decimal, now_ns: int) -> wire.Position:
        x, asset = self._exchange, self._universe.asset(symbol)
        base = x.terms[symbol].base
        price, average = x.mark(symbol, now_ns), x.avg_px[base]
        session = x.market.listings[symbol].sessions.at(now_ns)
        last = x.mark(symbol, session.early_ns - 1 if session is not None and now_ns >= session.early_ns else now_ns)
        units = qty * x.terms[symbol].multiplier
        value, cost = units * price, units * average
        gain, today_gain = value - cost, units * (price - last)
        return wire.Position(
            asset_id=asset.id,
            symbol=symbol.replace("/", ""),
            exchange=asset.exchange,
            asset_class=asset.asset_class,
            asset_marginable=bool(asset.marginable),
            qty=plain(qty),
            qty_available=plain(max(ZERO, abs(qty) - x.held(symbol))),
            avg_entry_price=shown(average),
            side="long" if qty > 0 else "short",
            market_value=shown(value),
            cost_basis=shown(cost),
            unrealized_pl=shown(gain),
            unrealized_plpc=shown(gain / abs(cost)),
            unrealized_intraday_pl=shown(today_gain),
            unrealized_intraday_plpc=shown(today_gain / abs(cost)),
            current_price=shown(price),
            lastday_price=shown(last),
            change_today=shown((price - last) / last),
        )

    def close_position(self, name: str, query: Mapping[str, str], now_ns: int) -> Response:
        symbol, position = self._held(name)
        qty = abs(position)
        if query.get("qty") and query.get("percentage"):
            raise parameter("only one of qty or percentage is accepted")
        if query.get("qty"):
            qty = _decimal(query["qty"], "qty")
        elif query.get("percentage"):
            percentage = _decimal(query["percentage"], "percentage")
            if not 0 < percentage <= 100:
                raise bad_parameter("percentage")
            lot = ONE if symbol in self._universe.options else LOT
            qty = qty * percentage / 100 // lot * lot
        return answer(self._close(symbol, position, qty, now_ns))

    def _close(self, symbol: str, position: Decimal, qty: Decimal, now_ns: int) -> wire.Order:
        """A market order against the position; the rules may refuse it as any other."""
        cl_ord_id = self._exchange.new_id()
        body = SubmitBody(
            symbol=symbol,
            qty=qty,
            side=(Side.SELL if position > 0 else Side.BUY).value,
            type="market",
            time_in_force="gtc" if self._universe.asset(symbol).asset_class == "crypto" else "day",
        )
        return self.show(self._take(body, cl_ord_id, now_ns))

    def close_all(self, query: Mapping[str, str], now_ns: int) -> Response:
        if query.get("cancel_orders", "").lower() == "true":
            self._exchange.cancel_at_once(now_ns)
        closed: list[wire.ClosedPosition] = []
        held = sorted(self._exchange.positions(), key=lambda row: row[0] in self._universe.options and row[1] > 0)  # what covers goes last
        for symbol, qty in held:
            try:
                status, body = 200, JSON.encode(self._close(symbol, qty, abs(qty), now_ns))
            except Refusal as refusal:
                status, body = refusal.status, JSON.encode(refusal.body)
            closed.append(wire.ClosedPosition(symbol=symbol.replace("/", ""), status=status, body=msgspec.Raw(body)))
        return answer(closed, 207)

    # -- what no order made ----------------------------------------------------------------------------------------------------------------------

    def transfer(self, amount: Decimal, now_ns: int) -> None:
        """The owner pays in, or takes out where the amount is below zero."""
        self._exchange.deposit("USD", amount)
        self._enter(_entry("CSD" if amount > 0 else "CSW", now_ns, self._exchange.new_id(), net_amount=shown(amount)), now_ns)

    def dividend(self, symbol: str, per_share: Decimal, now_ns: int) -> None:
        """Paid on what is held."""
        qty = self._exchange.position(symbol)
        self._exchange.deposit("USD", qty * per_share)
        more = {"symbol": symbol, "qty": plain(qty), "per_share_amount": plain(per_share), "net_amount": shown(qty * per_share)}
        details = activities.dividend(symbol, qty, per_share, today(now_ns))
        self._enter(_entry("DIV", now_ns, self._exchange.new_id(), **more), now_ns, details, "CDIV")

    def split(self, symbol: str, ratio: Decimal, now_ns: int) -> None:
        kind, details = activities.split(symbol, self._exchange.position(symbol), ratio, today(now_ns))
        added = self._exchange.split(symbol, ratio, now_ns)
        self._enter(_entry("SPLIT", now_ns, self._exchange.new_id(), symbol=symbol, qty=plain(added), net_amount="0"), now_ns, details, kind)

    # -- options that end ------------------------------------------------------------------------------------------------------------------------

    def exercise(self, name: str, raw: bytes, now_ns: int) -> Response:
        try:
            wanted = msgspec.json.decode(raw or b"{}", type=ExerciseBody).qty
        except msgspec.DecodeError as error:
            raise Refusal(400, 40010001, f"request body format is invalid: {error}") from error
        symbol, qty = self._option_rules.exercise(name, wanted, now_ns)
        self._exchange.exercise(symbol, qty, now_ns)
        return Response(status=200, headers={}, body=b"")

    def do_not_exercise(self, name: str, now_ns: int) -> Response:
        self._exchange.unexercised.add(self._option_rules.do_not_exercise(name, now_ns))
        return Response(status=200, headers={}, body=b"")

    def _settled(self, done: Settlement) -> None:
        """One entry for the option, and one for the shares where any moved."""
        group, kind = self._exchange.new_id(), _SETTLED[done.kind]
        more = {"symbol": done.symbol, "qty": plain(-done.qty), "net_amount": "0", "description": kind[1], "group_id": group}
        self._enter(_entry(kind[0], done.transact_ns, self._exchange.new_id(), **more), done.transact_ns, wire.ActivityDetails(group_id=group))
        if done.shares:
            more = {
                "symbol": done.underlying,
                "qty": plain(done.shares),
                "price": plain(done.price),
                "description": "Option Trade",
                "group_id": group,
            }
            more["net_amount"] = shown(-done.shares * done.price)
            self._enter(_entry("OPTRD", done.transact_ns, self._exchange.new_id(), **more), done.transact_ns, wire.ActivityDetails(group_id=group))

    # -- what happened ---------------------------------------------------------------------------------------------------------------------------

    def record(self, event: Event | FeePosting | Settlement) -> None:
        """Keep the activity that an event is."""
        if isinstance(event, Settlement):
            self._settled(event)
        elif isinstance(event, FeePosting):
            entry = _fee(event, self._exchange.new_id())
            self._enter(entry, event.transact_ns, wire.ActivityDetails(parent_id=self._last_fill(event.symbol) or entry.id.partition("::")[2]))
        elif event.exec_type is ExecType.TRADE and event.execution is not None:
            done = event.execution
            self._booked.append(self._traded(event, done))
            self._add(
                wire.Activity(
                    id=f"{activity_time(done.transact_ns)}::{done.exec_id}",
                    activity_type="FILL",
                    transaction_time=when(done.transact_ns),
                    type="fill" if event.order.ord_status is OrdStatus.FILLED else "partial_fill",
                    price=plain(done.price),
                    qty=plain(done.qty),
                    side="sell_short" if done.side is Side.SELL and event.order.ticket.opening else done.side.value,
                    symbol=done.symbol,
                    leaves_qty=plain(done.leaves_qty),
                    order_id=done.order_id,
                    cum_qty=plain(done.cum_qty),
                    order_status=STATUS[event.order.ord_status],
                )
            )
        elif event.exec_type is ExecType.TRADE_CANCEL and event.execution is not None:
            ref = event.execution.exec_id
            self._booked.append(self._traded(event, event.execution))
            self.activities = [activity for activity in self.activities if not activity.id.endswith(ref)]

    def take_booked(self) -> list[Booked]:
        """What was booked since the last call."""
        booked, self._booked = self._booked, []
        return booked

    def _traded(self, event: Event, done: Execution) -> Booked:
        asset, multiplier = self._universe.asset(done.symbol), self._exchange.terms[done.symbol].multiplier
        return activities.traded(event, done, asset.id, multiplier, self._account_id)

    def _enter(self, entry: wire.Activity, at_ns: int, details: wire.ActivityDetails | None = None, subtype: str | None = None) -> None:
        """What is no trade goes into the list, and out as an event."""
        self._add(entry)
        self._booked.append(activities.entered(entry, at_ns, self._account_id, details or wire.ActivityDetails(), subtype))

    def _last_fill(self, symbol: str) -> str | None:
        fills = (row for row in reversed(self.activities) if row.activity_type == "FILL" and row.symbol == symbol)
        return next((row.id.partition("::")[2] for row in fills), None)

    def _add(self, activity: wire.Activity) -> None:
        place = len(self.activities)
        while place and self.activities[place - 1].id > activity.id:
            place -= 1
        self.activities.insert(place, activity)

    def list_activities(self, query: Mapping[str, str], kind: str | None) -> Response:
        matches = _activity_filter(query, kind)
        newest_first = choice(query, "direction", "desc", ("asc", "desc")) == "desc"
        size, token = number(query, "page_size", 100, 100), query.get("page_token")
        found: list[wire.Activity] = []
        for activity in reversed(self.activities) if newest_first else self.activities:
            beyond = not token or (activity.id < token if newest_first else activity.id > token)
            if beyond and matches(activity):
                found.append(activity)
                if len(found) == size:
                    break
        return answer(found)


def _status(order: SimOrder) -> str:
    """held is a child that waits for its entry, and the stop of an OCO beside its working take-profit: it watches the market all the same, and when
    it goes off the take-profit is cancelled first.

    Source: docs.alpaca.markets, order statuses; alpacahq/alpaca-trade-api-python #322 and QuantConnect/Lean.Brokerages.Alpaca #74: the passive leg
    of an OCO is told of as held and never as new.
    """
    watching = order.ticket.contingency is Contingency.OCO and order.ticket.waits and not order.triggered
    if order.ord_status is OrdStatus.PENDING_NEW and order.queued:
        return "accepted"
    if (order.ord_status is OrdStatus.PENDING_NEW and order.dormant) or (order.ord_status is OrdStatus.NEW and watching):
        return "held"
    return STATUS[order.ord_status]


def _nested(query: Mapping[str, str]) -> bool:
    return query.get("nested", "").lower() == "true"


def _bounded(query: Mapping[str, str]) -> bool:
    return bool(query.get("after_order_id") or query.get("before_order_id"))


def _decimal(text: str, name: str) -> Decimal:
    try:
        value = msgspec.convert(text, Decimal, strict=False)
    except msgspec.ValidationError as error:
        raise bad_parameter(name) from error
    if not value.is_finite() or value <= 0 or value % LOT:
        raise bad_parameter(name)
    return value


def _calendar_day(session: Session, sessions: Sessions) -> wire.CalendarDay:
    """A day that never closes is written 00:00 to 23:59: the wire has no 24:00."""

    def at(ns: int) -> str:
        return "23:59" if sessions.always and ns == session.close_ns else new_york(ns)[11:16]

    settled = session.day + timedelta(days=1)
    while sessions.on(settled) is None:
        settled += timedelta(days=1)
    return wire.CalendarDay(
        date=session.day.isoformat(),
        open=at(session.open_ns),
        close=at(session.close_ns),
        session_open=at(session.early_ns).replace(":", ""),
        session_close=at(session.late_ns).replace(":", ""),
        settlement_date=settled.isoformat(),
    )


def _entry(kind: str, when_ns: int, entry_id: str, **more: str) -> wire.Activity:
    """An activity that is no fill."""
    fields: dict[str, str | None] = {"date": today(when_ns), "status": "executed", "created_at": when(when_ns), "currency": "USD"}
    return wire.Activity(id=f"{activity_time(when_ns)}::{entry_id}", activity_type=kind, **(fields | more))


def _fee(posting: FeePosting, entry_id: str) -> wire.Activity:
    """Crypto fees are booked once the day is over, in the credited asset: as a quantity of the coin, or as money."""
    in_coin = posting.asset != "USD"
    return _entry(
        "CFEE",
        posting.transact_ns,
        entry_id,
        date=today(posting.transact_ns - DAY_NS // 2),
        net_amount="0" if in_coin else shown(-posting.amount),
        description="Crypto fee",
        symbol=posting.symbol.replace("/", ""),
        qty=shown(-posting.amount) if in_coin else "0",
    )


def _activity_filter(query: Mapping[str, str], kind: str | None) -> Callable[[wire.Activity], bool]:
    kinds = {kind} if kind else set(filter(None, query.get("activity_types", "").split(",")))
    category = choice(query, "category", "", ("", "trade_activity", "non_trade_activity"))
    if kinds and category:
        raise parameter("only one of activity_types or category is accepted")
    order_id = query.get("order_id", "")
    low = activity_time(parse_time(query["after"], "after")) + "~" if query.get("after") else ""  # "~" sorts after every id of that millisecond
    high = activity_time(parse_time(query["until"], "until")) if query.get("until") else "~"
    if query.get("date"):
        start_ns, end_ns = day_span(query["date"], "date")
        low, high = max(low, activity_time(start_ns)), min(high, activity_time(end_ns))

    def matches(activity: wire.Activity) -> bool:
        return (
            (not kinds or activity.activity_type in kinds)
            and (not category or (activity.activity_type == "FILL") is (category == "trade_activity"))
            and order_id in ("", activity.order_id)
            and low < activity.id < high
        )

    return matches
