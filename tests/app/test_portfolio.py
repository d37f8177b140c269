"""What is held and how far each limit is used, as the desk shows it: by its broker's words, else by its own fills."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.app.test_several import told
from tests.desks import settled, wish
from tests.subjects import BYBIT, Subject
from trading_system.app.desk import Desk
from trading_system.app.portfolio import limits_of
from trading_system.core.risk import Limits
from trading_system.domain.errors import RiskRefused
from trading_system.domain.fix import Side
from trading_system.domain.ids import InstrumentID

D = Decimal
COIN = InstrumentID("BTC/USDT")


def limit(desk: Desk, name: str) -> dict[str, Any]:
    rows: Any = limits_of(desk)["limits"]
    return next(row for row in rows if row["name"] == name)


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
