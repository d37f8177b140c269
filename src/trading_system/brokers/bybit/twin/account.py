"""The unified account: wallet, margin, positions, funding, deliveries, liquidation, and the transaction log.

The exchange takes what a swap costs out of its cash; Bybit shows it as wallet balance and position instead, which is the same sum. A premium leaves
the wallet, at Bybit too: an option that is held is worth something in the equity, and is no collateral; one that is sold ties up margin
(twin/options.py). Coins are no collateral here either; but those that an inverse contract has lost and that are not there are owed, at Bybit too.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal

from trading_system.brokers.bybit import facts, wire
from trading_system.brokers.bybit.twin.forms import MS, Refusal, amount, bad, ms, page, shown, span
from trading_system.brokers.bybit.twin.options import initial_margin, maintenance_margin
from trading_system.brokers.bybit.twin.universe import FUNDING_HOURS, MAX_LEVERAGE, Product, Universe
from trading_system.domain.fix import Side
from trading_system.domain.money import ONE, ZERO, plain
from trading_system.sim.exchange import Exchange, Execution
from trading_system.sim.sessions import HOUR_NS

FUNDING_NS = FUNDING_HOURS * HOUR_NS
INTEREST = Decimal("0.0001")  # of a funding interval, from what the two coins' rates differ by
DAMPER = Decimal("0.0005")
FUNDING_CAP = Decimal("0.00375")
FIRST_LEVERAGE = Decimal(10)
_RATE_GRAIN = Decimal("0.00000001")


def funding_rate(premium: Decimal) -> Decimal:
    """A swap's premium over its index, pulled towards the interest, within a cap.

    Source: bybit.com/en/help-center, introduction to funding rate: F = P + clamp(I − P, ±0.05 %)
    >>> funding_rate(Decimal(0)), funding_rate(Decimal("0.002"))
    (Decimal('0.00010000'), Decimal('0.00150000'))
    """
    pulled = premium + max(-DAMPER, min(DAMPER, INTEREST - premium))
    return max(-FUNDING_CAP, min(FUNDING_CAP, pulled)).quantize(_RATE_GRAIN)


class Margin:
    """What the account is worth and what holds it, in USDT."""

    def __init__(self, universe: Universe, exchange: Exchange) -> None:
        self._universe = universe
        self._exchange = exchange
        self._leverage: dict[str, Decimal] = {}

    def leverage(self, product: Product) -> Decimal:
        return self._leverage.get(product.symbol, FIRST_LEVERAGE)

    def set_leverage(self, product: Product, buy: str | None, sell: str | None) -> None:
        """Raises Refusal: not a leverage that it may have; 110043: it has it."""
        wanted = amount(buy)
        if not product.margined or wanted is None or buy != sell or not ONE <= wanted <= MAX_LEVERAGE:
            raise bad("leverage invalid")
        if wanted == self.leverage(product):
            raise Refusal(110043, "Set leverage has not been modified.")
        self._leverage[product.symbol] = wanted

    def reserve_px(self, product: Product, side: Side, price: Decimal, now_ns: int) -> Decimal:
        """What an order of one unit at this price holds of the money."""
        if product.contract is not None and side is Side.SELL:
            return initial_margin(product.contract, self.mark(self._universe.names[product.pair], now_ns), self.mark(product, now_ns))
        return product.worth(ONE, price) / self.leverage(product) if product.margined else price

    def held(self, product: Product) -> Decimal:
        """Signed units."""
        return self._exchange.holdings.get(product.asset, ZERO)

    def average(self, product: Product) -> Decimal:
        """Average entry; 0: nothing is held."""
        return self._exchange.avg_px.get(product.asset, ZERO)

    def mark(self, product: Product, now_ns: int) -> Decimal:
        return self._exchange.mark(product.name, now_ns)

    def last_px(self, product: Product, now_ns: int) -> Decimal:
        """The last trade's price, which is what stops look at."""
        last = self._exchange.market.last_print(product.name, now_ns)
        return self.mark(product, now_ns) if last is None else last.price * product.tick

    def contracts(self) -> Iterator[tuple[Product, Decimal, Decimal]]:
        """Open positions: signed quantity and average entry."""
        for name, qty in self._exchange.positions():
            product = self._universe.names[name]
            if product.margined:
                yield product, qty, self.average(product)

    def options(self) -> Iterator[tuple[Product, Decimal]]:
        """Option positions, signed."""
        for name, qty in self._exchange.positions():
            product = self._universe.names[name]
            if product.contract is not None:
                yield product, qty

    def option_value(self, now_ns: int) -> Decimal:
        """What the options are marked at, what is sold below zero."""
        return sum((qty * self.mark(product, now_ns) for product, qty in self.options()), ZERO)

    def sold(self, now_ns: int) -> Iterator[tuple[Decimal, Decimal]]:
        """Of every option that is sold, what it ties up and what it needs at least."""
        for product, qty in self.options():
            if qty < 0 and product.contract is not None:
                spot, mark = self.mark(self._universe.names[product.pair], now_ns), self.mark(product, now_ns)
                yield -qty * initial_margin(product.contract, spot, mark), -qty * maintenance_margin(spot, mark)

    def wallet(self) -> Decimal:
        """Money, that in positions included at what they cost."""
        return self._exchange.cash + sum((qty * average for product, qty, average in self.contracts() if product.linear), ZERO)

    def made(self, product: Product, now_ns: int) -> Decimal:
        """What a position has made since its entry, in what it settles in."""
        qty = self.held(product)
        if product.inverse:
            return self._exchange.gain(product.name, qty, now_ns)
        return qty * (self.mark(product, now_ns) - self.average(product))

    def unrealised(self, now_ns: int, coin: str = facts.QUOTE) -> Decimal:
        """What the contracts that settle in a coin have made."""
        return sum((self.made(product, now_ns) for product, _, _ in self.contracts() if product.settles_in == coin), ZERO)

    def coin(self, pair: Product, now_ns: int) -> Decimal:
        """Coins there are, and those that its contracts have made."""
        return self._exchange.position(pair.name) + self.unrealised(now_ns, pair.base)

    def owed(self, now_ns: int) -> Decimal:
        """What coins that were lost and are not there are worth, below zero."""
        coins = ((self.coin(pair, now_ns), pair) for pair in self._universe.of(facts.SPOT))
        return sum((short * self.mark(pair, now_ns) for short, pair in coins if short < 0), ZERO)

    def balance(self, now_ns: int) -> Decimal:
        """The margin balance: what stands behind the positions."""
        return self.wallet() + self.unrealised(now_ns) + self.owed(now_ns)

    def initial(self, now_ns: int) -> Decimal:
        """What the positions hold."""
        worths = [(product, product.worth(abs(qty), self.mark(product, now_ns))) for product, qty, _ in self.contracts()]
        held = sum((worth / self.leverage(product) for product, worth in worths), ZERO)
        return held + sum((initial for initial, _ in self.sold(now_ns)), ZERO)

    def maintenance(self, now_ns: int) -> Decimal:
        """What the positions need at least."""
        worths = [(product, product.worth(abs(qty), self.mark(product, now_ns))) for product, qty, _ in self.contracts()]
        held = sum((worth * product.maintenance for product, worth in worths), ZERO)
        return held + sum((least for _, least in self.sold(now_ns)), ZERO)

    def reserved(self, *, spot: bool) -> Decimal:
        """What orders of pairs, or of all else, hold of the money."""
        orders = self._exchange.open_orders()
        return sum((order.reserve for order in orders if self._universe.names[order.symbol].spot is spot), ZERO)

    def available(self, now_ns: int) -> Decimal:
        return max(ZERO, self.balance(now_ns) - self.initial(now_ns) - self._exchange.reserved)

    def free_money(self, now_ns: int) -> Decimal:
        """What may buy coins: no more than is in the wallet and not held."""
        return max(ZERO, min(self.available(now_ns), self.wallet() - self._exchange.reserved))


