"""Options on the twin: what is listed, and what prices of it are shown."""

from decimal import Decimal

import pytest

from tests.brokers.alpaca.option_client import CONTRACTS, DATA, near, quote
from tests.brokers.alpaca.twin_client import SECOND, Client

D = Decimal
DAY = 24 * 3600 * SECOND


# -- contracts -------------------------------------------------------------------------------------------------------------------------------------


def test_without_filters_contracts_end_before_the_coming_weekend() -> None:
    client = Client(hours="us")
    found = client.get(f"{CONTRACTS}?underlying_symbols=AAPL,F&limit=10000")

    assert found["next_page_token"] is None
    assert {row["expiration_date"] for row in found["option_contracts"]} == {"2026-11-27"}
    assert {row["underlying_symbol"] for row in found["option_contracts"]} == {"AAPL", "F"}
    assert [row["symbol"] for row in found["option_contracts"]] == sorted(row["symbol"] for row in found["option_contracts"])


def test_contracts_are_filtered() -> None:
    client = Client(hours="us")
    query = "underlying_symbols=AAPL&expiration_date_gte=2026-12-01&expiration_date_lte=2026-12-31&type=put&limit=10000"
    rows = client.get(f"{CONTRACTS}?{query}&strike_price_gte=170&strike_price_lte=180.5")["option_contracts"]

    assert {row["type"] for row in rows} == {"put"}
    assert {D(row["strike_price"]) >= 170 and D(row["strike_price"]) <= D("180.5") for row in rows} == {True}
    assert {row["expiration_date"] for row in rows} == {"2026-12-04", "2026-12-11", "2026-12-18"}
    assert client.get(f"{CONTRACTS}?{query}&style=european")["option_contracts"] == []
    assert client.get(f"{CONTRACTS}?{query}&ppind=false")["option_contracts"] == []
    assert client.get(f"{CONTRACTS}?{query}&root_symbol=AAPL1")["option_contracts"] == []
    assert client.get(f"{CONTRACTS}?underlying_symbols=CENT&expiration_date_gte=2026-12-01")["option_contracts"] == []
    assert client.send("GET", f"{CONTRACTS}?type=both").status == 422
    assert client.send("GET", f"{CONTRACTS}?strike_price_gte=high").status == 422
    assert client.send("GET", f"{CONTRACTS}?limit=10001").status == 422


def test_contracts_come_in_pages() -> None:
    client = Client(hours="us")
    query = "underlying_symbols=AAPL&expiration_date_gte=2026-11-24"
    whole = client.get(f"{CONTRACTS}?{query}&limit=10000")["option_contracts"]
    rows, token = [], ""
    for _ in range(20):
        page = client.get(f"{CONTRACTS}?{query}{token}")
        rows += page["option_contracts"]
        if page["next_page_token"] is None:
            break
        assert len(page["option_contracts"]) == 100
        token = f"&page_token={page['next_page_token']}"

    assert rows == whole
    assert len(rows) > 400


def test_one_contract_by_symbol_and_by_id() -> None:
    client = Client(hours="us")
    symbol = near(client)
    row = client.get(f"{CONTRACTS}/{symbol}")

    assert client.get(f"{CONTRACTS}/{row['id']}") == row
    assert (row["multiplier"], row["size"], row["style"], row["status"], row["tradable"]) == ("100", "100", "american", "active", True)
    assert row["underlying_asset_id"] == client.get("/v2/assets/AAPL")["id"]
    assert row["name"] == f"AAPL Dec 18 2026 {row['strike_price']} Call"
    assert row["close_price_date"] == "2026-11-23"
    assert [row["symbol"] for row in row["deliverables"]] == ["AAPL"]
    missing = client.send("GET", f"{CONTRACTS}/TSLA231110C00021000")
    assert (missing.status, missing.body) == (404, {"code": 40410000, "message": "option contract TSLA231110C00021000 not found"})


def test_a_contract_that_is_over_is_inactive() -> None:
    client = Client(hours="us")
    symbol = near(client, expiry="2026-11-27")
    client.wait(5 * DAY)
    row = client.get(f"{CONTRACTS}/{symbol}")
    inactive = client.get(f"{CONTRACTS}?underlying_symbols=AAPL&status=inactive&limit=10000")["option_contracts"]

    assert (row["status"], row["tradable"]) == ("inactive", False)
    assert symbol in {row["symbol"] for row in inactive}
    assert symbol not in {row["symbol"] for row in client.get(f"{CONTRACTS}?underlying_symbols=AAPL&limit=10000")["option_contracts"]}


def test_contracts_are_no_assets() -> None:
    client = Client(hours="us")
    symbol = near(client)
    client.get(f"{CONTRACTS}/{symbol}")

    assert {asset["class"] for asset in client.get("/v2/assets")} == {"us_equity", "crypto"}
    assert client.send("GET", f"/v2/assets/{symbol}").status == 404


# -- prices ----------------------------------------------------------------------------------------------------------------------------------------


def test_chain_snapshot_and_latest_quote_are_the_same_market() -> None:
    client = Client(hours="us")
    chain = client.get(f"{DATA}/snapshots/AAPL?expiration_date=2026-12-18&limit=1000")
    symbol = near(client)
    line = chain["snapshots"][symbol]

    assert chain["next_page_token"] is None
    assert quote(client, symbol) == line["latestQuote"]
    assert client.get(f"{DATA}/snapshots?symbols={symbol}")["snapshots"] == {symbol: line}
    assert client.get(f"{DATA}/trades/latest?symbols={symbol}")["trades"] == {symbol: line["latestTrade"]}
    assert line["latestQuote"]["bp"] < line["latestQuote"]["ap"]
    assert 0.4 < line["greeks"]["delta"] < 0.65
    assert 0.2 < line["impliedVolatility"] < 0.4


