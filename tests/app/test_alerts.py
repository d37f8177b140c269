"""Alerts reach a person or are kept: two channels, repeats that are counted, channels that are down, slow or silent, and what raises one."""

import asyncio
import io
import json
import os
import stat
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from tests.desks import AAPL, BROKER, Bench, mid, on_bench, settled, wish
from tests.sink import Sink, sink
from trading_system.app import alerts
from trading_system.app.alerts import AppriseChannel, Courier, DeadLetters, Letter, _alerting
from trading_system.app.desk import Desk
from trading_system.app.logs import configure_logs
from trading_system.app.lookout import used
from trading_system.core.ledger import EquityMark
from trading_system.core.risk import Halt, Holding, Level, Limits
from trading_system.domain.errors import BadRequest
from trading_system.domain.fix import Side
from trading_system.domain.instrument import AssetClass
from trading_system.domain.ports import Link, StreamState
from trading_system.journal.record import Alert
from trading_system.settings.secret import Secret
from trading_system.sim.clock import SECOND_NS, VirtualClock, run_virtual
from trading_system.transport.clock import SystemClock

D = Decimal
DAY_NS = 86_400 * SECOND_NS


class Person:
    """A way to a person who is there at some times and not at others, and may take a while. Times in seconds since the start."""

    def __init__(self, name: str, clock: VirtualClock, away: Sequence[tuple[float, float]] = (), takes_s: float = 0.1) -> None:
        self.name = name
        self._clock = clock
        self._away = away
        self._takes_s = takes_s
        self.heard: list[tuple[float, str, str]] = []
        self.asked = 0

    @property
    def now_s(self) -> float:
        return self._clock.monotonic_ns() / SECOND_NS

    async def send(self, severity: str, title: str, body: str) -> str | None:
        self.asked += 1
        await asyncio.sleep(self._takes_s)
        if any(start <= self.now_s < end for start, end in self._away):
            return "nobody answers"
        self.heard.append((self.now_s, severity, body))
        return None

    @property
    def lines(self) -> list[str]:
        return [line for _, _, body in self.heard for line in body.splitlines()]


class Post:
    """A courier at work, with what it could not tell."""

    def __init__(self, clock: VirtualClock, folder: Path, *people: Person) -> None:
        self.dead: list[Letter] = []
        self.letters = DeadLetters(folder / "dead_letters.jsonl")
        self.courier = Courier(people, clock, self.letters, who="trading (paper)", on_dead=lambda letters, _: self.dead.extend(letters))

    async def __aenter__(self) -> Courier:
        self._task = asyncio.create_task(self.courier.run())
        return self.courier

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.courier.finish()


# -- the courier ------------------------------------------------------------------------------------------------------------------


