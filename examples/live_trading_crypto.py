"""Trade a coin, or a pair of currencies, while its price is above its average.

Each entry has a stop that the desk keeps at the broker, sized to what filled.

python examples/live_trading_crypto.py [--broker NAME] [COIN or PAIR] [QUANTITY] [SECONDS]
"""

import sys
from decimal import Decimal

from _desk import BROKER, main, pair
from _trend import follow, tell_before

from trading_system.app.config import Config
from trading_system.app.desk import Desk
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.ids import IntentID, parse_instrument
from trading_system.domain.instrument import Instrument
from trading_system.domain.market import Quote
from trading_system.domain.money import round_price
from trading_system.domain.order import NewOrder

DEFAULTS = ("EUR/USD", "1000", "20") if BROKER == "oanda" else ("BTC", "0.01", "20")
ABOVE, STOP_LOSS = Decimal("1.002"), Decimal("0.98")  # of the price at entry


def entry(instrument: Instrument, qty: Decimal, quote: Quote, intent: IntentID) -> NewOrder:
    """A limit order a little above the market, which fills at once and never far off; its stop two per cent below."""
    assert quote.mid is not None
    limit, stop = quote.mid * ABOVE, quote.mid * STOP_LOSS
    return NewOrder(
        broker=BROKER,
        instrument=instrument.id,
        side=Side.BUY,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.IOC,
        order_qty=qty,
        price=limit,
        protect_stop_px=round_price(stop, instrument.tick(stop), Side.BUY),
        intent=intent,
        repeat=True,
    )


async def story(desk: Desk, config: Config) -> None:
    coin, qty, seconds = [*sys.argv[1:4], *DEFAULTS[len(sys.argv) - 1 :]]
    name = parse_instrument(coin.upper()) if "/" in coin else await pair(desk, coin.upper())
    instrument = await desk.instrument(BROKER, name)
    tell_before(desk, f"Trading {qty} {instrument.id}", int(seconds))
    await follow(desk, instrument.id, lambda quote, intent: entry(instrument, Decimal(qty), quote, intent), int(seconds))
    print("✅ Done; nothing is left open.")


if __name__ == "__main__":
    main(story)
