"""The full stack on the crypto exchanges' twins: the same stage, faults and oracle, other words on the wire."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.simulation.world import TwinTruth, TwinWorld
from trading_system.brokers.binance.twin import BinanceTwin
from trading_system.brokers.binance.twin.forms import Refusal
from trading_system.domain.fix import Side
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID
from trading_system.sim.clock import START_NS
from trading_system.transport.message import Request


class PairTruth(TwinTruth):
    """An exchange that names BTC/USDT BTCUSDT."""

    def symbol(self, instrument: InstrumentID) -> str:
        return instrument.replace("/", "")


class BinanceWorld(TwinWorld):
    """A desk on the Binance twin."""

    broker = BrokerName("binance")
    names = (InstrumentID("BTC/USDT"), InstrumentID("ETH/USDT"), InstrumentID("SOL/USDT"))

    def make(self, seed: int) -> BinanceTwin:
        return BinanceTwin(seed=seed, start_ns=START_NS, requests_per_minute=100_000)

    def truth(self) -> TwinTruth:
        return PairTruth(self.twin.exchange, self.clock)

    def placed(self, request: Request) -> ClOrdID | None:
        url = urlsplit(request.url)
        if request.method != "POST" or not url.path.endswith(("/order", "/order/cancelReplace")):
            return None
        return ClOrdID(dict(parse_qsl(url.query or request.body.decode()))["newClientOrderId"])

    def trade(self, instrument: InstrumentID, side: Side, qty: Decimal, cl_ord_id: str) -> bool:
        params = {
            "symbol": instrument.replace("/", ""),
            "side": side.upper(),
            "type": "MARKET",
            "quantity": str(qty),
            "newClientOrderId": cl_ord_id,
        }
        self.twin.advance(self.clock.now_ns())
        try:
            self.twin.trading.place(params, self.clock.now_ns())
        except Refusal:
            return False
        return True


EXCHANGES: Mapping[str, Any] = {"binance": BinanceWorld}
