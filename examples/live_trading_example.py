"""Trade a stock, or a pair of currencies, while its price is above its average: a strategy of its own file, in a process of its own.

python examples/live_trading_example.py [--broker NAME] [SYMBOL] [SECONDS]
"""

import sys

from _desk import BROKER, main
from _work import work

from trading_system.app.config import Config
from trading_system.app.desk import Desk
from trading_system.domain.ids import parse_instrument

# Tradier's sandbox has no stream: a quote comes every five seconds.
DEFAULTS = {"oanda": ("EUR/USD", "20"), "tradier": ("AAPL", "60")}.get(BROKER, ("AAPL", "20"))


async def story(desk: Desk, config: Config) -> None:
    symbol, seconds = [*sys.argv[1:3], *DEFAULTS[len(sys.argv) - 1 :]]
    instrument = await desk.instrument(BROKER, parse_instrument(symbol.upper()))
    await work(desk, instrument.id, int(seconds), stop="0.005")


if __name__ == "__main__":
    main(story)
