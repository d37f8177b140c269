"""The twin's account: one log of transactions with rising numbers, the trades that fills open and end, and what they are worth.

The exchange keeps units and money; here they are told as OANDA does: a balance that only what is realised moves, and trades with prices of their own.
"""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

import msgspec

from trading_system.brokers.oanda import wire
from trading_system.brokers.oanda.twin.forms import Refusal, money, rated, units
from trading_system.brokers.oanda.twin.universe import HOME, Pair, Universe
from trading_system.domain.money import ONE, ZERO
from trading_system.sim.exchange import Exchange
from trading_system.sim.sessions import iso

YEAR = Decimal(365)
_LEAST = Decimal("0.0001")  # that an account with positions counts as being worth


class Log:
    """Transactions. A number is drawn before its transaction is written, so each round is put in order before anybody reads it."""

    def __init__(self, account_id: str) -> None:
        self.entries: list[wire.Transaction] = []
        self._account_id = account_id
        self._user_id = int(account_id.split("-")[2])
        self._drawn = 0
        self.round: list[wire.Transaction] = []  # not yet in order
        self.batch = ""  # the first number of what happens together

    def draw(self) -> str:
        self._drawn += 1
        return str(self._drawn)

    @property
    def following(self) -> str:
        """The number that is drawn next."""
        return str(self._drawn + 1)

    @property
    def last_id(self) -> str:
        return str(len(self.entries))

    def write(self, kind: str, now_ns: int, *, number: str = "", **fields: object) -> wire.Transaction:
        number = number or self.draw()
        self.batch = self.batch or number
        entry = wire.Transaction(
            id=number,
            time=iso(now_ns),
            type=kind,
            accountID=self._account_id,
            userID=self._user_id,
            batchID=self.batch,
            **fields,  # type: ignore[arg-type]
        )
        self.round.append(entry)
        return entry

    def close_round(self) -> Sequence[wire.Transaction]:
        """Everything written since the last time, in order."""
        new = sorted(self.round, key=lambda entry: int(entry.id))
        self.round = []
        self.entries += new
        self.batch = ""
        assert [int(entry.id) for entry in new] == list(range(len(self.entries) - len(new) + 1, len(self.entries) + 1)), "a number is missing"
        return new

    def since(self, text: str) -> Sequence[wire.Transaction]:
        """All after a number. Raises Refusal: one that was never given."""
        if not (text.isascii() and text.isdecimal()) or int(text) > len(self.entries):
            raise Refusal(416, "The transaction ID range requested is not satisfiable", "INVALID_RANGE")
        return self.entries[int(text) :]


class SimTrade(msgspec.Struct, kw_only=True):
    """What one fill has opened; units are signed and what is left."""

    id: str
    symbol: str
    price: Decimal
    initial: Decimal
    units: Decimal
    opened_ns: int
    extensions: wire.Extensions | None
    realized: Decimal = ZERO
    financing: Decimal = ZERO
    closed_units: Decimal = ZERO
    closed_money: Decimal = ZERO
    closed_ns: int = 0
    closers: list[str] = []
    orders: dict[str, str] = {}

    @property
    def state(self) -> str:
        return "OPEN" if self.units else "CLOSED"


