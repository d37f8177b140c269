"""The fastest check: log in, read the account, compare books, see a quote. Nothing is traded.

python examples/quick_connection_test.py [--broker NAME]
"""

from _desk import BROKER, main, sample

from trading_system.app.config import Config
from trading_system.app.desk import Desk


async def story(desk: Desk, config: Config) -> None:
    account, (traded, _) = await desk.refresh_account(BROKER), await sample(desk)
    quote, stream = await desk.hub.fetch(BROKER, traded.id), "live" if desk.ready[BROKER] else "not up yet"
    print(f"Account {account.account}, {account.environment}; order stream {stream}; {traded.id} at {quote.mid}.")
    print("✅ All connection tests passed!")
    print("📊 Account Info:")
    print(f"  - Buying Power: ${account.buying_power:,.2f}")
    print(f"  - Cash: ${account.cash:,.2f}")
    print(f"  - Portfolio Value: ${account.equity:,.2f}")


if __name__ == "__main__":
    main(story)
