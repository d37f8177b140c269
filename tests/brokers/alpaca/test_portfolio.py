"""Portfolio history: the twin's windows over what it was worth, and the connector's reading of them."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.brokers.alpaca.test_wire import GOLDEN
from tests.brokers.alpaca.twin_client import NOON, SECOND, Client
from tests.desks import Bench, on_bench
from trading_system.brokers.alpaca import codec, wire
from trading_system.brokers.alpaca.twin import portfolio
from trading_system.domain.errors import BadRequest, ProtocolError
from trading_system.domain.portfolio import EquityPoint

D = Decimal
PATH = "/v2/account/portfolio/history"
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND


def lived(so_long: int, **options: Any) -> Client:
    """An account that buys at noon, sells two hours later, and is looked at every minute for so many hours."""
    client = Client(**options)
    client.order(qty="100")
    for minute in range(so_long * 60):
        client.wait(MINUTE)
        if minute == 119:
            client.send("DELETE", "/v2/positions/AAPL")
    return client


def test_each_window_ends_at_what_the_account_was_worth_then() -> None:
    client = Client()
    client.order(qty="100")
    worth = []
    for _ in range(10):
        client.wait(MINUTE)
        worth.append(D(client.get("/v2/account")["equity"]).quantize(D("0.01")))
    found = client.get(f"{PATH}?period=1D&timeframe=1Min&intraday_reporting=continuous")

    assert found["timestamp"] == [(NOON + number * MINUTE) // SECOND for number in range(10)]
    assert [D(str(value)).quantize(D("0.01")) for value in found["equity"]] == worth
    assert len(set(worth)) > 5
    assert (found["base_value"], found["timeframe"]) == (100_000, "1Min")
    assert [D(str(gain)).quantize(D("0.01")) for gain in found["profit_loss"]] == [value - 100_000 for value in worth]
    assert found["profit_loss_pct"][-1] == pytest.approx(float((worth[-1] - 100_000) / 100_000), abs=1e-6)


def test_wider_windows_hold_the_last_value_of_the_narrow_ones() -> None:
    client = lived(3)
    minutes = client.get(f"{PATH}?period=1D&timeframe=1Min")
    for frame, count in (("5Min", 5), ("15Min", 15), ("1H", 60)):
        wide = client.get(f"{PATH}?period=1D&timeframe={frame}")

        assert wide["timestamp"] == minutes["timestamp"][::count]
        assert wide["equity"] == minutes["equity"][count - 1 :: count]


def test_days_are_labelled_by_midnight_and_count_from_the_first() -> None:
    client = lived(5 * 24, hours="us")  # Tuesday to Sunday, with Thanksgiving in between
    found = client.get(f"{PATH}?period=1W&timeframe=1D")
    dates = [stamp // 86_400 - NOON // DAY for stamp in found["timestamp"]]

    assert dates == [0, 1, 3]  # Tuesday, Wednesday, Friday
    assert all(stamp % 86_400 == 0 for stamp in found["timestamp"])
    assert [D(str(equity)) - D(str(found["base_value"])) for equity in found["equity"]] == [D(str(gain)) for gain in found["profit_loss"]]


def test_only_what_is_reported_is_shown_and_each_day_may_begin_anew() -> None:
    client = lived(30, hours="us")
    regular = client.get(f"{PATH}?period=2D&timeframe=1H")
    extended = client.get(f"{PATH}?period=2D&timeframe=1H&intraday_reporting=extended_hours")
    old_style = client.get(f"{PATH}?period=2D&timeframe=1H&extended_hours=true")
    all_day = client.get(f"{PATH}?period=2D&timeframe=1H&intraday_reporting=continuous&pnl_reset=no_reset")

    assert len(regular["timestamp"]) == 4 + 6  # noon to four, and ten to six in the evening the next day, on the hour
    assert len(extended["timestamp"]) == 8 + 14
    assert old_style == extended
    assert len(all_day["timestamp"]) == 30
    assert regular["profit_loss"][-1] == 0  # nothing was held on the second day
    assert all_day["profit_loss"][-1] != 0


@pytest.mark.parametrize(
    ("query", "frame"), [("", "15Min"), ("?period=6D", "1Min"), ("?period=1W", "15Min"), ("?period=2M", "1D"), ("?period=1A&timeframe=1D", "1D")]
)
def test_a_frame_that_is_not_named_follows_the_period(query: str, frame: str) -> None:
    assert Client().get(PATH + query)["timeframe"] == frame


@pytest.mark.parametrize(
    "query",
    [
        "period=1Y",
        "period=D",
        "timeframe=2Min",
        "period=2M&timeframe=1H",
        "pnl_reset=never",
        "intraday_reporting=some",
        "start=yesterday",
        "start=2026-11-20&end=2026-11-24&period=1D",
        "start=2026-11-25",
        "start=2026-11-23&end=2026-11-22",
    ],
)
def test_what_cannot_be_asked_is_refused(query: str) -> None:
    assert Client().send("GET", f"{PATH}?{query}").status == 422


def test_two_of_start_end_and_period_say_the_span() -> None:
    client = lived(4)
    at = [f"2026-11-24T{hour}:00:00Z" for hour in (17, 18, 19, 20)]
    for query in (f"start={at[1]}&end={at[3]}", f"start={at[1]}&end={at[3]}&timeframe=1H"):
        found = client.get(f"{PATH}?{query}")
        assert (found["timestamp"][0], found["timestamp"][-1] < NOON // SECOND + 3 * 3600) == (NOON // SECOND + 3600, True)
    assert client.get(f"{PATH}?end={at[2]}&period=1D&timeframe=1H")["timestamp"] == [NOON // SECOND, NOON // SECOND + 3600]


def test_there_is_nothing_from_before_the_account() -> None:
    client = lived(1)

    assert len(client.get(f"{PATH}?start=0001-01-01&timeframe=1D")["timestamp"]) == 1
    assert client.get(f"{PATH}?start=2026-11-01&end=2026-11-10&timeframe=1D")["timestamp"] == []


def test_money_that_came_and_went_is_shown_where_it_is_asked_for() -> None:
    client = lived(1)
    client.twin.transfer(D(500))
    client.wait(HOUR)
    client.twin.transfer(D(-20))
    client.wait(HOUR)
    found = client.get(f"{PATH}?period=1D&timeframe=1H&cashflow_types=ALL")

    assert "cashflow" not in client.get(f"{PATH}?period=1D&timeframe=1H")
    assert {kind: [value for value in values if value] for kind, values in found["cashflow"].items()} == {"CSD": [500], "CSW": [-20]}
    assert client.get(f"{PATH}?period=1D&timeframe=1H&cashflow_types=CSW")["cashflow"] == {"CSW": found["cashflow"]["CSW"]}


def test_samples_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portfolio, "SAMPLES_MAX", 50)
    client = lived(3)

    assert len(client.twin.portfolio._times) <= 50
    assert client.get(f"{PATH}?period=1D&timeframe=1Min")["timestamp"]


# -- the connector ---------------------------------------------------------------------------------------------------------------------------------


def read(name: str) -> wire.PortfolioHistory:
    return msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes(), type=wire.PortfolioHistory)


def test_alpacas_samples_are_read() -> None:
    found = codec.decode_portfolio(read("portfolio_history_cashflows"))

    assert (found.timeframe, found.base_value, len(found.points)) == ("1D", D("8413.04"), 4)
    assert found.points[1] == EquityPoint(1_775_692_800 * SECOND, D("8639.77"), D("-214.56") * -1, D("0.0255"))
    assert len(codec.decode_portfolio(read("portfolio_history_15min")).points) == 27


def test_windows_without_a_value_are_left_out_and_torn_columns_refused() -> None:
    columns = {"timestamp": [1, 2], "equity": [None, D(5)], "profit_loss": [None, None], "profit_loss_pct": [None, None]}
    found = codec.decode_portfolio(wire.PortfolioHistory(**columns, base_value=None, timeframe="1D"))

    assert found.points == (EquityPoint(2 * SECOND, D(5), D(0), D(0)),)
    assert found.base_value is None
    with pytest.raises(ProtocolError, match="columns"):
        codec.decode_portfolio(wire.PortfolioHistory(**(columns | {"equity": [D(5)]}), base_value=None, timeframe="1D"))


def test_the_connector_asks_round_the_clock(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        found = await connector.portfolio_history("1D", "5Min")

        assert [point.equity for point in found.points] == [D(100_000)]
        with pytest.raises(BadRequest, match="invalid period"):
            await connector.portfolio_history("1Y", "1D")

    on_bench(tmp_path, story)