def test_an_alert_goes_to_the_first_channel_and_to_the_second_when_that_is_down(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        first, second = Person("first", clock, away=[(10, 100)]), Person("second", clock)
        async with Post(clock, tmp_path, first, second) as courier:
            courier.post("warning", "one")
            await asyncio.sleep(20)
            courier.post("critical", "two")
            await asyncio.sleep(1)
            asked = first.asked
            courier.post("critical", "three")  # the one that failed is not waited for again at once
            await asyncio.sleep(100)
            courier.post("info", "four")
            await asyncio.sleep(1)

            assert (first.lines, second.lines) == (["WARNING one", "INFO four"], ["CRITICAL two", "CRITICAL three"])
            assert asked == 2
            assert max(at_s for at_s, _, _ in second.heard) < 22
            assert (courier.failures, courier.delivered) == ({"first": 1, "second": 0}, {"first": 2, "second": 2})
        assert DeadLetters(tmp_path / "dead_letters.jsonl").read() == []

    run_virtual(main)


def test_both_channels_down_for_a_while_lose_nothing_and_for_long_leave_dead_letters(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        away = [(0, 60), (200, 500)]
        first, second = Person("first", clock, away), Person("second", clock, away)
        post = Post(clock, tmp_path, first, second)
        async with post as courier:
            courier.post("warning", "late")
            await asyncio.sleep(100)
            assert [*first.lines, *second.lines] == ["WARNING late"]
            assert first.asked < 12  # at a pace that slows down
            await asyncio.sleep(110)
            courier.post("critical", "lost")
            await asyncio.sleep(140)
            assert (post.dead, courier.waiting) == ([Letter("critical", "lost", 1, clock._start_ns + 210 * SECOND_NS)], 0)
            await asyncio.sleep(200)
            courier.post("info", "again")
            await asyncio.sleep(35)
            assert [*first.lines, *second.lines] == ["WARNING late", "INFO again"]
        (kept,) = post.letters.read()

        assert (kept["severity"], kept["text"], kept["count"], kept["why"]) == ("critical", "lost", 1, "second: nobody answers")
        assert stat.S_IMODE(os.stat(tmp_path / "dead_letters.jsonl").st_mode) == 0o600

    run_virtual(main)


def test_repeats_are_counted_and_told_once_a_minute(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        person = Person("first", clock)
        async with Post(clock, tmp_path, person) as courier:
            for _ in range(100):
                courier.post("warning", "the same")
                await asyncio.sleep(1)
            await asyncio.sleep(100)

            assert person.lines[0] == "WARNING the same"
            assert len(person.lines) == 3
            assert sum(int(line.partition("(")[2].split()[0]) if "(" in line else 1 for line in person.lines) == 100

    run_virtual(main)


def test_a_flood_is_bounded_and_the_gravest_come_first(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        person = Person("first", clock, away=[(0, 30)])
        async with Post(clock, tmp_path, person) as courier:
            for number in range(500):
                courier.post("critical" if number == 3 else "warning", f"number {number} " + "x" * 1000)

            assert (courier.waiting, courier.dropped) == (alerts.WAITING_MAX, 300)
            await asyncio.sleep(120)
            assert courier.waiting == 0
            assert person.lines[0].startswith("CRITICAL number 3 ")
            assert max(len(line) for line in person.lines) < alerts.TEXT_MAX + 20
            assert max(len(body.splitlines()) for _, _, body in person.heard) == alerts.LINES_MAX

    run_virtual(main)


def test_a_channel_that_never_answers_delays_the_other_by_seconds_once(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        first, second = Person("first", clock, takes_s=1e6), Person("second", clock)
        async with Post(clock, tmp_path, first, second) as courier:
            courier.post("critical", "one")
            await asyncio.sleep(6)
            courier.post("critical", "two")
            await asyncio.sleep(1)

            assert [round(at_s, 1) for at_s, _, _ in second.heard] == [5.1, 6.1]

    run_virtual(main)


def test_what_waits_when_the_desk_ends_is_told_or_kept(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        person, post = Person("first", clock), Post(clock, tmp_path, Person("gone", clock, away=[(0, 1e9)]))
        async with Post(clock, tmp_path, person) as courier:
            courier.post("warning", "goodbye")
        assert person.lines == ["WARNING goodbye"]
        async with post as courier:
            courier.post("warning", "nobody hears this")
        assert [letter["text"] for letter in post.letters.read()] == ["nobody hears this"]

    run_virtual(main)


def test_dead_letters_are_the_newest_thousand_and_a_torn_line_is_passed(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "dead.jsonl")
    letters.put([Letter("info", f"number {number}", 1, number) for number in range(alerts.DEAD_MAX + 5)], "away", 7)
    with (tmp_path / "dead.jsonl").open("a") as file:
        file.write('{"severity": "in')

    assert [letters.read()[0]["text"], len(letters.read())] == ["number 5", alerts.DEAD_MAX]


# -- what raises one ---------------------------------------------------------------------------------------------------------------


def test_how_much_of_each_limit_is_used() -> None:
    mark = EquityMark(day=1, day_start=D(1000), high_water=D(1250), equity=D(1000), crypto_day_start=D(0), crypto_high=D(40), crypto_pnl=D(-40))
    held = [
        Holding(broker=BROKER, instrument=AAPL, asset_class=AssetClass.EQUITY, qty=D(-3), mark=D(100)),
        Holding(broker=BROKER, instrument=AAPL, asset_class=AssetClass.CRYPTO, qty=D(1), mark=D(100)),
        Holding(broker=BROKER, instrument=AAPL, asset_class=AssetClass.EQUITY, qty=D(1), mark=None),
    ]
    found = used(Limits(), mark, held)

    assert {name: str(share.normalize()) for name, share in found.items()} == {
        "MAX_DAILY_LOSS_PCT": "0",
        "MAX_DRAWDOWN_PCT": "0.4",
        "CRYPTO_MAX_DAILY_LOSS_PCT": "0.5",
        "CRYPTO_MAX_DRAWDOWN_PCT": "0.16",
        "MAX_POSITION_PCT (AAPL at alpaca)": "1",
        "CRYPTO_MAX_POSITION_PCT (AAPL at alpaca)": "0.5",
        "MAX_LEVERAGE": "0.2",
        "CRYPTO_MAX_LEVERAGE": "0.1",
    }
    assert "MAX_LEVERAGE" not in used(Limits(), msgspec.structs.replace(mark, equity=D(0)), held)


def said(desk: Desk) -> list[str]:
    """The texts of all alerts so far that nobody acknowledged."""
    return [alert.text for alert in desk.books.alerts.values()]


def heard(desk: Desk) -> list[Alert]:
    found: list[Alert] = []
    desk.listeners.append(lambda record, _: found.append(record) if isinstance(record, Alert) else None)
    return found


def test_limits_are_told_of_at_four_fifths_once_until_they_are_well_below(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(Limits(max_position_pct=D("0.10"))) as desk:
            told = heard(desk)
            async with _alerting(desk, [], None):
                price = await mid(desk)
                qty = (D(9_000) / price).quantize(D(1))
                await settled(desk, await desk.submit(wish("a", str(qty))))
                await asyncio.sleep(30)
                await settled(desk, await desk.submit(wish("b", str(qty), side=Side.SELL)))
                await asyncio.sleep(5)
                assert len(told) == 1
                assert told[0].text.endswith("% of MAX_POSITION_PCT (AAPL at alpaca) is used")
                await settled(desk, await desk.submit(wish("c", str(qty))))
                await asyncio.sleep(5)
                assert len(told) == 2

    on_bench(tmp_path, story)


def test_a_stream_that_is_lost_for_five_seconds_is_told_of_and_so_is_its_return(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            told = heard(desk)
            async with _alerting(desk, [], None):

                def state(link: Link) -> None:
                    desk.hub.links.take(StreamState(BROKER, "market data", link, "the line is cut", desk.clock.now_ns()))

                state(Link.GAP)
                await asyncio.sleep(4)
                state(Link.LIVE)
                await asyncio.sleep(4)
                assert told == []
                state(Link.GAP)
                await asyncio.sleep(8)
                state(Link.LIVE)
                await asyncio.sleep(2)

            assert [(alert.severity, alert.text.partition(" after ")[0]) for alert in told] == [
                ("warning", "alpaca: the stream of market data is lost for 5 s (gap the line is cut)"),
                ("info", "alpaca: the stream of market data is back"),
            ]

    on_bench(tmp_path, story)


def test_the_order_stream_of_a_broker_that_is_gone_is_told_of(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            told = heard(desk)
            async with _alerting(desk, [], None):
                await asyncio.sleep(2)
                bench.network.faults = msgspec.structs.replace(bench.network.faults, enabled=True, refused=1.0)
                bench.network.drop_all()
                await asyncio.sleep(8)
                bench.network.faults = msgspec.structs.replace(bench.network.faults, enabled=False)
                assert [alert.text for alert in told if "stream of orders is lost" in alert.text]
                await asyncio.sleep(90)
                assert [alert.text for alert in told if "stream of orders is back" in alert.text]

    on_bench(tmp_path, story)


def test_once_a_day_it_is_said_how_it_went(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            told = heard(desk)
            now_ns = desk.clock.now_ns()
            at_ns = (now_ns + 60 * SECOND_NS) % DAY_NS
            async with _alerting(desk, [], at_ns):
                done = await settled(desk, await desk.submit(wish("a", "3")))
                await desk.halt("crypto", Level.HALT, "a pause")
                await asyncio.sleep(120)
                assert len(told) == 1
                text = told[0].text
                assert text.startswith("summary of 2026-09-21, paper: equity ")
                assert f"{len(done.fills)} trades, fees " in text
                assert "1 halts, in force: crypto (OWNER); 0 decisions, 0 taken; 0 orders in doubt" in text
                assert told[0].severity == "info"
                await asyncio.sleep(86_400)
                assert ["summary of 2026-09-22" in alert.text for alert in told if alert.text.startswith("summary")] == [False, True]

    on_bench(tmp_path, story)


def test_on_paper_it_is_said_what_live_would_do_about_an_alert_nobody_sees(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk, _alerting(desk, [], None):
            desk.alert("critical", "smoke")
            await asyncio.sleep(700)

            assert [text for text in said(desk) if "on a live desk new risk would stop now" in text] == [
                "nobody has acknowledged for 300 s: smoke; on a live desk new risk would stop now (`trading alerts --ack all`)"
            ]
            assert desk.books.halts == {}

    on_bench(tmp_path, story)


@pytest.mark.parametrize("environment", ["paper", "live"])
def test_what_nobody_can_be_told_of_stops_new_risk_on_a_live_desk(tmp_path: Path, environment: str) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(environment=environment) as desk:
            away = [(0.0, 1e9)]
            people = [Person("first", bench.clock, away), Person("second", bench.clock, away)]
            async with _alerting(desk, people, None):
                desk.alert("warning", "a small thing")
                await asyncio.sleep(200)
                assert desk.books.halts == {}
                desk.alert("critical", "smoke")
                await asyncio.sleep(200)

                halts = {scope: (halt.rule, halt.level) for scope, halt in desk.books.halts.items()}
                assert halts == ({"all": ("ALERT", Level.REDUCE_ONLY)} if environment == "live" else {})
        dead = [letter["text"] for letter in DeadLetters(tmp_path / "dead_letters.jsonl").read()]
        assert dead[:2] == ["a small thing", "smoke"]

    on_bench(tmp_path, story, environment=environment)


def test_every_halt_and_its_end_is_told_once(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            person = Person("first", bench.clock)
            async with _alerting(desk, [person], None):
                await desk.halt("crypto", Level.KILL, "the owner says so")
                await asyncio.sleep(1)
                desk.set_halt(Halt(scope="all", level=Level.HALT, rule="KNIGHT", text="too much", set_ns=desk.clock.now_ns()))
                await asyncio.sleep(1)
                await desk.resume("*", by="owner")
                await asyncio.sleep(1)

            assert person.lines == [
                "WARNING halted crypto (kill): the owner says so",
                "CRITICAL KNIGHT: too much",
                "INFO resumed everything by owner",
            ]
        async with bench.desk() as again:
            person = Person("first", bench.clock)
            async with _alerting(again, [person], None):
                await asyncio.sleep(1)

            assert person.lines == ["WARNING 1 alerts of before wait to be acknowledged: `trading alerts`"]

    on_bench(tmp_path, story)


# -- through Apprise, on real sockets -----------------------------------------------------------------------------------------------

apprise = pytest.importorskip("apprise", reason="the extra `alerts` is not installed")


def channel(*sinks: Sink, name: str = "ALERT_URLS", path: str = "") -> AppriseChannel:
    return AppriseChannel(name, Secret(",".join(f"json://127.0.0.1:{found.port}/{path}" for found in sinks)))


def real_courier(folder: Path, *channels: AppriseChannel) -> Courier:
    return Courier(channels, SystemClock(), DeadLetters(folder / "dead.jsonl"), who="trading (paper)", on_dead=lambda *_: None)


async def test_a_person_is_told_within_a_second_of_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the alert's own time, as it is journaled, to its arrival at the sink."""
    with sink() as found:
        courier = real_courier(tmp_path, channel(found))
        task = asyncio.create_task(courier.run())
        sent_ns: list[int] = []
        for number in range(50):
            sent_ns.append(time.time_ns())
            courier.post("critical", f"alert {number}")
            await asyncio.to_thread(found.wait_for, number + 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    took_ms = sorted((at_ns - began_ns) / 1e6 for began_ns, (at_ns, _) in zip(sent_ns, found.taken, strict=True))
    with capsys.disabled():
        print(f"\nfrom alert to delivery: median {took_ms[25]:.1f} ms, longest of 50 {took_ms[-1]:.1f} ms")
    assert found.taken[0][1]["title"] == "trading (paper): critical"
    assert took_ms[-1] < 1_000


async def test_a_sink_that_hangs_slows_nothing_and_the_backup_takes_over(tmp_path: Path) -> None:
    with sink(None) as silent, sink() as backup:
        courier = real_courier(tmp_path, channel(silent), channel(backup, name="ALERT_URLS_BACKUP"))
        task = asyncio.create_task(courier.run())
        courier.post("critical", "one")
        worst_s, until = 0.0, time.monotonic() + 10
        while not backup.taken and time.monotonic() < until:
            began = time.perf_counter()
            courier.post("warning", "meanwhile")
            await asyncio.sleep(0.001)
            worst_s = max(worst_s, time.perf_counter() - began)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert backup.texts[0].startswith("CRITICAL one")
    assert worst_s < 0.5  # a shared machine's own pauses included


async def test_one_address_of_a_channel_is_enough_and_the_others_words_are_known(tmp_path: Path) -> None:
    with sink(500) as broken, sink() as good:
        both = channel(broken, good)

        assert await both.send("info", "title", "body") is None
        why = await channel(broken).send("info", "title", "body") or ""
        assert why.startswith("address 1 (JSON): Failed to send JSON ")
        assert "error=500" in why
        rows = await alerts.tested(both, SystemClock())
        assert [(row["address"], row["taken"]) for row in rows] == [("address 1 (JSON)", False), ("address 2 (JSON)", True)]
        assert good.texts[-1] == "This is a test of the desk's alerts. Nothing has happened."


def test_an_address_that_apprise_does_not_know_is_refused_by_its_number() -> None:
    for text in ("json://127.0.0.1:1,hunter2hunter2", "nonsense://hunter2hunter2", ",".join(["json://127.0.0.1:1"] * 9)):
        with pytest.raises(BadRequest) as caught:
            AppriseChannel("ALERT_URLS", Secret(text))
        assert "hunter2" not in str(caught.value)
        assert "ALERT_URLS: " in str(caught.value)


TOKEN = "tokencanary0123456789"


async def test_an_address_is_in_no_log_no_error_no_dead_letter_and_no_journal(tmp_path: Path) -> None:
    stream = io.StringIO()
    configure_logs("DEBUG", "json", stream)
    with sink(403) as broken:
        secret = channel(broken, path=f"{TOKEN}/?+X-Key={TOKEN}")
        courier = real_courier(tmp_path, secret)
        task = asyncio.create_task(courier.run())
        courier.post("critical", f"a text that quotes json://127.0.0.1:{broken.port}/{TOKEN}/ itself")
        await asyncio.to_thread(broken.wait_for, 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await courier.finish()
    nobody = AppriseChannel("ALERT_URLS", Secret(f"json://user:{TOKEN}@127.0.0.1:9/{TOKEN}"))
    why = await nobody.send("info", "t", "b")
    kept = (tmp_path / "dead.jsonl").read_text()
    everything = f"{stream.getvalue()} {kept} {secret!r} {vars(courier)!r} {why}"

    assert why is not None
    assert "connection" in why.lower()
    assert json.loads(kept)["count"] == 1
    assert "was not taken" in stream.getvalue()
    assert TOKEN not in everything
