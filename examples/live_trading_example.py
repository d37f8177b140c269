"""Trade a stock, or a pair of currencies, while its price is above its average.

Each entry is a bracket, so that both exits rest at the broker from the first fill on.

python examples/live_trading_example.py [--broker NAME] [SYMBOL] [QUANTITY] [SECONDS]
"""

import sys
from decimal import Decimal

from _desk import BROKER, main
from _trend import follow, tell_before

from trading_system.app.config import Config
from trading_system.app.desk import Desk
from trading_system.domain.fix import Contingency, OrdType, Side, TimeInForce
from trading_system.domain.ids import IntentID, parse_instrument
from trading_system.domain.instrument import Instrument
from trading_system.domain.market import Quote
from trading_system.domain.money import round_price
from trading_system.domain.order import Attached, NewOrder

# Tradier's sandbox has no stream: a quote comes every five seconds.
DEFAULTS = {"oanda": ("EUR/USD", "1000", "20"), "tradier": ("AAPL", "5", "60")}.get(BROKER, ("AAPL", "5", "20"))
TAKE_PROFIT, STOP_LOSS = Decimal("1.01"), Decimal("0.995")  # of the price at entry


def entry(instrument: Instrument, qty: Decimal, terms: tuple[OrdType, TimeInForce], quote: Quote, intent: IntentID) -> NewOrder:
    """A market order with its exits one per cent above and half a per cent below; a limit order, where a bracket may begin with no other."""
    assert quote.mid is not None
    profit, stop = (round_price(quote.mid * factor, instrument.tick(quote.mid), Side.BUY) for factor in (TAKE_PROFIT, STOP_LOSS))
    ord_type, usual = terms
    limit = None
    if ord_type is OrdType.LIMIT:
        assert quote.ask_px is not None
        limit = quote.ask_px
    return NewOrder(
        broker=BROKER,
        instrument=instrument.id,
        side=Side.BUY,
        ord_type=ord_type,
        time_in_force=usual,
        order_qty=qty,
        price=limit,
        attached=Attached(take_profit_px=profit, stop_px=stop),
        intent=intent,
        repeat=True,
    )


async def story(desk: Desk, config: Config) -> None:
    symbol, qty, seconds = [*sys.argv[1:4], *DEFAULTS[len(sys.argv) - 1 :]]
    instrument = await desk.instrument(BROKER, parse_instrument(symbol.upper()))
    facts = desk.brokers[BROKER].facts
    usual = facts.usual_time(instrument.asset_class, OrdType.MARKET)
    by_market = facts.link(instrument.asset_class, Contingency.BRACKET, OrdType.MARKET, usual) is not None
    terms = (OrdType.MARKET if by_market else OrdType.LIMIT, usual)
    tell_before(desk, f"Trading {qty} {instrument.id}", int(seconds))
    await follow(desk, instrument.id, lambda quote, intent: entry(instrument, Decimal(qty), terms, quote, intent), int(seconds))
    print("✅ Done; nothing is left open.")


if __name__ == "__main__":
    main(story)
