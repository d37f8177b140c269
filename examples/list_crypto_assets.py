"""Which coins the broker lists, on which grid, and what those of CRYPTO_SYMBOLS cost now.

python examples/list_crypto_assets.py [--broker NAME]
"""

from _desk import BROKER, main

from trading_system.app.config import Config
from trading_system.app.desk import Desk
from trading_system.domain.errors import BadRequest
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import plain


async def story(desk: Desk, config: Config) -> None:
    coins = [item for item in await desk.brokers[BROKER].instruments() if item.asset_class is AssetClass.CRYPTO and item.tradable]
    if not coins:
        raise BadRequest(f"{BROKER} lists no coins; another broker's are shown with --broker")
    print(f"{'Symbol':<12} {'smallest order':>15} {'step':>15} {'price step':>12}")
    for coin in sorted(coins, key=lambda item: item.id):
        print(f"{coin.id:<12} {plain(coin.min_qty):>15} {plain(coin.lot):>15} {plain(coin.ticks[0].tick):>12}")
    print("\nCRYPTO_SYMBOLS now:")
    wanted = [symbol.partition("/")[0] for symbol in config.crypto_symbols]
    for coin in sorted((coin for coin in coins if coin.base in wanted), key=lambda coin: (wanted.index(coin.base), coin.id)):
        quote = await desk.hub.fetch(BROKER, coin.id)
        print(f"  {coin.id:<10} {quote.bid_px} / {quote.ask_px}")


if __name__ == "__main__":
    main(story)
