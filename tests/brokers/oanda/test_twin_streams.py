"""The twin's streams: lines, heartbeats, prices that are told when they change."""

import pytest

from tests.brokers.oanda.twin_client import SECOND, Client
from trading_system.transport.message import Response


def test_transactions_come_as_they_are_written_and_heartbeats_name_the_last() -> None:
    client = Client()
    conn = client.listen()
    assert [line["type"] for line in client.lines(conn)] == ["HEARTBEAT"]
    told = client.order("100")
    assert [line["id"] for line in client.lines(conn)] == told["relatedTransactionIDs"]
    client.wait(11 * SECOND)
    beats = client.lines(conn)

    assert [line["type"] for line in beats] in (["HEARTBEAT"], ["HEARTBEAT"] * 2)
    assert beats[-1]["lastTransactionID"] == told["lastTransactionID"]


@pytest.mark.parametrize(("query", "snapshots"), [("", 2), ("&snapshot=true", 2), ("&snapshot=False", 0)])
def test_prices_begin_with_a_snapshot_and_are_told_when_they_change(query: str, snapshots: int) -> None:
    client = Client()
    conn = client.listen(f"/pricing/stream?instruments=EUR_USD,USD_JPY{query}")
    first = [line for line in client.lines(conn) if line["type"] == "PRICE"]
    assert len(first) == snapshots
    for _ in range(20):
        client.wait(SECOND // 4)
    lines = client.lines(conn)
    prices = [line for line in lines if line["type"] == "PRICE"]

    assert 2 <= len(prices) <= 40  # four a second of each at most
    assert {line["instrument"] for line in prices} == {"EUR_USD", "USD_JPY"}
    assert all(isinstance(step["liquidity"], int) for line in prices for step in line["bids"])
    assert [line["type"] for line in lines].count("HEARTBEAT") == 1


def test_a_stream_needs_the_token_an_instrument_and_room() -> None:
    client = Client(orders_streams=1)
    path = f"{client.account}/transactions/stream"
    for headers, name, status in (
        ({}, path, 401),
        ({"Authorization": f"Bearer {client.twin.key}"}, "/v3/accounts/001-1-1-1/transactions/stream", 403),
        ({"Authorization": f"Bearer {client.twin.key}"}, f"{client.account}/pricing/stream?instruments=NO_SUCH", 400),
    ):
        refused = client.twin.open(name, headers, client.now_ns)
        assert isinstance(refused, Response)
        assert refused.status == status
    conn = client.listen()
    crowded = client.twin.open(path, {"Authorization": f"Bearer {client.twin.key}"}, client.now_ns)
    assert isinstance(crowded, Response)
    assert crowded.status == 429
    client.twin.closed(conn)
    client.listen()


def test_times_on_a_stream_are_seconds_where_they_are_asked_for() -> None:
    client = Client()
    conn = client.listen(**{"Accept-Datetime-Format": "UNIX"})

    assert client.lines(conn)[0]["time"] == "1795539600.000000000"
