"""Trade a coin, or a pair of currencies, while its price is above its average, with a stop two per cent below.

python examples/live_trading_crypto.py [--broker NAME] [COIN or PAIR] [SECONDS]
"""

import sys

from _desk import BROKER, main, pair
from _work import work

from trading_system.app.config import Config
from trading_system.app.desk import Desk
from trading_system.domain.ids import parse_instrument

DEFAULTS = ("EUR/USD", "20") if BROKER == "oanda" else ("BTC", "20")


async def story(desk: Desk, config: Config) -> None:
    coin, seconds = [*sys.argv[1:3], *DEFAULTS[len(sys.argv) - 1 :]]
    instrument = parse_instrument(coin.upper()) if "/" in coin else await pair(desk, coin.upper())
    await work(desk, instrument, int(seconds), stop="0.02")


if __name__ == "__main__":
    main(story)
