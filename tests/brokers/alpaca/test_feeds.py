"""Market data over one socket a feed: two readers with different symbols, changes while it stands, limits, and readers that fall behind."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.desks import AAPL, BTC, Bench, on_bench
from trading_system.app.hub import Hub
from trading_system.brokers.alpaca import feeds
from trading_system.brokers.alpaca.feeds import Subscription
from trading_system.domain.errors import BadRequest
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.option import Right
from trading_system.domain.ports import Kinds, Link, StreamState
from trading_system.sim.clock import SECOND_NS
from trading_system.transport.message import Request, Response

D = Decimal
MSFT, TSLA, ETH = InstrumentID("MSFT"), InstrumentID("TSLA"), InstrumentID("ETH/USD")
QUOTES = Kinds()
Story = Callable[[Bench, Any], Any]


class Reader:
    """Reads for as long as it is let."""

    def __init__(self, stream: AsyncIterator[Any]) -> None:
        self.seen: list[Any] = []
        self.task = asyncio.create_task(self._read(stream))

    async def _read(self, stream: AsyncIterator[Any]) -> None:
        async for event in stream:
            self.seen.append(event)

    def instruments(self, kind: type = Quote) -> set[str]:
        return {event.instrument for event in self.seen if isinstance(event, kind)}

    def links(self) -> list[Link]:
        return [event.link for event in self.seen if isinstance(event, StreamState)]

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait((self.task,))


def lists(bench: Bench) -> dict[str, dict[str, set[str]]]:
    """What is subscribed on each open data socket of the twin; a second one on a feed would have been refused with 406."""
    found: dict[str, dict[str, set[str]]] = {}
    for state in bench.twin.data_streams.conns.values():
        assert state.feed not in found, "two sockets on one feed"
        found[state.feed] = {name: symbols for name, symbols in state.lists.items() if symbols}
    return found


def at(tmp_path: Path, story: Story, **twin: Any) -> None:
    async def main(bench: Bench) -> None:
        await story(bench, bench.connector())

    on_bench(tmp_path, main, **twin)


def test_two_readers_with_different_symbols_share_one_socket(tmp_path: Path) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        one = Reader(connector.subscribe([AAPL, BTC], QUOTES))
        await asyncio.sleep(10)
        two = Reader(connector.subscribe([MSFT, AAPL], Kinds(quotes=True, trades=True)))
        await asyncio.sleep(120)

        assert lists(bench) == {"iex": {"quotes": {AAPL, MSFT}, "trades": {AAPL, MSFT}}, "crypto": {"quotes": {BTC}}}
        assert (one.instruments(), one.instruments(Trade)) == ({AAPL, BTC}, set())
        assert (two.instruments(), two.instruments(Trade)) == ({AAPL, MSFT}, {AAPL, MSFT})
        assert (one.links(), two.links()) == ([Link.LIVE, Link.LIVE], [Link.LIVE])

        await two.stop()
        await asyncio.sleep(5)
        assert lists(bench)["iex"] == {"quotes": {AAPL}}
        await one.stop()
        assert lists(bench) == {}

    at(tmp_path, story)


def test_two_streams_of_the_hub_are_two_subscriptions_on_one_socket(tmp_path: Path) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        broker = BrokerName("alpaca")
        hub = Hub({broker: connector})
        readers = [Reader(hub.stream(broker, wanted, QUOTES)) for wanted in ([AAPL], [MSFT], [TSLA, AAPL])]
        await asyncio.sleep(60)

        assert lists(bench) == {"iex": {"quotes": {AAPL, MSFT, TSLA}}}
        assert [reader.instruments() for reader in readers] == [{AAPL}, {MSFT}, {TSLA, AAPL}]
        assert {link for reader in readers for link in reader.links()} == {Link.LIVE}
        await hub.aclose()
        assert lists(bench) == {}

    at(tmp_path, story)


def test_who_comes_right_after_the_last_one_left_finds_the_socket_closed(tmp_path: Path) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        for symbol in (AAPL, MSFT, TSLA) * 5:
            reader = Reader(connector.subscribe([symbol], QUOTES))
            await asyncio.sleep(3)
            assert reader.instruments() == {symbol}
            assert reader.links() == [Link.LIVE]
            reader.task.cancel()

    at(tmp_path, story)


def test_after_a_drop_everything_that_is_wanted_by_then_comes_again(tmp_path: Path) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        one = Reader(connector.subscribe([AAPL], QUOTES))
        await asyncio.sleep(10)
        bench.network.drop_all()
        two = Reader(connector.subscribe([BTC, MSFT], Kinds(quotes=False, bars=True)))  # while the line is down
        await asyncio.sleep(300)

        assert lists(bench) == {"iex": {"quotes": {AAPL}, "bars": {MSFT}}, "crypto": {"bars": {BTC}}}
        assert one.links() == [Link.LIVE, Link.GAP, Link.LIVE]
        assert two.instruments(Bar) == {BTC, MSFT}

    at(tmp_path, story)


def test_more_symbols_than_the_plan_has_fail_the_reader_that_wanted_them_only(tmp_path: Path) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        one = Reader(connector.subscribe([AAPL, MSFT], QUOTES))
        await asyncio.sleep(5)
        two = Reader(connector.subscribe([TSLA], QUOTES))
        await asyncio.sleep(5)
        before = len(one.seen)
        await asyncio.sleep(30)

        assert isinstance(two.task.exception(), BadRequest)
        assert "405 symbol limit exceeded" in str(two.task.exception())
        assert len(one.seen) > before
        assert one.links() == [Link.LIVE]
        assert lists(bench) == {"iex": {"quotes": {AAPL, MSFT}}}

    at(tmp_path, story, stream_symbols=2)


def test_a_first_reader_that_wants_too_much_hears_it_too(tmp_path: Path) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        readers = [Reader(connector.subscribe(wanted, QUOTES)) for wanted in ([AAPL], [MSFT, TSLA])]  # both before the login
        await asyncio.sleep(30)

        assert readers[0].instruments() == {AAPL}
        assert isinstance(readers[1].task.exception(), BadRequest)
        assert lists(bench) == {"iex": {"quotes": {AAPL}}}

    at(tmp_path, story, stream_symbols=2)


def test_a_feed_that_somebody_else_has_is_waited_for(tmp_path: Path) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        other = Reader(bench.connector().subscribe([AAPL], QUOTES))
        await asyncio.sleep(5)
        reader = Reader(connector.subscribe([MSFT], QUOTES))
        await asyncio.sleep(60)
        assert "406 connection limit exceeded: another program" in reader.seen[0].text
        assert reader.instruments() == set()
        await other.stop()
        await asyncio.sleep(120)

        assert reader.instruments() == {MSFT}

    at(tmp_path, story)


def test_a_wrong_key_ends_every_reader_with_the_refusal(tmp_path: Path) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        bench.twin.data_streams._secret = "changed"
        readers = [Reader(connector.subscribe([symbol], QUOTES)) for symbol in (AAPL, MSFT)]
        await asyncio.sleep(10)

        assert [reader.links() for reader in readers] == [[Link.REFUSED]] * 2
        assert all(reader.task.done() for reader in readers)

        bench.twin.data_streams._secret = bench.twin.secret
        again = Reader(connector.subscribe([AAPL], QUOTES))
        await asyncio.sleep(10)
        assert again.instruments() == {AAPL}

    at(tmp_path, story)


def test_a_reader_that_falls_behind_is_told_and_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "WAITING_MAX", 20)

    async def story(bench: Bench, connector: Any) -> None:
        slow, quick = connector.subscribe([AAPL, MSFT], QUOTES), Reader(connector.subscribe([AAPL, MSFT], QUOTES))
        assert (await anext(slow)).link is Link.LIVE
        await asyncio.sleep(60)
        told = await anext(slow)

        assert (told.link, told.text) == (Link.GAP, "20 events were dropped: this reader is too slow")
        assert isinstance(await anext(slow), Quote)
        assert quick.links() == [Link.LIVE]
        assert len(quick.seen) > 100
        await slow.aclose()

    at(tmp_path, story)


async def test_what_waits_is_given_out_before_the_end() -> None:
    reader = Subscription([AAPL], QUOTES)
    state = StreamState(broker=BrokerName("alpaca"), stream="x", link=Link.GAP, text="", recv_ns=1)
    reader.offer(state, 1)
    reader.finish(BadRequest("too many"))
    stream = aiter(reader)

    assert await anext(stream) == state
    with pytest.raises(BadRequest, match="too many"):
        await anext(stream)


def test_options_come_packed_over_a_socket_of_their_own(tmp_path: Path) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        days = await connector.expiries(AAPL)
        line = next(line for line in await connector.chain(AAPL, days[2], Right.CALL) if line.quote is not None and line.quote.bid_px)
        reader = Reader(connector.subscribe([line.instrument, AAPL], Kinds(quotes=True, trades=True)))
        await asyncio.sleep(120)

        assert reader.instruments() == {line.instrument, AAPL}
        told = [event for event in reader.seen if isinstance(event, Quote) and event.instrument == line.instrument]
        assert all(event.bid_px == round(event.bid_px, 2) for event in told if event.bid_px is not None)
        assert reader.links() == [Link.LIVE, Link.LIVE]
        assert next(iter(bench.twin.option_streams.conns.values())).lists["quotes"] == {line.instrument}
        await reader.stop()
        assert bench.twin.option_streams.conns == {}

    at(tmp_path, story)


# -- bars ------------------------------------------------------------------------------------------------------------------------------------------


def test_bars_of_stocks_are_in_shares_of_now_across_a_split(tmp_path: Path) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        minute, now_ns = 60 * SECOND_NS, bench.clock.now_ns()
        span = (minute, now_ns - 30 * minute, now_ns - 20 * minute)
        before, coins = await connector.bars(AAPL, *span), await connector.bars(BTC, *span)
        bench.twin.split("AAPL", D(4))
        bench.twin.split("AAPL", D("0.5"))
        asked: list[str] = []
        real = bench.twin.handle

        def handle(request: Request, now_ns: int) -> Response:
            asked.append(request.url)
            return real(request, now_ns)

        bench.twin.handle = handle
        after = await connector.bars(AAPL, *span)

        assert [(bar.open, bar.close, bar.volume) for bar in after] == [(bar.open / 2, bar.close / 2, bar.volume * 2) for bar in before]
        assert await connector.bars(BTC, *span) == coins
        assert ["adjustment=split" in url for url in asked] == [True, False]
        asked.clear()
        await connector.trades(AAPL, now_ns - 30 * minute, now_ns - 29 * minute)
        await connector.bars(InstrumentID("AAPL261120C00275000"), *span)
        assert not any("adjustment" in url for url in asked)

    at(tmp_path, story)
