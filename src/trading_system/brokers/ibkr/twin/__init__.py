"""Interactive Brokers' side of the wire, on a simulated market: a TWS with one account, that clients reach by its socket.

Sans-IO: sim/host.py gives it a socket, sim/network.py virtual time. It reads wire.py and facts.py and none of the connector, so that a shared
misreading cannot pass the tests.
"""

from trading_system.brokers.ibkr.twin.tws import TwsTwin
from trading_system.brokers.ibkr.twin.universe import universe

__all__ = ["TWIN", "TwsTwin", "universe"]

TWIN = TwsTwin