class Ledger:
    """Trades and what the account is worth."""

    def __init__(
        self,
        universe: Universe,
        exchange: Exchange,
        log: Log,
        *,
        account_id: str,
        hedging: bool,
        fifo: bool,
        guaranteed_stops: bool,
        start_ns: int,
    ) -> None:
        self._universe = universe
        self._exchange = exchange
        self._log = log
        self.account_id = account_id
        self.hedging = hedging
        self.fifo = fifo
        self.guaranteed_stops = guaranteed_stops
        self._start_ns = start_ns
        self.trades: dict[str, SimTrade] = {}
        self.alias = "Primary"
        self.margin_rate = "0.01"  # the account's own least, above which each instrument has its own
        self.pl = ZERO
        self.financing = ZERO
        self.guaranteed_fees = ZERO
        self._called_ns = 0  # when the margin call began; 0: there is none

    # -- trades ----------------------------------------------------------------------------------------------------------------------------------

    def open_trades(self, symbol: str | None = None) -> list[SimTrade]:
        """The oldest first."""
        return [trade for trade in self.trades.values() if trade.units and symbol in (None, trade.symbol)]

    def held(self, symbol: str, sign: int) -> Decimal:
        """Units of one side."""
        return sum((abs(trade.units) for trade in self.open_trades(symbol) if trade.units * sign > 0), ZERO)

    def fill(
        self, number: str, symbol: str, qty: Decimal, price: Decimal, now_ns: int, *, only: str, opens: bool, extensions: wire.Extensions | None
    ) -> dict[str, object]:
        """Book signed units: they end trades of the other side, the oldest first, and open one with the rest. only: the trade that they are to end.
        opens: they end none. Gives what the transaction tells."""
        pair, left, total = self._universe.pairs[symbol], qty, ZERO
        closed: list[wire.TradeChange] = []
        reduced: wire.TradeChange | None = None
        ended = [] if opens and not only else [trade for trade in self.open_trades(symbol) if trade.units * qty < 0 and only in ("", trade.id)]
        for trade in ended:
            if not left:
                break
            part = min(abs(trade.units), abs(left)) * (1 if left > 0 else -1)
            made = -part * (price - trade.price)
            change = self._end(trade, part, price, made, pair, number, now_ns)
            total += made
            left -= part
            if trade.units:
                reduced = change
            else:
                closed.append(change)
        pl = self._realize(pair, total, now_ns)
        fields: dict[str, object] = {"pl": money(pl), "tradesClosed": closed, "tradeReduced": reduced}
        if left:
            opened = SimTrade(
                id=number, symbol=symbol, price=price, initial=left, units=left, opened_ns=now_ns, extensions=extensions, closers=[], orders={}
            )
            self.trades[number] = opened
            margin = abs(left) * price * self.rate(pair.money, now_ns) * pair.margin_rate
            fields["tradeOpened"] = wire.TradeChange(
                tradeID=number, units=units(left), price=self.shown(symbol, price), initialMarginRequired=money(margin), clientExtensions=extensions
            )
        return fields

    def _end(self, trade: SimTrade, part: Decimal, price: Decimal, made: Decimal, pair: Pair, number: str, now_ns: int) -> wire.TradeChange:
        trade.units += part
        home = made * self.rate(pair.money, now_ns)
        trade.realized += home
        trade.closed_units += abs(part)
        trade.closed_money += abs(part) * price
        trade.closers.append(number)
        if not trade.units:
            trade.closed_ns = now_ns
        return wire.TradeChange(
            tradeID=trade.id, units=units(part), price=self.shown(trade.symbol, price), realizedPL=money(home), financing=money(ZERO)
        )

    def _realize(self, pair: Pair, made: Decimal, now_ns: int) -> Decimal:
        """What was made, in the account's money; it is changed into it at once, to the fourth decimal."""
        pl = made
        if pair.money != HOME:
            pl = Decimal(money(made * self.rate(pair.money, now_ns)))
            self._exchange.change(pair.money, made, pl)
        self.pl += pl
        return pl

    def finance(self, now_ns: int) -> None:
        """A day's interest on what is held at 17:00 in New York, in one transaction. Source: oanda.com, financing costs"""
        rows: dict[str, list[wire.TradeFinancing]] = {}
        sums: dict[str, Decimal] = {}
        for trade in self.open_trades():
            pair = self._universe.pairs[trade.symbol]
            yearly = pair.long_rate if trade.units > 0 else pair.short_rate
            paid = Decimal(money(abs(trade.units) * self._exchange.mark(trade.symbol, now_ns) * self.rate(pair.money, now_ns) * yearly / YEAR))
            trade.financing += paid
            rows.setdefault(trade.symbol, []).append(wire.TradeFinancing(tradeID=trade.id, financing=money(paid)))
            sums[trade.symbol] = sums.get(trade.symbol, ZERO) + paid
        total = sum(sums.values(), ZERO)
        if not rows:
            return
        self._exchange.deposit(HOME, total)
        self.financing += total
        told = [wire.PositionFinancing(instrument=name, financing=money(sums[name]), openTradeFinancings=found) for name, found in rows.items()]
        self._log.write(
            "DAILY_FINANCING",
            now_ns,
            financing=money(total),
            accountBalance=money(self.balance()),
            accountFinancingMode="DAILY",
            positionFinancings=told,
        )

    def transfer(self, amount: Decimal, now_ns: int) -> None:
        self._exchange.deposit(HOME, amount)
        self._log.write("TRANSFER_FUNDS", now_ns, amount=money(amount), fundingReason="CLIENT_FUNDING", accountBalance=money(self.balance()))

    # -- worth -----------------------------------------------------------------------------------------------------------------------------------

    def rate(self, currency: str, now_ns: int) -> Decimal:
        """What one of a money is worth in the account's."""
        if currency == HOME:
            return ONE
        listed = f"{currency}_{HOME}" in self._universe.pairs
        return rated(self._exchange.mark(f"{currency}_{HOME}", now_ns) if listed else 1 / self._exchange.mark(f"{HOME}_{currency}", now_ns))

    def balance(self) -> Decimal:
        """Money and what the open trades took of it; in other moneys than the account's they took none."""
        home = (trade for trade in self.open_trades() if self._universe.pairs[trade.symbol].money == HOME)
        return self._exchange.cash + sum((trade.units * trade.price for trade in home), ZERO)

    def unrealized(self, trade: SimTrade, now_ns: int) -> Decimal:
        """At the price that would close it."""
        tick = self._exchange.market.latest(trade.symbol, now_ns)
        side = tick.bids if trade.units > 0 else tick.asks
        price = side[0][0] * self._exchange.market.listings[trade.symbol].unit
        return trade.units * (price - trade.price) * self.rate(self._universe.pairs[trade.symbol].money, now_ns)

    def value(self, symbol: str, qty: Decimal, now_ns: int) -> Decimal:
        return abs(qty) * self._exchange.mark(symbol, now_ns) * self.rate(self._universe.pairs[symbol].money, now_ns)

    def margin(self, now_ns: int, symbol: str = "", more: Decimal = ZERO) -> Decimal:
        """What the positions tie up, each by its larger side; with so many more units of one of them."""
        total = ZERO
        for name, pair in self._universe.pairs.items():
            long, short = self.held(name, 1), self.held(name, -1)
            if name == symbol:
                taken = min(abs(more), short if more > 0 else long)
                long, short = (long + more - taken, short - taken) if more > 0 else (long - taken, short - more - taken)
            total += self.value(name, max(long, short), now_ns) * max(pair.margin_rate, Decimal(self.margin_rate))
        return total

    def share(self, now_ns: int) -> Decimal:
        """What the margin is of the worth: one and more is a margin call, twice as much closes the positions.

        Source: developer.oanda.com/rest-live-v20/account-df (marginCallPercent, marginCloseoutPercent)
        """
        margin = self.margin(now_ns)
        return margin / max(self.nav(now_ns), _LEAST) if margin else ZERO

    @property
    def watched(self) -> bool:
        """Whether there is a margin to look at, or a call to end."""
        return bool(self._called_ns) or any(trade.units for trade in self.trades.values())

    def call(self, now_ns: int) -> bool:
        """Begin a margin call or end it, as the market has it now. Gives whether the positions are to be closed."""
        share = self.share(now_ns)
        if share >= 1 and not self._called_ns:
            self._called_ns = now_ns
            self._log.write("MARGIN_CALL_ENTER", now_ns)
        if share < 1 and self._called_ns:
            self._called_ns = 0
            self._log.write("MARGIN_CALL_EXIT", now_ns)
        return share / 2 >= 1

    def better(self, symbol: str, qty: Decimal, filled: Decimal, promised: Decimal, now_ns: int) -> Decimal:
        """Make a fill's price what was promised, and charge for it. Gives the premium in the account's money."""
        pair = self._universe.pairs[symbol]
        fee = Decimal(money(abs(qty) * pair.premium * self.rate(pair.money, now_ns)))
        self._exchange.deposit(pair.money, qty * (filled - promised))
        self._exchange.deposit(HOME, -fee)
        self.guaranteed_fees += fee
        return fee

    def nav(self, now_ns: int) -> Decimal:
        return self.balance() + sum((self.unrealized(trade, now_ns) for trade in self.open_trades()), ZERO)

    # -- as it is shown --------------------------------------------------------------------------------------------------------------------------

    def shown(self, symbol: str, price: Decimal) -> str:
        return f"{price:.{self._universe.pairs[symbol].shown.displayPrecision}f}"

    def account(self, now_ns: int, *, pending: Sequence[wire.Order], whole: bool, order: Callable[[str], wire.Order | None]) -> wire.Account:
        balance, nav, margin = self.balance(), self.nav(now_ns), self.margin(now_ns)
        value = sum((self.value(trade.symbol, trade.units, now_ns) for trade in self.open_trades()), ZERO)
        share = self.share(now_ns)
        shown = wire.Account(
            id=self.account_id,
            alias=self.alias,
            currency=HOME,
            balance=money(balance),
            NAV=money(nav),
            createdByUserID=int(self.account_id.split("-")[2]),
            createdTime=iso(self._start_ns),
            guaranteedStopLossOrderMode="ALLOWED" if self.guaranteed_stops else "DISABLED",
            guaranteedExecutionFees=money(self.guaranteed_fees),
            marginCallEnterTime=iso(self._called_ns) if self._called_ns else msgspec.UNSET,
            pl=money(self.pl),
            resettablePL=money(self.pl),
            financing=money(self.financing),
            commission=money(ZERO),
            marginRate=self.margin_rate,
            openTradeCount=len(self.open_trades()),
            openPositionCount=len({trade.symbol for trade in self.open_trades()}),
            pendingOrderCount=len(pending),
            hedgingEnabled=self.hedging,
            unrealizedPL=money(nav - balance),
            marginUsed=money(margin),
            marginAvailable=money(max(ZERO, nav - margin)),
            positionValue=money(value),
            withdrawalLimit=money(max(ZERO, min(balance, nav - margin))),
            marginCloseoutUnrealizedPL=money(nav - balance),
            marginCloseoutNAV=money(nav),
            marginCloseoutMarginUsed=money(margin),
            marginCloseoutPercent=f"{share / 2:.5f}",
            marginCloseoutPositionValue=money(value),
            marginCallMarginUsed=money(margin),
            marginCallPercent=f"{share:.5f}",
            lastTransactionID=self._log.last_id,
        )
        if not whole:
            return shown
        trades = [self.trade(trade, now_ns, order, whole=False) for trade in self.open_trades()]
        return msgspec.structs.replace(shown, trades=trades, positions=list(self.positions(now_ns)), orders=pending)

    def trade(self, trade: SimTrade, now_ns: int, order: Callable[[str], wire.Order | None], *, whole: bool = True) -> wire.Trade:
        """whole: with its orders; else with their numbers."""
        pair = self._universe.pairs[trade.symbol]
        margin = abs(trade.initial) * trade.price * self.rate(pair.money, now_ns) * pair.margin_rate
        shown = wire.Trade(
            id=trade.id,
            instrument=trade.symbol,
            price=self.shown(trade.symbol, trade.price),
            openTime=iso(trade.opened_ns),
            state=trade.state,
            initialUnits=units(trade.initial),
            initialMarginRequired=money(margin),
            currentUnits=units(trade.units),
            realizedPL=money(trade.realized),
            unrealizedPL=money(self.unrealized(trade, now_ns)) if trade.units else money(ZERO),
            marginUsed=money(self.value(trade.symbol, trade.units, now_ns) * pair.margin_rate),
            averageClosePrice=self.shown(trade.symbol, trade.closed_money / trade.closed_units) if trade.closed_units else "",
            closingTransactionIDs=tuple(trade.closers),
            financing=money(trade.financing),
            closeTime=iso(trade.closed_ns) if trade.closed_ns else "",
            clientExtensions=trade.extensions,
        )
        found = {kind: order(order_id) for kind, order_id in trade.orders.items()}
        alive = {kind: row for kind, row in found.items() if row is not None and row.state == "PENDING"}
        for kind, name in (("TAKE_PROFIT", "takeProfitOrder"), ("STOP_LOSS", "stopLossOrder"), ("TRAILING_STOP_LOSS", "trailingStopLossOrder")):
            if kind in alive:
                shown = msgspec.structs.replace(shown, **({name: alive[kind]} if whole else {f"{name}ID": alive[kind].id}))
        return shown

    def positions(self, now_ns: int, symbol: str | None = None) -> Iterator[wire.Position]:
        """What is held, or the one that is asked for."""
        for name, pair in self._universe.pairs.items():
            trades = self.open_trades(name)
            if symbol != name and (symbol is not None or not trades):
                continue
            open_pl = sum((self.unrealized(trade, now_ns) for trade in trades), ZERO)
            done = sum((trade.realized for trade in self.trades.values() if trade.symbol == name), ZERO)
            margin = self.value(name, max(self.held(name, 1), self.held(name, -1)), now_ns) * pair.margin_rate
            yield wire.Position(
                instrument=name,
                pl=money(done),
                unrealizedPL=money(open_pl),
                resettablePL=money(done),
                marginUsed=money(margin),
                financing=money(sum((trade.financing for trade in trades), ZERO)),
                commission=money(ZERO),
                long=self._side([trade for trade in trades if trade.units > 0], name, now_ns),
                short=self._side([trade for trade in trades if trade.units < 0], name, now_ns),
            )

    def _side(self, trades: Sequence[SimTrade], symbol: str, now_ns: int) -> wire.PositionSide:
        total = sum((trade.units for trade in trades), ZERO)
        side = wire.PositionSide(units=units(total), unrealizedPL=money(sum((self.unrealized(trade, now_ns) for trade in trades), ZERO)))
        if total:
            side.averagePrice = self.shown(symbol, sum((trade.units * trade.price for trade in trades), ZERO) / total)
            side.tradeIDs = tuple(trade.id for trade in trades)
        return side
