"""Trade a stock while its price is above its average: each entry is a bracket, so that both exits rest at the broker from the first fill on.

python examples/live_trading_example.py [SYMBOL] [QUANTITY] [SECONDS]
"""

import sys
from decimal import Decimal

from _desk import BROKER, main
from _trend import follow, tell_before

from trading_system.app.config import Config
from trading_system.app.desk import Desk
from trading_system.domain.fix import Side
from trading_system.domain.ids import InstrumentID, IntentID, parse_instrument
from trading_system.domain.market import Quote
from trading_system.domain.order import Attached, NewOrder

CENT = Decimal("0.01")
TAKE_PROFIT, STOP_LOSS = Decimal("1.01"), Decimal("0.995")  # of the price at entry


def entry(instrument: InstrumentID, qty: Decimal, quote: Quote, intent: IntentID) -> NewOrder:
    """A market order with its exits one per cent above and half a per cent below."""
    assert quote.mid is not None
    exits = Attached(take_profit_px=(quote.mid * TAKE_PROFIT).quantize(CENT), stop_px=(quote.mid * STOP_LOSS).quantize(CENT))
    return NewOrder(broker=BROKER, instrument=instrument, side=Side.BUY, order_qty=qty, attached=exits, intent=intent, repeat=True)


async def story(desk: Desk, config: Config) -> None:
    symbol, qty, seconds = [*sys.argv[1:4], *("AAPL", "5", "20")[len(sys.argv) - 1 :]]
    instrument = parse_instrument(symbol.upper())
    tell_before(desk, f"Trading {qty} {instrument}", int(seconds))
    await follow(desk, instrument, lambda quote, intent: entry(instrument, Decimal(qty), quote, intent), int(seconds))
    print("✅ Done; nothing is left open.")


if __name__ == "__main__":
    main(story)
