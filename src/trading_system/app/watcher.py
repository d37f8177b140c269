"""Events of orders and accounts without a desk: what happens at the broker, to look at. Reads only, takes no lease, keeps nothing."""

from collections.abc import AsyncIterator, Callable

from trading_system.app.views import View
from trading_system.domain.errors import AuthFailed, ProtocolError
from trading_system.domain.event import AccountActivity, AccountEvent
from trading_system.domain.ids import BrokerName
from trading_system.domain.money import plain
from trading_system.domain.ports import Clock, Link, StreamState
from trading_system.domain.report import ExecutionReport

PAUSE_NS = 1_000_000_000  # after an event that cannot be read
Seen = AccountEvent | AccountActivity | StreamState


async def follow(broker: BrokerName, topic: str, events: Callable[[], AsyncIterator[object]], clock: Clock) -> AsyncIterator[Seen]:
    """Everything a stream says, for as long as somebody reads. An event that cannot be read is told and passed.

    Raises: AuthFailed: the broker will not have us.
    """
    while True:
        try:
            async for event in events():
                if isinstance(event, ExecutionReport):
                    yield AccountEvent(report=event)
                elif isinstance(event, Seen):
                    yield event
                if isinstance(event, StreamState) and event.link is Link.REFUSED:
                    raise AuthFailed(event.text)
        except ProtocolError as error:
            yield StreamState(broker=broker, stream=topic, link=Link.GAP, text=str(error), recv_ns=clock.now_ns())
        await clock.sleep_ns(PAUSE_NS)


def event_view(event: AccountEvent) -> View:
    report = event.report
    executed = report.exec_id is not None
    return {
        "broker": report.broker,
        "account": event.account,
        "event_id": event.event_id,
        "exec_type": report.exec_type.value,
        "ord_status": report.ord_status.value,
        "cl_ord_id": report.cl_ord_id,
        "order_id": report.order_id,
        "instrument": report.instrument,
        "side": report.side.value,
        "ord_type": report.ord_type.value,
        "order_qty": None if report.order_qty is None else plain(report.order_qty),
        "cash_order_qty": None if report.cash_order_qty is None else plain(report.cash_order_qty),
        "price": None if report.price is None else plain(report.price),
        "stop_px": None if report.stop_px is None else plain(report.stop_px),
        "cum_qty": None if report.cum_qty is None else plain(report.cum_qty),
        "exec_id": report.exec_id,
        "exec_ref_id": report.exec_ref_id,
        "last_qty": plain(report.last_qty) if executed else None,
        "last_px": plain(report.last_px) if executed else None,
        "transact_ns": report.transact_ns,
        "recv_ns": report.recv_ns,
    }


def activity_view(activity: AccountActivity) -> View:
    return {
        "broker": activity.broker,
        "account": activity.account,
        "event_id": activity.event_id,
        "activity_type": activity.activity_type,
        "activity_subtype": activity.activity_subtype,
        "status": activity.status,
        "ref_id": activity.ref_id,
        "previous_id": activity.previous_id,
        "instrument": activity.instrument,
        "exec_type": None if activity.exec_type is None else activity.exec_type.value,
        "ord_status": None if activity.ord_status is None else activity.ord_status.value,
        "cl_ord_id": activity.cl_ord_id,
        "order_id": activity.order_id,
        "side": None if activity.side is None else activity.side.value,
        "qty": None if activity.qty is None else plain(activity.qty),
        "price": None if activity.price is None else plain(activity.price),
        "amount": None if activity.amount is None else plain(activity.amount),
        "currency": activity.currency,
        "settle_date": activity.settle_date.isoformat(),
        "text": activity.text,
        "transact_ns": activity.transact_ns,
        "recv_ns": activity.recv_ns,
    }


def stream_view(state: StreamState) -> View:
    return {"name": state.stream, "link": state.link.value, "text": state.text, "recv_ns": state.recv_ns}
