"""Interactive Brokers by the socket of TWS or IB Gateway."""
