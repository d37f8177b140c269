"""The fastest check: log in, read the account, compare books, see a quote. Nothing is traded."""

from _desk import main

from trading_system.app.config import Config
from trading_system.app.desk import Desk
from trading_system.domain.ids import BrokerName, InstrumentID


async def story(desk: Desk, config: Config) -> None:
    broker = BrokerName("alpaca")
    account = await desk.refresh_account(broker)
    quote = await desk.hub.fetch(broker, InstrumentID("BTC/USD"))
    print(f"Account {account.account}, {account.environment}; order stream {'live' if desk.ready[broker] else 'not up yet'}; BTC/USD at {quote.mid}.")
    print("✅ All connection tests passed!")
    print("📊 Account Info:")
    print(f"  - Buying Power: ${account.buying_power:,.2f}")
    print(f"  - Cash: ${account.cash:,.2f}")
    print(f"  - Portfolio Value: ${account.equity:,.2f}")


if __name__ == "__main__":
    main(story)
