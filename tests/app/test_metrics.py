"""The metrics page is what Prometheus can read, says what happened, and fits its documentation and the dashboard; so do the log's lines."""

import asyncio
import io
import json
import re
import time
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from tests.desks import AAPL, BROKER, BTC, Bench, mid, on_bench, settled, wish
from tests.subjects import WAYS, Subject
from trading_system.app.alerts import _alerting
from trading_system.app.desk import Desk
from trading_system.app.logs import configure_logs, log_record
from trading_system.app.metrics import FAMILIES, UNANSWERED_MAX, Histogram, Metrics
from trading_system.core.risk import Halt, Level
from trading_system.domain.errors import RiskRefused
from trading_system.domain.fix import Doubt, Side
from trading_system.domain.ports import Kinds
from trading_system.journal.record import Record
from trading_system.sim.clock import SECOND_NS

DOCS = Path(__file__).parents[2] / "docs"
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Series:
    """The page, strictly: what Prometheus' own parser and promtool would object to fails here."""
    assert text.endswith("\n")
    series: Series = {}
    types: dict[str, str] = {}
    family = ""
    for line in text[:-1].split("\n"):
        if line.startswith("# "):
            _, what, name, rest = line.split(" ", 3)
            assert _NAME.fullmatch(name)
            if what == "HELP":
                assert name not in types, f"{name} has a second HELP"
                assert rest
                family = name
            else:
                assert what == "TYPE"
                assert name == family
                assert name not in types
                assert rest in ("counter", "gauge", "histogram")
                types[name] = rest
            continue
        name, labels, value = re.fullmatch(r"([^{ ]+)(?:\{(.*)\})? (\S+)", line).groups()  # type: ignore[union-attr]
        suffix = name.removeprefix(family)
        allowed = {"histogram": ("_bucket", "_sum", "_count")}.get(types[family], ("",))
        assert name.startswith(family), f"{name} stands among {family}"
        assert suffix in allowed
        found, rest = [], labels or ""
        while rest:
            match = _LABEL.match(rest)
            assert match, f"labels of {line}"
            found.append((match.group(1), re.sub(r"\\(.)", lambda m: "\n" if m.group(1) == "n" else m.group(1), match.group(2))))
            rest = rest[match.end() :]
        assert len({label for label, _ in found}) == len(found)
        key = (name, tuple(found))
        assert key not in series, f"{key} stands twice"
        series[key] = float(value)
    for name, kind in types.items():
        assert name.endswith("_total") == (kind == "counter")
        if kind == "histogram":
            whole_histogram(name, series)
    return series


def whole_histogram(name: str, series: Series) -> None:
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    for (found, labels), value in series.items():
        if found == f"{name}_bucket":
            rest = tuple(item for item in labels if item[0] != "le")
            buckets.setdefault(rest, []).append((float(dict(labels)["le"]), value))
    for labels, rows in buckets.items():
        bounds, counts = [bound for bound, _ in rows], [count for _, count in rows]
        assert bounds == sorted(set(bounds))
        assert counts == sorted(counts)
        assert bounds[-1] == float("inf")
        assert counts[-1] == series[f"{name}_count", labels]
        assert (f"{name}_sum", labels) in series


def value(series: Series, name: str, **labels: str) -> float:
    return sum(number for (found, has), number in series.items() if found == name and labels.items() <= dict(has).items())


def test_a_histogram_is_cumulative_and_a_value_on_a_bound_counts_below_it() -> None:
    histogram = Histogram((0.1, 0.5, 1.0))
    for milliseconds in (0, 100, 101, 500, 2_000):
        histogram.observe_ns(milliseconds * 1_000_000)
    rows = [(dict(labels).get("le"), number) for _, labels, number in histogram.samples("x")]

    assert rows == [("0.1", "2"), ("0.5", "4"), ("1.0", "4"), ("+Inf", "5"), (None, "2.701"), (None, "5")]


