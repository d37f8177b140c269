"""The desk in numbers, as Prometheus reads them: what happened is counted as it happens, how things stand is looked up when somebody asks."""

import asyncio
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from trading_system import __version__
from trading_system.app.alerts import Courier
from trading_system.app.desk import Desk
from trading_system.app.portfolio import used
from trading_system.app.state import holdings
from trading_system.core.lifecycle import Applied
from trading_system.domain.fix import Doubt, ExecType, OrdStatus
from trading_system.domain.ids import BrokerName, ClOrdID
from trading_system.domain.money import plain
from trading_system.domain.ports import CountsRequests
from trading_system.journal.record import ClosedUnsent, Decided, Intent, Record, Reported

SECOND_NS = 1_000_000_000
TICK_NS = SECOND_NS // 4  # how often the loop's lag is measured
UNANSWERED_MAX = 1_000  # orders whose first answer is waited for
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SYNCS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

# name: (type, help). The one list that the page, docs/METRICS.md and docs/grafana.json are held to.
FAMILIES: Mapping[str, tuple[str, str]] = {
    "trading_info": ("gauge", "1, with the version and the environment as labels."),
    "trading_ready": ("gauge", "1: reconciled, and the order stream lives; entries may go."),
    "trading_openings_routed": ("gauge", "1 for each instrument whose openings go to another broker than its home."),
    "trading_orders": ("gauge", "Orders in memory (a week of them) by status."),
    "trading_orders_sent_total": ("counter", "Orders that may have left, since this desk started."),
    "trading_fills_total": ("counter", "Executions booked, since this desk started."),
    "trading_rejects_total": ("counter", "Orders refused since this desk started: by a rule of the gate, or by the broker (rule BROKER)."),
    "trading_submit_ack_seconds": ("histogram", "From the gate to the broker's first word on an order."),
    "trading_orders_in_doubt": ("gauge", "Orders that were sent and not answered."),
    "trading_order_in_doubt_age_seconds": ("gauge", "How long the oldest of them is in doubt; 0: none is."),
    "trading_stream_up": ("gauge", "1: the stream lives. Only streams that somebody reads."),
    "trading_stream_age_seconds": ("gauge", "Since anything came over the stream."),
    "trading_rate_budget_left": ("gauge", "Requests (or units of weight) that the broker would take now."),
    "trading_rate_budget_limit": ("gauge", "The most there can be left."),
    "trading_account_equity": ("gauge", "One account's equity, in its currency, as last seen."),
    "trading_equity": ("gauge", "Equity of all accounts, in BASE_CURRENCY."),
    "trading_day_start_equity": ("gauge", "The equity that the UTC day began with."),
    "trading_high_water": ("gauge", "The highest equity there was."),
    "trading_day_loss_ratio": ("gauge", "Today's loss as a fraction of the day's first equity; 0: none."),
    "trading_drawdown_ratio": ("gauge", "The fall from the highest equity, as a fraction of it."),
    "trading_limit_used_ratio": ("gauge", "How much of a limit is used; 1: all of it."),
    "trading_position_value": ("gauge", "What is held, signed, in BASE_CURRENCY; options on one underlying together, as what they put at risk."),
    "trading_decisions_total": ("counter", "Wishes of strategies that were decided, since this desk started."),
    "trading_loop_lag_seconds": ("histogram", "How late the event loop comes to what is due."),
    "trading_standstills_total": ("counter", "How often the desk did not run for 30 s, since it started."),
    "trading_journal_records": ("gauge", "Records on disk."),
    "trading_journal_backlog": ("gauge", "Records that wait for the disk."),
    "trading_journal_sync_seconds": ("histogram", "How long a group of records takes to be on disk."),
    "trading_journal_free_bytes": ("gauge", "What the journal's volume can still take."),
    "trading_alerts_waiting": ("gauge", "Alerts that nobody has acknowledged."),
    "trading_alerts_undelivered": ("gauge", "Alerts on their way to a person."),
    "trading_alert_messages_total": ("counter", "Messages that a channel took (result taken) or did not take (failed)."),
    "trading_halts": ("gauge", "1 for each halt in force, and each rule that calls for it."),
}
Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, str]  # name, labels, value


