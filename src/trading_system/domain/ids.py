"""Names of things: one NewType each, so that one kind of id never stands where another belongs."""

import base64
import hashlib
import re
from functools import lru_cache
from typing import NewType

ClOrdID = NewType("ClOrdID", str)  # FIX 11: ours, or whatever a foreign order's sender called it ("" when nobody did)
OrderID = NewType("OrderID", str)  # FIX 37: the broker's
ExecID = NewType("ExecID", str)  # FIX 17: the broker's name of one execution
BrokerName = NewType("BrokerName", str)  # "alpaca": the folder's name; "alpaca-ira": a profile of it
InstrumentID = NewType("InstrumentID", str)  # "AAPL", "BTC/USD": ours, the same at every broker
IntentID = NewType("IntentID", str)  # the caller's key of one wish; the same key never becomes two orders

_PREFIX = "q1"  # the id format's version; also how the desk knows its own orders at a broker
_OURS = re.compile(r"q1[a-z2-7]{16}")
_INTENT = re.compile(r"[!-~]{1,80}")
_INSTRUMENT = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,30}(/[A-Z0-9]{2,12})?")


@lru_cache(maxsize=1_024)  # asked for five times on the way of an order
def derive_cl_ord_id(account: str, environment: str, intent: IntentID) -> ClOrdID:
    """The 18 characters an intent is known by at every broker, the same after every restart.

    >>> derive_cl_ord_id("PA1", "paper", IntentID("k1"))
    'q1azojfk4at2kxdvnl'
    """
    digest = hashlib.blake2b("\0".join((account, environment, intent)).encode(), digest_size=10).digest()
    return ClOrdID(_PREFIX + base64.b32encode(digest).decode().lower())


def is_ours(cl_ord_id: str) -> bool:
    """Whether an id found at a broker has the form this desk gives its orders."""
    return _OURS.fullmatch(cl_ord_id) is not None


def parse_intent(text: str) -> IntentID:
    """Raises ValueError with what is allowed; the caller shows it."""
    if not _INTENT.fullmatch(text):
        raise ValueError("an intent key is 1 to 80 printable characters without spaces")
    return IntentID(text)


def parse_instrument(text: str) -> InstrumentID:
    """Our spelling of an instrument: AAPL, BRK.B, BTC/USD. Raises ValueError with what is allowed."""
    if not _INSTRUMENT.fullmatch(text):
        raise ValueError(f"{text!r} is no instrument: write AAPL for a stock, BTC/USD for crypto, EUR/USD for forex")
    return InstrumentID(text)
