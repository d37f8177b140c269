"""What is held and how far each limit is used, as the desk shows it: by its broker's words, else by its own fills."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.app.test_several import WIDE, told
from tests.desks import settled, wish
from tests.subjects import BINANCE, BYBIT, KRAKEN, Subject
from trading_system.app.desk import Desk
from trading_system.app.portfolio import limits_of
from trading_system.app.verbs import VERBS
from trading_system.app.views import position_view
from trading_system.core.risk import Limits
from trading_system.domain.account import Position
from trading_system.domain.errors import RiskRefused
from trading_system.domain.fix import Side
from trading_system.domain.ids import InstrumentID
from trading_system.domain.instrument import AssetClass, Pricing
from trading_system.journal.record import Adjusted
from trading_system.sim.clock import SECOND_NS

D = Decimal
COIN = InstrumentID("BTC/USDT")


def limit(desk: Desk, name: str) -> dict[str, Any]:
    rows: Any = limits_of(desk)["limits"]
    return next(row for row in rows if row["name"] == name)


async def shown(desk: Desk, instrument: InstrumentID) -> dict[str, Any]:
    rows: Any = await VERBS["positions"](desk, {})
    return next(row for row in rows if row["instrument"] == instrument)


async def bought(desk: Desk, subject: Subject, instrument: InstrumentID, intent: str, qty: str, side: Side = Side.BUY) -> None:
    await desk.instrument(subject.broker, instrument)
    await desk.hub.fetch(subject.broker, instrument)
    order = await desk.submit(wish(intent, qty, side, instrument, broker=subject.broker))
    await settled(desk, order)


def test_a_coin_is_measured_by_the_limit_that_the_gate_holds_it_to(tmp_path: Path) -> None:
    async def story(desk: Desk, _: dict[str, object]) -> None:
        assert not any(row["name"] == "crypto_largest_position" for row in limits_of(desk)["limits"])  # type: ignore[attr-defined]
        await bought(desk, BYBIT, COIN, "a", "0.1")
        part, most = limit(desk, "crypto_largest_position"), D("0.20")
        assert D(part["used"]) == pytest.approx(D(part["now"]) / most, abs=D("0.00001"))
        assert (part["limit"], 0 < D(part["used"]) < 1) == ("0.2", True)
        assert limit(desk, "largest_position") == {"name": "largest_position", "now": "0", "limit": "0.3", "used": "0"}
        held = desk.books.ledger.position(BYBIT.broker, COIN)
        room = (held * (1 - D(part["used"])) / D(part["used"])).quantize(D("0.001"))
        with pytest.raises(RiskRefused, match="CRYPTO_MAX_POSITION_PCT"):
            await bought(desk, BYBIT, COIN, "b", str(room * D("1.05")))
        await bought(desk, BYBIT, COIN, "c", str((room * D("0.95")).quantize(D("0.001"))))
        assert D("0.95") < D(limit(desk, "crypto_largest_position")["used"]) < 1

    told(tmp_path, story, (BYBIT,), Limits())


def test_without_equity_nobody_knows_how_far_a_position_goes(tmp_path: Path) -> None:
    async def story(desk: Desk, _: dict[str, object]) -> None:
        desk.books.mark = None
        assert limit(desk, "largest_position") == {"name": "largest_position", "now": None, "limit": "0.3", "used": None}

    told(tmp_path, story, (BYBIT,), Limits())


@pytest.mark.parametrize("subject", [BINANCE, KRAKEN, BYBIT], ids=lambda subject: subject.name)
def test_what_coins_cost_is_what_the_fills_say_and_nothing_where_they_do_not_cover_them(tmp_path: Path, subject: Subject) -> None:
    coin = InstrumentID("ETH/USD" if subject is KRAKEN else "ETH/USDT")

    async def story(desk: Desk, _: dict[str, object]) -> None:
        await bought(desk, subject, coin, "a", "0.5")
        await bought(desk, subject, coin, "b", "0.4")
        await bought(desk, subject, coin, "c", "0.3", Side.SELL)
        fills = [fill for order in desk.books.blotter if order.side is Side.BUY for fill in order.fills]
        average = sum(fill.qty * fill.price for fill in fills) / sum(fill.qty for fill in fills)
        assert await desk.wait(lambda: desk.ready[subject.broker], 20 * SECOND_NS)
        row = await shown(desk, coin)
        assert D(row["avg_px"]) == pytest.approx(average, rel=D("1e-8"))
        assert D(row["unrealized_pnl"]) == pytest.approx(D(row["qty"]) * (D(row["mark_px"]) - average), abs=D("1e-5"))
        adjusted = Adjusted(
            broker=subject.broker, instrument=coin, asset_class=AssetClass.CRYPTO, qty=D(1), price=D(1), reason="a gift", now_ns=desk.clock.now_ns()
        )
        desk.record(adjusted)
        book: Any = await VERBS["portfolio"](desk, {})
        row = next(row for row in book["positions"] if row["instrument"] == coin)
        assert (row["avg_px"], row["unrealized_pnl"], row["market_value"] is None) == (None, None, False)

    told(tmp_path, story, (subject,), WIDE)


def test_who_turns_round_begins_anew(tmp_path: Path) -> None:
    async def story(desk: Desk, _: dict[str, object]) -> None:
        swap = InstrumentID("ETH-PERP/USDT")
        await bought(desk, BYBIT, swap, "a", "0.5")
        await bought(desk, BYBIT, swap, "b", "0.8", Side.SELL)
        (sold,) = [order for order in desk.books.blotter if order.side is Side.SELL]
        book: Any = await VERBS["portfolio"](desk, {})  # before the account is looked at again
        row = next(row for row in book["positions"] if row["instrument"] == swap)
        assert (row["qty"], D(row["avg_px"])) == ("-0.3", sold.fills[-1].price if len(sold.fills) == 1 else D(row["avg_px"]))

    told(tmp_path, story, (BYBIT,), msgspec.structs.replace(WIDE, enable_shorts=True))


def test_a_position_shows_no_more_digits_than_an_order_and_no_gain_without_a_price() -> None:
    position = Position(instrument=InstrumentID("AAPL"), qty=D(3), avg_px=D(700) / 3, mark_px=D(235), unrealized_pnl=D(5))
    row = position_view("tradier", position, Pricing())
    unpriced = position_view("tradier", msgspec.structs.replace(position, mark_px=None, unrealized_pnl=D(0)), Pricing())

    assert (row["avg_px"], row["unrealized_pnl"]) == ("233.333333333", "5")
    assert (unpriced["avg_px"], unpriced["market_value"], unpriced["unrealized_pnl"]) == ("233.333333333", None, None)