def test_a_page_says_what_happened_and_how_things_stand(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk, _alerting(desk, [], None) as courier:
            metrics = Metrics(desk, courier)
            lag = asyncio.create_task(metrics.run())
            reading = asyncio.create_task(read(desk))
            await settled(desk, await desk.submit(wish("a", "3")))
            await settled(desk, await desk.submit(wish("b", "3", side=Side.SELL)))
            await settled(desk, await desk.submit(wish("c", "2")))
            low = (await mid(desk) / 2).quantize(await mid(desk))
            with pytest.raises(RiskRefused):
                await desk.submit(wish("d", "100000"))
            resting = await desk.submit(wish("e", "1", price=low))
            hostile = 'a "scope"\nwith \\ everything'
            desk.set_halt(Halt(scope=hostile, level=Level.HALT, rule="KNIGHT", text="x", set_ns=0))
            await asyncio.sleep(5)
            page = metrics.text()
            found = parsed(page)

            assert value(found, "trading_orders_sent_total", broker=BROKER) == 4
            assert value(found, "trading_orders", status="filled") == 3
            assert value(found, "trading_orders", status="new") == 1
            assert value(found, "trading_fills_total", side="buy") >= 2
            assert value(found, "trading_submit_ack_seconds_count") == 4
            assert 0 < value(found, "trading_submit_ack_seconds_sum") < 4
            assert value(found, "trading_rejects_total") == value(found, "trading_rejects_total", rule="MAX_POSITION_PCT") == 1
            assert value(found, "trading_halts", scope=hostile, level="halt", rule="KNIGHT") == 1
            assert value(found, "trading_alerts_waiting", severity="critical") == 1
            assert value(found, "trading_stream_up", stream="orders") == value(found, "trading_stream_up", stream="prices") == 1
            assert value(found, "trading_stream_age_seconds", stream="prices") < 5
            assert 0 < value(found, "trading_rate_budget_left", budget="trading") < value(found, "trading_rate_budget_limit", budget="trading")
            assert value(found, "trading_position_value", instrument=AAPL) > 0
            assert 0 < value(found, "trading_limit_used_ratio", limit="MAX_LEVERAGE") < 0.1
            assert value(found, "trading_equity", currency="USD") == pytest.approx(100_000, rel=0.01)
            assert value(found, "trading_loop_lag_seconds_count") > 10
            assert value(found, "trading_journal_sync_seconds_count") > 4
            assert value(found, "trading_ready") == 1
            assert value(found, "trading_info", environment="paper") == 1
            await desk.cancel(resting.cl_ord_id)
            for task in (lag, reading):
                task.cancel()
            await asyncio.gather(lag, reading, return_exceptions=True)

    on_bench(tmp_path, story)


async def read(desk: Desk) -> None:
    async for _ in desk.hub.stream(BROKER, [BTC], Kinds(quotes=True)):
        pass


def test_an_order_in_doubt_has_an_age(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            metrics = Metrics(desk)
            await mid(desk)
            bench.network.faults = msgspec.structs.replace(bench.network.faults, enabled=True, lost_request=1.0)
            order = await desk.submit(wish("a", "3"))
            await asyncio.sleep(20)
            found = parsed(metrics.text())
            assert order.doubt is Doubt.IN_DOUBT
            assert value(found, "trading_orders_in_doubt", broker=BROKER) == 1
            assert 20 <= value(found, "trading_order_in_doubt_age_seconds", broker=BROKER) < 60
            assert value(found, "trading_submit_ack_seconds_count") == 0
            bench.network.faults = msgspec.structs.replace(bench.network.faults, enabled=False)

    on_bench(tmp_path, story)


def test_an_event_costs_little_and_nothing_grows(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            metrics = Metrics(desk)
            records: list[tuple[Any, Any]] = []
            desk.listeners.append(lambda record, applied: records.append((record, applied)))
            await settled(desk, await desk.submit(wish("a", "3")))
            intent = next(record for record, _ in records if type(record).__name__ == "Intent")
            began = time.perf_counter()
            for number in range(20_000):
                approved = msgspec.structs.replace(intent.approved, cl_ord_id=f"q1{number:016d}")
                metrics._on_record(type(intent)(approved=approved), None)
            each_us = (time.perf_counter() - began) / 20_000 * 1e6
            began = time.perf_counter()
            page = metrics.text()
            page_ms = (time.perf_counter() - began) * 1e3

            assert len(metrics._asked) == UNANSWERED_MAX
            assert len(page) < 20_000
            assert (each_us < 100, page_ms < 200) == (True, True), (each_us, page_ms)

    on_bench(tmp_path, story)


@pytest.mark.parametrize("subject", WAYS, ids=lambda subject: subject.name)
def test_every_connector_says_what_it_may_still_ask(subject: Subject, tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            before = desk.brokers[subject.broker].budgets()  # type: ignore[attr-defined]
            await asyncio.gather(*(desk.brokers[subject.broker].open_orders() for _ in range(3)))
            after = desk.brokers[subject.broker].budgets()  # type: ignore[attr-defined]

            assert all(0 <= budget.left <= budget.limit for budget in (*before.values(), *after.values()))
            assert any(after[kind].left < after[kind].limit for kind in after)
            assert set(before) == set(after) != set()

    on_bench(tmp_path, story, subject=subject)


# -- documentation -----------------------------------------------------------------------------------------------------------------


def test_the_documented_metrics_are_the_metrics() -> None:
    rows = re.findall(r"^\| `(trading_\w+)` \| (\w+) \| .* \| (.*) \|$", (DOCS / "METRICS.md").read_text(), re.M)

    assert {name: (kind, text) for name, kind, text in rows} == dict(FAMILIES)


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    board = json.loads((DOCS / "grafana.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    suffixes = {"histogram": ("_bucket", "_sum", "_count")}
    names = {f"{name}{suffix}" for name, (kind, _) in FAMILIES.items() for suffix in suffixes.get(kind, ("",))}
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]

    assert len(board["panels"]) >= 20
    assert {name for expr in asked for name in re.findall(r"trading_\w+", expr)} <= names
    assert {family for family in FAMILIES if not any(family in expr for expr in asked)} == set()
    assert [panel["id"] for panel in board["panels"]] == list(range(1, len(board["panels"]) + 1))
    assert all(expr.count("(") == expr.count(")") and expr.count("{") == expr.count("}") for expr in asked)
    assert all(x + w <= 24 for w, _, x, _ in ((place[2], place[3], place[0], place[1]) for place in places))


def documented_lines() -> dict[str, set[str]]:
    rows = re.findall(r"^\| `(\w+)` \| ((?:`\w+` ?)*) \| .* \|$", (DOCS / "LOGS.md").read_text(), re.M)
    return {event: set(re.findall(r"`(\w+)`", fields)) for event, fields in rows}


def test_every_record_has_its_line_in_the_documentation() -> None:
    assert set(documented_lines()) == {kind.__name__.lower() for kind in get_args(Record)}


def test_a_desks_log_holds_the_documented_fields(tmp_path: Path) -> None:
    stream = io.StringIO()
    configure_logs("INFO", "json", stream)

    async def story(bench: Bench) -> None:
        desk, recovery = bench.build()
        desk.listeners.append(log_record)
        await recovery.start()
        await desk.wait(lambda: all(desk.ready.values()), 10 * SECOND_NS)
        await settled(desk, await desk.submit(wish("a", "3")))
        resting = await desk.submit(wish("b", "1", price=(await mid(desk) / 2).quantize(await mid(desk))))
        await desk.cancel(resting.cl_ord_id)
        await desk.halt("crypto", Level.HALT, "a pause")
        await desk.resume("*", by="owner")
        desk.alert("warning", "smoke")
        await desk.drain()
        await recovery.aclose()
        await desk.journal.aclose()

    on_bench(tmp_path, story)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = [line for line in lines if line["logger"] == "desk"]
    table = documented_lines()
    optional = {"anomaly"}

    assert {"started", "intent", "reported", "cancelasked", "haltset", "haltcleared", "alert"} <= {line["event"] for line in told}
    for line in told:
        fields = line.keys() - {"time", "level", "logger", "event"}
        assert table[line["event"]] - optional <= fields <= table[line["event"]], line
        assert line["level"] == ("warning" if line["event"] in ("haltset", "alert") else "info")