class Histogram:
    """How often a duration fell between two bounds, in seconds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum_ns = 0

    def observe_ns(self, duration_ns: int) -> None:
        self._counts[bisect_left(self._bounds, duration_ns / SECOND_NS)] += 1
        self._sum_ns += duration_ns

    def samples(self, name: str, labels: Labels = ()) -> Iterator[Sample]:
        """Cumulative, as Prometheus wants them."""
        for bound, count in zip((*map(repr, self._bounds), "+Inf"), accumulate(self._counts), strict=True):
            yield f"{name}_bucket", (*labels, ("le", bound)), str(count)
        yield f"{name}_sum", labels, repr(self._sum_ns / SECOND_NS)
        yield f"{name}_count", labels, str(sum(self._counts))


class Metrics:
    """Of one desk. An event costs a few additions; the size is bounded by brokers, rules, streams and what is held."""

    def __init__(self, desk: Desk, courier: Courier | None = None) -> None:
        self._desk = desk
        self._courier = courier
        self._sent: Counter[BrokerName] = Counter()
        self._fills: Counter[tuple[BrokerName, str]] = Counter()
        self._rejects: Counter[BrokerName] = Counter()
        self._decisions: Counter[bool] = Counter()
        self._asked: OrderedDict[ClOrdID, tuple[BrokerName, int]] = OrderedDict()
        self._acks = {name: Histogram(LATENCIES) for name in desk.brokers}
        self._lag = Histogram(LATENCIES)
        self._syncs = Histogram(SYNCS)
        desk.listeners.append(self._on_record)
        desk.journal.on_sync = self._syncs.observe_ns

    async def run(self) -> None:
        """Measure the loop's lag, for as long as this runs."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_NS / SECOND_NS
            await asyncio.sleep(TICK_NS / SECOND_NS)
            self._lag.observe_ns(max(0, round((loop.time() - due) * SECOND_NS)))

    def text(self) -> str:
        """The page, with CONTENT_TYPE."""
        found: dict[str, list[Sample]] = {name: [] for name in FAMILIES}
        for family, samples in self._collect():
            found[family] += samples
        lines = []
        for name, (kind, help_) in FAMILIES.items():
            if found[name]:
                lines += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}", *(_line(sample) for sample in found[name])]
        return "\n".join(lines) + "\n"

    def _on_record(self, record: Record, applied: Applied | None) -> None:
        match record:
            case Intent(approved=approved) if not approved.dry_run:
                self._sent[approved.request.broker] += 1
                self._asked[approved.cl_ord_id] = (approved.request.broker, self._desk.clock.monotonic_ns())
                if len(self._asked) > UNANSWERED_MAX:
                    self._asked.popitem(last=False)
            case Reported(report=report) if applied is not None:
                self._answered(applied.order.cl_ord_id)
                self._fills[report.broker, report.side.value] += sum(not booking.reversal for booking in applied.bookings)
                if report.exec_type is ExecType.REJECTED and applied.order.ord_status is OrdStatus.REJECTED:
                    self._rejects[report.broker] += 1
            case ClosedUnsent(cl_ord_id=cl_ord_id, rejected=rejected):
                order = self._desk.books.blotter.get(cl_ord_id)
                if rejected and order is not None:
                    self._answered(cl_ord_id)
                    self._rejects[order.broker] += 1
                self._asked.pop(cl_ord_id, None)
            case Decided(taken=taken):
                self._decisions[taken] += 1

    def _answered(self, cl_ord_id: ClOrdID) -> None:
        """The broker's first word on an order."""
        broker, sent_ns = self._asked.pop(cl_ord_id, (None, 0))
        if broker is not None:
            self._acks[broker].observe_ns(self._desk.clock.monotonic_ns() - sent_ns)

    # -- how things stand ---------------------------------------------------------------------------------------------------------

    def _collect(self) -> Iterator[tuple[str, Iterable[Sample]]]:
        desk = self._desk
        yield _each("trading_info", {(("version", __version__), ("environment", desk.environment)): "1"})
        yield _each("trading_ready", {_of(name): str(int(ready)) for name, ready in desk.ready.items()})
        routed = [route for route in desk.books.routes.values() if desk.routing.at(route.home, route.instrument) != route.home]
        labels = [(("home", route.home), ("instrument", route.instrument), ("to", route.to)) for route in routed]
        yield _each("trading_openings_routed", dict.fromkeys(labels, "1"))
        yield from self._orders()
        yield from self._streams()
        yield from self._budgets()
        yield from self._money()
        yield "trading_loop_lag_seconds", self._lag.samples("trading_loop_lag_seconds")
        yield _each("trading_standstills_total", {(): str(desk.standstills)})
        yield _each("trading_journal_records", {(): str(desk.journal.seq)})
        yield _each("trading_journal_backlog", {(): str(desk.journal.backlog)})
        yield "trading_journal_sync_seconds", self._syncs.samples("trading_journal_sync_seconds")
        yield _each("trading_journal_free_bytes", {(): str(desk.journal.free_bytes())})
        yield from self._alerts()
        halts: dict[Labels, str] = {
            (("scope", halt.scope), ("level", halt.level.value), ("rule", rule)): "1" for halt in desk.books.halts.values() for rule in halt.rules
        }
        yield _each("trading_halts", halts)

    def _orders(self) -> Iterator[tuple[str, Iterable[Sample]]]:
        desk, now_ns = self._desk, self._desk.clock.now_ns()
        statuses = Counter((order.broker, order.ord_status.value) for order in desk.books.blotter)
        doubtful = [order for order in desk.books.blotter.unsettled() if order.doubt in (Doubt.IN_DOUBT, Doubt.ESCALATED)]
        refused = [*desk.refused.items(), *(((name, "BROKER"), count) for name, count in self._rejects.items())]
        yield _each("trading_orders", {_of(broker, status=status): str(count) for (broker, status), count in statuses.items()})
        yield _each("trading_orders_sent_total", {_of(name): str(self._sent[name]) for name in desk.brokers})
        yield _each("trading_fills_total", {_of(name, side=side): str(self._fills[name, side]) for name in desk.brokers for side in ("buy", "sell")})
        yield _each("trading_rejects_total", {_of(broker, rule=rule): str(count) for (broker, rule), count in refused})
        yield (
            "trading_submit_ack_seconds",
            [item for name, acks in self._acks.items() for item in acks.samples("trading_submit_ack_seconds", _of(name))],
        )
        ages = {name: [max(0, now_ns - order.sent_ns) for order in doubtful if order.broker == name] for name in desk.brokers}
        yield _each("trading_orders_in_doubt", {_of(name): str(len(found)) for name, found in ages.items()})
        yield _each("trading_order_in_doubt_age_seconds", {_of(name): _seconds(max(found, default=0)) for name, found in ages.items()})
        yield _each("trading_decisions_total", {(("taken", str(taken).lower()),): str(self._decisions[taken]) for taken in (True, False)})

    def _streams(self) -> Iterator[tuple[str, Iterable[Sample]]]:
        streams, now_ns = self._desk.hub.links.all(), self._desk.clock.now_ns()
        yield _each("trading_stream_up", {_of(name, stream=stream): str(int(not heard.lost)) for (name, stream), heard in streams.items()})
        ages = {_of(name, stream=stream): _seconds(max(0, now_ns - heard.heard_ns)) for (name, stream), heard in streams.items() if heard.heard_ns}
        yield _each("trading_stream_age_seconds", ages)

    def _budgets(self) -> Iterator[tuple[str, Iterable[Sample]]]:
        counting = {name: broker.budgets() for name, broker in self._desk.brokers.items() if isinstance(broker, CountsRequests)}
        found = {_of(name, budget=kind): budget for name, budgets in counting.items() for kind, budget in budgets.items()}
        yield _each("trading_rate_budget_left", {labels: str(budget.left) for labels, budget in found.items()})
        yield _each("trading_rate_budget_limit", {labels: str(budget.limit) for labels, budget in found.items()})

    def _money(self) -> Iterator[tuple[str, Iterable[Sample]]]:
        desk, mark = self._desk, self._desk.books.mark
        accounts = {_of(name, currency=account.currency): plain(account.equity) for name, account in desk.accounts.items()}
        yield _each("trading_account_equity", accounts)
        held = holdings(desk)
        values = {
            _of(holding.broker, instrument=holding.instrument): plain(holding.qty * holding.mark) for holding in held if holding.mark is not None
        }
        yield _each("trading_position_value", values)
        if mark is None:
            return
        yield _each("trading_equity", {(("currency", desk.base_currency),): plain(mark.equity)})
        yield _each("trading_day_start_equity", {(): plain(mark.day_start)})
        yield _each("trading_high_water", {(): plain(mark.high_water)})
        yield _each("trading_day_loss_ratio", {(): repr(float(mark.loss()))})
        yield _each("trading_drawdown_ratio", {(): repr(float(mark.drawdown()))})
        yield _each("trading_limit_used_ratio", {(("limit", name),): repr(float(share)) for name, share in used(desk.limits, mark, held).items()})

    def _alerts(self) -> Iterator[tuple[str, Iterable[Sample]]]:
        waiting = Counter(alert.severity for alert in self._desk.books.alerts.values())
        yield _each("trading_alerts_waiting", {(("severity", name),): str(waiting[name]) for name in ("warning", "critical")})
        if self._courier is None:
            return
        results = {"taken": self._courier.delivered, "failed": self._courier.failures}
        yield _each("trading_alerts_undelivered", {(): str(self._courier.waiting)})
        messages: dict[Labels, str] = {
            (("channel", name), ("result", result)): str(count) for result, by in results.items() for name, count in by.items()
        }
        yield _each("trading_alert_messages_total", messages)


def _of(broker: str, **labels: str) -> Labels:
    return (("broker", broker), *labels.items())


def _each(name: str, values: Mapping[Labels, str]) -> tuple[str, list[Sample]]:
    return name, [(name, labels, value) for labels, value in values.items()]


def _seconds(duration_ns: int) -> str:
    return repr(duration_ns / SECOND_NS)


def _line(sample: Sample) -> str:
    """One line of the exposition format 0.0.4.

    Source: prometheus.io/docs/instrumenting/exposition_formats
    >>> _line(("up", (("scope", 'a"b\\\\c'),), "1"))
    'up{scope="a\\\\"b\\\\\\\\c"} 1'
    """
    name, labels, value = sample
    if not labels:
        return f"{name} {value}"
    said = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    return f"{name}{{{said}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
