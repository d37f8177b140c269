"""AccountEvent: an execution report with whose it is, for readers that watch more than one account or resume where they were."""

import msgspec

from trading_system.domain.report import ExecutionReport


class AccountEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one order. account, event_id: the broker's own; "" where its stream does not say."""

    account: str = ""
    event_id: str = ""  # a reader can go on behind it
    report: ExecutionReport
