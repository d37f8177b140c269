"""A market in a box: seeded prices, a matching engine, accounts, faults, and what serves a broker's twin. Nothing here is used in live trading."""
