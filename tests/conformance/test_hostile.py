"""Words nobody knows, fields nobody asked for, bytes that are no message: the desk halts that broker or ignores what it may, and goes on."""

import asyncio
import re
from decimal import Decimal
from pathlib import Path

import pytest

from tests.conformance.between import Between, booked, conform, doubled_fields, new_fields, order
from tests.conformance.test_orders import WIDE, each_broker, each_class, priced, taken
from tests.desks import Bench, settled
from tests.subjects import Subject
from trading_system.domain.errors import Halted
from trading_system.domain.fix import Doubt, OrdStatus, Side
from trading_system.domain.instrument import AssetClass
from trading_system.sim.clock import SECOND_NS

D = Decimal


def small(asset_class: AssetClass) -> str:
    return "1" if asset_class is not AssetClass.CRYPTO else "0.01"


@each_class
def test_new_fields_are_ignored(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        between.answers = between.frames = new_fields
        async with bench.desk(WIDE) as desk:
            done = await settled(desk, await desk.submit(order(subject, asset_class, "a", small(asset_class))))
            residue = await desk.flatten()

            assert done.ord_status is OrdStatus.FILLED
            assert residue.problems == ()
            assert all(
                abs(qty) < desk.instruments[name, held].lot for name, held, qty in residue.positions
            )  # what a fee in kind leaves, nobody can sell
            assert desk.books.halts == {}

    conform(tmp_path, subject, story)


@pytest.mark.parametrize("where", ["answers", "frames"])
@each_broker
def test_a_status_that_nobody_knows_halts_the_broker_and_exits_pass(tmp_path: Path, subject: Subject, where: str) -> None:
    asset_class = next(iter(subject.instruments))

    def unknown(body: bytes) -> bytes:
        for known in subject.statuses:
            body = body.replace(known, re.sub(rb"\w+(?=\W*$)", b"levitating", known))
        return body

    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(order(subject, asset_class, "a", "5")))
            setattr(between, where, unknown)
            sent = await desk.submit(order(subject, asset_class, "b", "1"))
            assert await desk.wait(lambda: subject.broker in desk.books.halts, 60 * SECOND_NS)
            assert desk.books.halts[subject.broker].rule == "PROTOCOL"
            assert "levitating" in desk.books.halts[subject.broker].text
            between.answers = between.frames = bytes
            with pytest.raises(Halted):
                await desk.submit(order(subject, asset_class, "c", "1"))
            await settled(desk, sent)
            await settled(desk, await desk.submit(order(subject, asset_class, "d", "2", Side.SELL)))
            await desk.resume("*", by="owner")
            assert await desk.wait(lambda: desk.ready[subject.broker], 60 * SECOND_NS)

            assert between.placed == 3
            symbol = desk.instruments[subject.broker, sent.instrument].symbol
            left = 4 - taken(bench, desk, subject)
            assert desk.books.ledger.position(subject.broker, sent.instrument) == bench.twin.exchange.position(symbol) == left

    conform(tmp_path, subject, story)


@each_broker
def test_a_field_that_stands_twice_is_believed_neither_time(tmp_path: Path, subject: Subject) -> None:
    asset_class = next(iter(subject.instruments))

    async def story(bench: Bench, between: Between) -> None:
        if not subject.names_fields:
            return
        async with bench.desk(WIDE) as desk:
            await priced(desk, subject, asset_class, "1")
            between.answers = between.frames = doubled_fields
            sent = await desk.submit(order(subject, asset_class, "a", "1"))
            assert (sent.ord_status, sent.doubt) == (OrdStatus.PENDING_NEW, Doubt.IN_DOUBT)
            assert await desk.wait(lambda: subject.broker in desk.books.halts, 60 * SECOND_NS)
            assert "stands twice" in desk.books.halts[subject.broker].text
            assert desk.books.blotter.get(sent.cl_ord_id).fills == ()  # type: ignore[union-attr]
            between.answers = between.frames = bytes
            done = await settled(desk, sent)

            assert (done.ord_status, done.cum_qty) == (OrdStatus.FILLED, D(1))
            assert between.placed == 1

    conform(tmp_path, subject, story)


GARBAGE = (b"", b"{", b"null", b"[]", b'"text"', b"<html>gateway</html>", b"\xff\xfe\x00", b"9" * 5000, b'{"a":' * 2000, b'[{"T":"q"}]')


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
@each_broker
def test_an_answer_that_is_no_message_is_doubt_and_never_a_reject(tmp_path: Path, subject: Subject, body: bytes) -> None:
    asset_class = next(iter(subject.instruments))

    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await priced(desk, subject, asset_class, "1")
            between.answers = lambda _: body
            sent = await desk.submit(order(subject, asset_class, "a", "1"))
            await asyncio.sleep(20)
            between.answers = bytes
            done = await settled(desk, sent)

            assert (done.ord_status, done.cum_qty) == (OrdStatus.FILLED, D(1))
            assert between.placed == 1

    conform(tmp_path, subject, story)


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
@each_broker
def test_a_frame_that_is_no_message_is_no_reason_to_lose_a_fill(tmp_path: Path, subject: Subject, body: bytes) -> None:
    asset_class = next(iter(subject.instruments))

    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            between.frames = lambda _: body
            sent = await desk.submit(order(subject, asset_class, "a", "1"))
            assert await desk.wait(lambda: desk.books.blotter.get(sent.cl_ord_id).settled, 60 * SECOND_NS)  # type: ignore[union-attr]
            between.frames = bytes
            if desk.books.halts:
                await desk.resume("*", by="owner")
            await asyncio.sleep(120)

            assert desk.ready[subject.broker]
            assert booked(bench, desk.books.blotter.get(sent.cl_ord_id).fills)  # type: ignore[union-attr]

    conform(tmp_path, subject, story)