class Account:
    """What the account endpoints answer, and what time does to it."""

    def __init__(self, universe: Universe, exchange: Exchange, margin: Margin, *, user_id: int, key: str, note: str, start_ns: int) -> None:
        self._universe = universe
        self._exchange = exchange
        self._margin = margin
        self._user_id = user_id
        self._key = key
        self._note = note
        self._start_ns = start_ns
        self.usdt_usd = ONE  # what a USDT is worth; tests let it leave the dollar
        self.permissions: dict[str, list[str]] = {
            "ContractTrade": ["Order", "Position"],
            "Spot": ["SpotTrade"],
            "Options": ["OptionsTrade"],
            "Derivatives": ["DerivativesTrade"],
            "Wallet": [],
        }
        self.read_only = False
        self.margin_status = 5
        self.hedge = False
        self.log: list[wire.LogEntry] = []
        self.deliveries: list[wire.Delivery] = []
        self.realised: dict[tuple[str, str], Decimal] = {}  # by category and symbol, in what it settles in
        self._averages: dict[str, Decimal] = {}  # entries of positions, as far as executions were entered
        self._entries = 0

    # -- answers ---------------------------------------------------------------------------------------------------------------------------------

    def key_info(self) -> wire.KeyInfo:
        return wire.KeyInfo(
            id=str(self._user_id)[::-1],
            userID=self._user_id,
            readOnly=int(self.read_only),
            permissions=self.permissions,
            note=self._note,
            apiKey=self._key,
            ips=["*"],
            deadlineDay=83,
            expiredAt="2030-05-15T03:21:05Z",
            createdAt="2026-01-01T00:00:00Z",
            uta=1,
        )

    def info(self) -> wire.AccountInfo:
        return wire.AccountInfo(marginMode="REGULAR_MARGIN", unifiedMarginStatus=self.margin_status, updatedTime=ms(self._start_ns), timeWindow=10)

    def wallet(self, now_ns: int, only: tuple[str, ...] = ()) -> wire.Wallet:
        """Totals are dollars. A coin of which there is none is told only when it is asked for."""
        margin, rate = self._margin, self.usdt_usd
        coins = [self._money(now_ns)] + [self._coin(product, now_ns) for product in self._universe.of(facts.SPOT)]
        wanted = [
            coin for coin in coins if (coin.coin in only if only else (coin.walletBalance, coin.equity) != ("0", "0") or coin.coin == facts.QUOTE)
        ]
        balance, initial, maintenance = margin.balance(now_ns), margin.initial(now_ns), margin.maintenance(now_ns)
        orders, options = margin.reserved(spot=False), margin.option_value(now_ns)
        total, perpetual = sum((Decimal(coin.usdValue) for coin in coins), ZERO), margin.unrealised(now_ns)
        for product in self._universe.of(facts.SPOT):
            made = margin.unrealised(now_ns, product.base)
            perpetual += made * margin.mark(product, now_ns) if made else ZERO
        return wire.Wallet(
            accountType="UNIFIED",
            totalEquity=shown(total),
            totalWalletBalance=shown(total - (perpetual + options) * rate),
            totalMarginBalance=shown(balance * rate),
            totalAvailableBalance=shown(margin.available(now_ns) * rate),
            totalPerpUPL=shown(perpetual * rate),
            totalInitialMargin=shown((initial + orders) * rate),
            totalMaintenanceMargin=shown(maintenance * rate),
            accountIMRate=_share(initial + orders, balance),
            accountMMRate=_share(maintenance, balance),
            accountLTV="0",
            coin=wanted,
        )

    def _money(self, now_ns: int) -> wire.Coin:
        margin = self._margin
        equity = margin.wallet() + margin.unrealised(now_ns) + margin.option_value(now_ns)
        return wire.Coin(
            coin=facts.QUOTE,
            equity=shown(equity),
            walletBalance=shown(margin.wallet()),
            usdValue=shown(equity * self.usdt_usd),
            locked=shown(margin.reserved(spot=True)),
            spotBorrow="0",
            borrowAmount="0",
            unrealisedPnl=shown(margin.unrealised(now_ns)),
            cumRealisedPnl=shown(self._realised_in(facts.QUOTE)),
            totalOrderIM=shown(margin.reserved(spot=False)),
            totalPositionIM=shown(margin.initial(now_ns)),
            totalPositionMM=shown(margin.maintenance(now_ns)),
            accruedInterest="0",
            bonus="0",
            marginCollateral=True,
            collateralSwitch=True,
        )

    def _realised_in(self, coin: str) -> Decimal:
        products = self._universe.products
        return sum((made for (category, symbol), made in self.realised.items() if products[category, symbol].settles_in == coin), ZERO)

    def _coin(self, product: Product, now_ns: int) -> wire.Coin:
        qty, equity = self._exchange.position(product.name), self._margin.coin(product, now_ns)
        worth = equity * self._margin.mark(product, now_ns) * self.usdt_usd if equity else ZERO
        return wire.Coin(
            coin=product.base,
            equity=shown(equity),
            walletBalance=shown(qty),
            usdValue=shown(worth),
            locked=shown(self._exchange.held(product.name)),
            spotBorrow="0",
            borrowAmount="0",
            unrealisedPnl=shown(equity - qty),
            cumRealisedPnl=shown(self._realised_in(product.base)),
            totalOrderIM="0",
            totalPositionIM="0",
            totalPositionMM="0",
            accruedInterest="0",
            bonus="0",
        )

    def positions(self, query: Mapping[str, str], now_ns: int) -> wire.Positions:
        """By symbol even when flat, by settlement coin what is open; inverse contracts also all, options by their coin, or all."""
        category = query.get("category", "")
        if category not in (*facts.CONTRACTS, facts.OPTION):
            raise bad("Illegal category")
        if query.get("symbol"):
            product = self._universe.products.get((category, query["symbol"]))
            if product is None:
                raise bad("symbol invalid")
            rows = [self.position(product, now_ns)] if not self.hedge else [self.position(product, now_ns, side=side) for side in (1, 2)]
        elif category == facts.OPTION:
            rows = [self.position(product, now_ns) for product, _ in self._margin.options() if query.get("baseCoin", "") in ("", product.base)]
        elif query.get("settleCoin") or category == facts.INVERSE:
            held = [product for product, _, _ in self._margin.contracts() if product.category == category]
            rows = [self.position(product, now_ns) for product in held if query.get("settleCoin", "") in ("", product.settles_in)]
        else:
            raise bad("symbol or settleCoin is required")
        found, cursor = page(rows, query, 20, facts.POSITIONS_PAGE_MAX)
        return wire.Positions(category=category, list=found, nextPageCursor=cursor)

    def position(self, product: Product, now_ns: int, *, side: int = 0) -> wire.Position:
        """side: positionIdx, of an account in hedge mode."""
        margin, qty = self._margin, self._margin.held(product)
        average, mark = margin.average(product), margin.mark(product, now_ns)
        worth = product.value(abs(qty), mark)
        initial, least = worth / margin.leverage(product), worth * product.maintenance
        if product.contract is not None:
            spot = margin.mark(self._universe.names[product.pair], now_ns)
            units = max(ZERO, -qty)
            initial, least = units * initial_margin(product.contract, spot, mark), units * maintenance_margin(spot, mark)
        return wire.Position(
            positionIdx=side,
            symbol=product.symbol,
            side="" if not qty else "Buy" if qty > 0 else "Sell",
            size=plain(abs(qty)),
            avgPrice=shown(average),
            markPrice=shown(mark),
            unrealisedPnl=shown(margin.made(product, now_ns)),
            positionValue=shown(product.value(abs(qty), average) if qty else ZERO),
            leverage=plain(margin.leverage(product)) if product.margined else "",
            positionIM=shown(initial),
            positionMM=shown(least),
            curRealisedPnl="0",
            cumRealisedPnl=shown(self.realised.get((product.category, product.symbol), ZERO)),
            riskLimitValue="2000000",
            createdTime=ms(self._start_ns),
            updatedTime=ms(now_ns),
        )

    def fee_rates(self, query: Mapping[str, str]) -> wire.FeeRates:
        category = query.get("category", "")
        if category not in facts.CATEGORIES:
            raise bad("Illegal category")
        taker, maker = fee_rates(category)
        products = [product for product in self._universe.of(category) if query.get("symbol") in (None, "", product.symbol)]
        if not products:
            raise bad("symbol invalid")
        names = dict.fromkeys(product.base for product in products) if category == facts.OPTION else [product.symbol for product in products]
        key = "baseCoin" if category == facts.OPTION else "symbol"
        rows = [wire.FeeRate(**{key: name}, takerFeeRate=plain(taker), makerFeeRate=plain(maker)) for name in names]
        return wire.FeeRates(category=category, list=rows)

    def transactions(self, query: Mapping[str, str], now_ns: int) -> wire.Log:
        """Newest first."""
        low, high = span(query, now_ns, facts.HISTORY_WINDOW_NS)
        wanted = {name: query.get(name, "") for name in ("category", "currency", "type")}
        rows = [
            entry
            for entry in reversed(self.log)
            if low <= int(entry.transactionTime) <= high and all(value in ("", getattr(entry, name)) for name, value in wanted.items())
        ]
        found, cursor = page(rows, query, 20, facts.LOG_PAGE_MAX)
        return wire.Log(list=found, nextPageCursor=cursor)

    # -- what happens ----------------------------------------------------------------------------------------------------------------------------

    def executed(self, execution: Execution, now_ns: int) -> None:
        """Enter a trade. A swap's change is what was made less the fee, an option's its premium and the fee, a pair's moves two coins."""
        product = self._universe.names[execution.symbol]
        sign, fee = execution.side.sign, execution.fee
        shared = {
            "symbol": product.symbol,
            "category": product.category,
            "side": "Buy" if sign > 0 else "Sell",
            "qty": plain(execution.qty),
            "tradePrice": plain(execution.price),
            "orderId": execution.order_id,
            "tradeId": execution.exec_id,
        }
        if product.contract is not None:
            moved = -sign * execution.qty * execution.price
            more = {"fee": shown(fee), "cashFlow": shown(moved), "size": plain(execution.position_qty), **shared}
            self._enter("TRADE", facts.QUOTE, moved - fee, now_ns, **more)
            return
        if product.spot:
            for coin, moved in ((product.base, sign * execution.qty), (facts.QUOTE, -sign * execution.qty * execution.price)):
                own = fee if coin == execution.fee_asset else ZERO
                self._enter("TRADE", coin, moved - own, now_ns, fee=shown(own), cashFlow=shown(moved), **shared)
            return
        if product.inverse:
            self._made(product, execution.realized - fee)
            more = {"fee": shown(fee), "cashFlow": shown(execution.realized), "size": plain(execution.position_qty), **shared}
            self._enter("TRADE", product.base, execution.realized - fee, now_ns, **more)
            return
        before = execution.position_qty - sign * execution.qty
        closed = min(execution.qty, abs(before)) if before * sign < 0 else ZERO
        made = closed * (execution.price - self._entered(product, execution, before)) * -sign
        self._made(product, made - fee)
        self._enter("TRADE", facts.QUOTE, made - fee, now_ns, fee=shown(fee), cashFlow=shown(made), size=plain(execution.position_qty), **shared)

    def _made(self, product: Product, amount: Decimal) -> None:
        key = (product.category, product.symbol)
        self.realised[key] = self.realised.get(key, ZERO) + amount

    def _entered(self, product: Product, execution: Execution, before: Decimal) -> Decimal:
        """The average entry before an execution; it moves to the one after it."""
        average, after = self._averages.get(product.symbol, ZERO), execution.position_qty
        moved = average
        if before * execution.side.sign >= 0:
            moved = (abs(before) * average + execution.qty * execution.price) / abs(after)
        elif before * after <= 0:
            moved = execution.price if after else ZERO
        self._averages[product.symbol] = moved
        return average

    def transfer(self, coin: str, moved: Decimal, now_ns: int) -> None:
        """Money or coins in, or out below zero."""
        self._exchange.deposit(coin, moved)
        self._enter("TRANSFER_IN" if moved > 0 else "TRANSFER_OUT", coin, moved, now_ns, cashFlow=shown(moved))

    def premium(self, product: Product, now_ns: int) -> Decimal:
        """How far a swap's price is from its index."""
        index = self._exchange.mark(product.pair, now_ns)
        return (self._margin.mark(product, now_ns) - index) / index

    def fund(self, now_ns: int, tell: Callable[[Product, Decimal, Decimal, Decimal], None]) -> None:
        """The funding of one instant: who is long pays the rate on what it is worth, or is paid. tell: product, quantity, mark, what was paid."""
        for product, qty, _ in list(self._margin.contracts()):
            if product.expires_ns:
                continue
            mark, rate = self._margin.mark(product, now_ns), funding_rate(self.premium(product, now_ns))
            paid = (product.value(qty, mark) * rate).quantize(_RATE_GRAIN)
            self._exchange.deposit(product.settles_in, -paid)
            self._made(product, -paid)
            self._enter(
                "SETTLEMENT",
                product.settles_in,
                -paid,
                now_ns,
                symbol=product.symbol,
                category=product.category,
                side="Buy" if qty > 0 else "Sell",
                size=plain(qty),
                qty=plain(abs(qty)),
                tradePrice=plain(mark),
                funding=shown(-paid),
                feeRate=plain(rate),
                cashFlow="0",
            )
            tell(product, qty, mark, paid)

    def deliver(self, product: Product, now_ns: int) -> Decimal:
        """A contract's end, at its coin's price then: of a future what it made since its entry is paid, of an option what it gives. The units that
        were held, signed."""
        qty = self._margin.held(product)
        if not qty:
            return qty
        entry, price = self._exchange.avg_px.pop(product.asset), self._exchange.mark(product.pair, now_ns)
        worth = price if product.contract is None else product.contract.payoff(price)
        fee = ZERO if product.contract is None else abs(qty) * min(price * facts.OPTION_DELIVERY_FEE, worth * facts.OPTION_FEE_CAP)
        fee = fee.quantize(_RATE_GRAIN)
        self._exchange.deposit(product.asset, -qty)
        self._exchange.deposit(facts.QUOTE, qty * worth - fee)
        made, side = qty * (worth - entry), "Buy" if qty > 0 else "Sell"
        moved = made if product.contract is None else qty * worth
        self._made(product, made - fee)
        self._averages.pop(product.symbol, None)
        closing = {"Buy": "Sell", "Sell": "Buy"}[side]
        self.deliveries.append(
            wire.Delivery(
                deliveryTime=now_ns // MS,
                symbol=product.symbol,
                side=side if product.contract is None else closing,  # as the documents' examples of options have it
                position=plain(abs(qty)),
                entryPrice=shown(entry),
                deliveryPrice=shown(price),
                strike="" if product.contract is None else plain(product.contract.strike),
                fee=shown(fee),
                deliveryRpl=shown(made),
            )
        )
        more = {"symbol": product.symbol, "category": product.category, "side": side, "size": "0", "qty": plain(abs(qty))}
        self._enter("DELIVERY", facts.QUOTE, moved - fee, now_ns, fee=shown(fee), cashFlow=shown(moved), tradePrice=shown(price), **more)
        return qty

    def delivery_records(self, query: Mapping[str, str]) -> wire.Deliveries:
        """Newest first."""
        category = query.get("category", "")
        if category not in (facts.LINEAR, facts.OPTION):
            raise bad("Illegal category")
        known = [row for row in reversed(self.deliveries) if bool(row.strike) is (category == facts.OPTION)]
        rows = [row for row in known if query.get("symbol", "") in ("", row.symbol)]
        found, cursor = page(rows, query, 20, facts.LOG_PAGE_MAX)
        return wire.Deliveries(category=category, list=found, nextPageCursor=cursor)

    def broke(self, now_ns: int) -> bool:
        """Whether what stands behind the positions is less than they need."""
        needed = self._margin.maintenance(now_ns)
        return needed > 0 and self._margin.balance(now_ns) < needed

    def closing(self) -> list[tuple[Product, Side, Decimal]]:
        """What closes every position that margin stands behind."""
        held = [(product, qty) for product, qty, _ in self._margin.contracts()] + [
            (product, qty) for product, qty in self._margin.options() if qty < 0
        ]
        return [(product, Side.SELL if qty > 0 else Side.BUY, abs(qty)) for product, qty in held]

    def _enter(self, kind: str, coin: str, change: Decimal, now_ns: int, **more: str) -> None:
        self._entries += 1
        balance = self._margin.wallet() if coin == facts.QUOTE else self._exchange.holdings.get(coin, ZERO)
        self.log.append(
            wire.LogEntry(
                id=f"{self._user_id}_{more.get('symbol', coin)}_{now_ns // MS}_{self._entries}",
                type=kind,
                currency=coin,
                change=shown(change),
                cashBalance=shown(balance),
                transactionTime=ms(now_ns),
                **more,
            )
        )


def fee_rates(category: str) -> tuple[Decimal, Decimal]:
    """Of who takes and of who makes, in one category."""
    if category == facts.OPTION:
        return facts.OPTION_FEE, facts.OPTION_FEE
    return (facts.LINEAR_TAKER_FEE, facts.LINEAR_MAKER_FEE) if category in facts.CONTRACTS else (facts.SPOT_TAKER_FEE, facts.SPOT_MAKER_FEE)


def _share(part: Decimal, whole: Decimal) -> str:
    return shown((part / whole).quantize(Decimal("0.0001"))) if whole > 0 else "0"
