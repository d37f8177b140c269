"""Replay of any prefix gives the state that a running desk had at that point."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.factories import AAPL, BROKER, BTC, NOW, D, approved, mark, report, trade, wish
from trading_system.core.risk import Halt, Level
from trading_system.domain.fix import Doubt, ExecType, OrdStatus
from trading_system.domain.ids import ClOrdID, OrderID
from trading_system.domain.instrument import AssetClass
from trading_system.journal.record import (
    Adjusted,
    Alert,
    Armed,
    CancelAsked,
    ClosedUnsent,
    Doubted,
    Escalated,
    HaltCleared,
    HaltSet,
    Intent,
    Marked,
    Record,
    Reported,
    Started,
    Watermark,
    decode,
    encode,
)
from trading_system.journal.replay import Books, replay

CL = ClOrdID("q1aaaaaaaaaaaaaaaa")
HALT = Halt(scope="all", level=Level.HALT, rule="OWNER", text="stop", set_ns=NOW)


def reported(item: Any) -> Reported:
    return Reported(report=item, account="PA1", currency="USD", multiplier=D(1), asset_class=AssetClass.EQUITY)


HISTORY: list[Record] = [
    Started(epoch=1, version="0", config_hash="h", environment="paper", brokers=(BROKER,), now_ns=NOW),
    Adjusted(broker=BROKER, instrument=BTC, asset_class=AssetClass.CRYPTO, qty=D(1), price=D(100), reason="found", now_ns=NOW),
    Intent(approved=approved()),
    reported(report(ExecType.NEW, OrdStatus.NEW, cum_qty=D(0))),
    reported(trade("e1", "4", "100", "4")),
    CancelAsked(cl_ord_id=CL, now_ns=NOW),
    reported(report(ExecType.CANCELED, OrdStatus.CANCELED, cum_qty=D(4))),
    Intent(approved=replace(approved(), cl_ord_id=ClOrdID("c2"))),
    Doubted(cl_ord_id=ClOrdID("c2"), text="timeout", now_ns=NOW),
    Escalated(cl_ord_id=ClOrdID("c2"), text="long", now_ns=NOW),
    ClosedUnsent(cl_ord_id=ClOrdID("c2"), text="absent", proven_absent=True, now_ns=NOW),
    HaltSet(halt=HALT),
    HaltSet(halt=replace(HALT, scope="crypto")),
    HaltCleared(scope="crypto", by="owner", now_ns=NOW),
    Marked(mark=mark()),
    reported(replace(trade("e9", "1", "50", "1"), cl_ord_id=ClOrdID("by-hand"), order_id=OrderID("o9"))),
    Adjusted(broker=BROKER, instrument=AAPL, asset_class=AssetClass.EQUITY, qty=D("-0.01"), price=D(0), reason="fee", fee=True, now_ns=NOW),
    Watermark(broker=BROKER, fills_ns=NOW),
    Alert(severity="info", text="hello", now_ns=NOW),
    Armed(accounts=("A",), max_notional=D(500), until_ns=NOW + 9, now_ns=NOW),
    Intent(approved=replace(approved(wish("2")), cl_ord_id=ClOrdID("c3"))),
    HaltCleared(scope="*", by="owner", now_ns=NOW),
]


def snapshot(books: Books) -> object:
    return msgspec.to_builtins(
        {
            "orders": list(books.blotter),
            "reserved": [(list(key), books.blotter.reserved(*key)) for key in books.blotter.reserved_keys()],
            "total": books.blotter.total,
            "balances": sorted((*key, value) for key, value in books.ledger.balances().items()),
            "halts": books.halts,
            "mark": books.mark,
            "watermarks": books.watermarks,
            "bought": sorted((*key, value) for key, value in books.bought.items()),
            "armed": [books.armed, books.armed_spent],
            "epoch": books.epoch,
        }
    )


@given(st.integers(0, len(HISTORY)))
def test_replay_of_any_prefix_equals_the_live_state(length: int) -> None:
    live = Books()
    for record in HISTORY[:length]:
        live.fold(record)

    assert snapshot(replay(decode(encode(record)) for record in HISTORY[:length])) == snapshot(live)


def test_the_whole_history_ends_where_it_should() -> None:
    books = replay(HISTORY)
    first, absent = books.blotter.get(CL), books.blotter.get(ClOrdID("c2"))

    assert first is not None
    assert absent is not None
    assert (first.ord_status, first.cum_qty, absent.doubt) == (OrdStatus.CANCELED, D(4), Doubt.PROVEN_ABSENT)
    assert books.ledger.position(BROKER, AAPL) == D("4.99")
    assert books.ledger.position(BROKER, BTC) == D(1)
    assert books.halts == {}
    assert books.armed_spent == D("200.00")
    assert books.bought == {}
    assert [order.cl_ord_id for order in books.in_doubt()] == ["c3"]


def test_an_escalated_order_is_still_asked_about_after_a_restart() -> None:
    books = replay([Intent(approved=replace(approved(wish("2")), cl_ord_id=ClOrdID("c3"))), Escalated(cl_ord_id=ClOrdID("c3"), text="", now_ns=NOW)])

    assert [order.cl_ord_id for order in books.in_doubt()] == ["c3"]
