"""The newest bars that there are. Brokers take a time from and to; how much of it a market was open, nobody knows before they have answered."""

from trading_system.domain.errors import BadRequest
from trading_system.domain.instrument import AssetClass, Instrument
from trading_system.domain.market import Bar
from trading_system.domain.ports import MarketData
from trading_system.domain.signal import DAY_NS

ASKS_MAX = 3  # for one answer: each may be several pages
_AGAIN = 4  # times as far as the markets' hours call for: of what is seldom traded there are few bars in them
_DAYS_ALONE = frozenset({AssetClass.FOREX, AssetClass.LISTED_FUTURE})  # closed at weekends, and hardly at night


async def newest_bars(source: MarketData, instrument: Instrument, period_ns: int, count: int, end_ns: int) -> list[Bar]:
    """The last `count` before end_ns, oldest first; fewer where there are no more, or none that ASKS_MAX questions reach. Each goes back from where
    the one before began, by what is still missing.

    Raises: as MarketData. What a broker refuses only because it is long ago is not there.
    """
    until_ns, start_ns = end_ns, max(0, end_ns - end_ns % period_ns - count * period_ns)  # of a market that never rests, all of them and no other
    found: dict[int, Bar] = {}
    for ask in range(ASKS_MAX):
        try:
            more = await source.bars(instrument.id, period_ns, start_ns, until_ns)
        except BadRequest:
            if not ask:
                raise
            break
        found |= {bar.open_ns: bar for bar in more}
        if len(found) >= count or not start_ns or (ask and not more):
            break
        reach_ns = reach(instrument.asset_class, period_ns, count - len(found))
        until_ns, start_ns = start_ns, max(0, start_ns - reach_ns * (_AGAIN if ask else 1))
    return [found[open_ns] for open_ns in sorted(found)[-count:]]


def reach(asset_class: AssetClass, period_ns: int, count: int) -> int:
    """How far back so many bars may lie: nights, weekends and holidays make it longer, and four days are the longest that markets rest at once.
    Coins are always traded, if not all in each minute."""
    if asset_class.is_crypto:
        return (_AGAIN * count + 10) * period_ns
    if period_ns >= DAY_NS or asset_class in _DAYS_ALONE:
        return 3 * count * period_ns // 2 + 4 * DAY_NS  # 252 days of 365, 120 hours of 168
    return 6 * count * period_ns + 4 * DAY_NS  # 6.5 hours of 24, five days of seven