def test_what_nobody_bids_for_has_no_greeks() -> None:
    client = Client(hours="us")
    lines = client.get(f"{DATA}/snapshots/AAPL?expiration_date=2026-11-27&type=call&limit=1000")["snapshots"].values()
    without = [line for line in lines if not line["latestQuote"]["bp"]]

    assert without
    assert all(line["latestQuote"]["bs"] == 0 and "greeks" not in line and "impliedVolatility" not in line for line in without)
    assert all("greeks" in line for line in lines if line["latestQuote"]["bp"])


def test_the_chain_is_filtered_and_comes_in_pages() -> None:
    client = Client(hours="us")
    whole = client.get(f"{DATA}/snapshots/AAPL?expiration_date_lte=2026-12-05&limit=1000")["snapshots"]
    first = client.get(f"{DATA}/snapshots/AAPL?expiration_date_lte=2026-12-05")
    second = client.get(f"{DATA}/snapshots/AAPL?expiration_date_lte=2026-12-05&page_token={first['next_page_token']}")
    puts = client.get(f"{DATA}/snapshots/AAPL?type=put&expiration_date=2026-12-04&strike_price_gte=175&strike_price_lte=185")["snapshots"]

    assert len(first["snapshots"]) == 100
    assert first["snapshots"] | second["snapshots"] == whole
    assert puts
    assert set(puts) <= {symbol for symbol in whole if symbol.startswith("AAPL261204P")}
    assert client.get(f"{DATA}/snapshots/CENT")["snapshots"] == {}
    assert client.get(f"{DATA}/snapshots/AAPL?updated_since=2026-11-25T00:00:00Z")["snapshots"] == {}


def test_bars_and_trades_of_the_past() -> None:
    client = Client(hours="us")
    symbol, window = near(client), "start=2026-11-24T15:00:00Z&end=2026-11-24T15:30:00Z"
    trades = client.get(f"{DATA}/trades?symbols={symbol}&{window}&limit=10000")["trades"][symbol]
    bars = client.get(f"{DATA}/bars?symbols={symbol}&{window}&timeframe=1Min")["bars"][symbol]
    day = client.get(f"{DATA}/bars?symbols={symbol}&start=2026-11-19&timeframe=1Day")["bars"][symbol]

    assert sum(bar["n"] for bar in bars if bar["t"] < "2026-11-24T15:30") == len(trades)
    assert min(bar["l"] for bar in bars) <= min(trade["p"] for trade in trades)
    assert {type(trade["c"]) for trade in trades} == {str}
    assert "i" not in trades[0]
    assert [bar["t"][:10] for bar in day] == ["2026-11-19", "2026-11-20", "2026-11-23", "2026-11-24"]


def test_history_of_many_comes_in_pages() -> None:
    client = Client(hours="us")
    names = f"{near(client)},{near(client, 'put')}"
    query = f"{DATA}/bars?symbols={names}&start=2026-11-24T15:00:00Z&end=2026-11-24T16:00:00Z&timeframe=5Min&limit=8"
    rows, token = [], ""
    for _ in range(10):
        page = client.get(query + token)
        rows += [(symbol, bar["t"]) for symbol, bars in page["bars"].items() for bar in bars]
        if page["next_page_token"] is None:
            break
        token = f"&page_token={page['next_page_token']}"

    assert len(rows) == len(set(rows)) == 26


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/quotes/latest", 400, "symbols is required"),
        ("/quotes/latest?symbols=AAPL&feed=sip", 400, "invalid feed: sip"),
        ("/snapshots/AAPL?feed=opra", 403, "OPRA agreement is not signed"),
        ("/snapshots/AAPL?limit=1001", 422, "invalid limit"),
        ("/snapshots?symbols=" + ",".join(["AAPL"] * 101), 400, "too many symbols: at most 100"),
        ("/quotes", 404, "endpoint not found."),
    ],
)
def test_questions_that_are_refused(path: str, status: int, message: str) -> None:
    refused = Client(hours="us").send("GET", DATA + path)

    assert (refused.status, refused.body["message"]) == (status, message)


def test_with_the_plan_for_it_opra_answers_and_unknown_contracts_are_missing() -> None:
    client = Client(hours="us", sip=True)

    assert client.get(f"{DATA}/quotes/latest?symbols=AAPL,AAPL261218C00000500&feed=opra") == {"quotes": {}}
    assert client.get(f"{DATA}/snapshots/AAPL?feed=opra&limit=1")["snapshots"]
    assert client.send("GET", f"{DATA}/snapshots/AAPL", keys=False).status == 401


def test_contracts_follow_the_days() -> None:
    client = Client(hours="us")
    listed = lambda: {  # noqa: E731
        row["symbol"] for row in client.get(f"{CONTRACTS}?underlying_symbols=TSLA&expiration_date_gte=2026-12-11&limit=10000")["option_contracts"]
    }
    before = listed()
    client.wait(3600 * SECOND)
    same = listed()
    client.wait(14 * DAY)

    assert same == before
    assert listed() > before
