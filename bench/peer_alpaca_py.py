"""alpaca-py as a contender: one line in (how many orders), one JSON line out (nanoseconds of each). Runs in .venv-judges."""

import json
import sys
import time

from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import LimitOrderRequest

rest, key, secret = sys.argv[1:]
client = TradingClient(key, secret, paper=True, url_override=rest)
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    took = []
    for _ in range(int(line)):
        request = LimitOrderRequest(symbol="F", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.IOC, limit_price=1.0)
        start = time.perf_counter_ns()
        client.submit_order(request)
        took.append(time.perf_counter_ns() - start)
    print(json.dumps(took), flush=True)
