"""What systemd wants to hear of a service (sd_notify(3)): that it is ready, that it lives, that it stops. Nothing where nobody listens."""

import asyncio
import os
import socket
from contextlib import suppress


def notify(text: str) -> bool:
    """READY=1, STATUS=…, WATCHDOG=1, STOPPING=1; whether anybody took it."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return False
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.sendto(text.encode(), "\0" + path[1:] if path.startswith("@") else path)
        return True
    return False


async def feed_watchdog() -> None:
    """Say that this loop runs, twice in each of systemd's periods: a desk that hangs is started anew, and recovers from its journal."""
    period_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000
    while period_s:
        notify("WATCHDOG=1")
        await asyncio.sleep(period_s / 2)
