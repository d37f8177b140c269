"""OAuth2 and the Broker API's events: one token, kept and renewed early, refusals that say what to do, and a firm's events through it."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import pytest

from tests.subjects import ALPACA
from trading_system.brokers.alpaca import watch
from trading_system.brokers.alpaca.oauth import Tokens
from trading_system.domain.errors import AuthFailed, ProtocolError, Unavailable
from trading_system.domain.event import AccountEvent
from trading_system.domain.ports import Link, StreamState
from trading_system.settings.secret import Secret, live_values
from trading_system.sim.clock import SECOND_NS, VirtualClock, run_virtual
from trading_system.sim.network import Faults, SimNetwork
from trading_system.transport.message import Request, Response

LIFE_S = 900
_T = TypeVar("_T")


class Firm:
    """A twin, a network, and a firm's client; `form` is what a token request looked like."""

    def __init__(self, clock: VirtualClock, secret: str | None) -> None:
        self.clock = clock
        self.twin = ALPACA.make()
        self.network = SimNetwork({"twin": self.twin}, clock, random.Random(5), Faults(enabled=False))
        self.credentials = {"client_id": Secret(self.twin.broker.client_id), "client_secret": Secret(secret or self.twin.broker.client_secret)}
        self.answers: Callable[[Response], Response] = lambda response: response
        self.asked: list[Request] = []
        self.tokens = Tokens(http=self, clock=clock, url="http://twin/v1/oauth2/token", **self.credentials)

    async def send(self, request: Request, *, within_ns: int) -> Response:
        self.asked.append(request)
        return self.answers(await self.network.http().send(request, within_ns=within_ns))

    async def aclose(self) -> None: ...

    async def order(self) -> None:
        twin = self.twin
        body = b'{"symbol":"AAPL","side":"buy","qty":"1","type":"market","time_in_force":"day"}'
        headers = {"APCA-API-KEY-ID": twin.key, "APCA-API-SECRET-KEY": twin.secret}
        await self.network.http().send(Request(method="POST", url="http://twin/v2/orders", headers=headers, body=body), within_ns=SECOND_NS)

    def reader(self, **options: str) -> Any:
        return watch(
            http=self,
            dialer=self.network.dialer(),
            clock=self.clock,
            rng=random.Random(1),
            credentials=self.credentials,
            environment="paper",
            options={"url": "http://twin", **options},
        )


def at_a_firm(story: Callable[[Firm], Awaitable[_T]], secret: str | None = None) -> _T:
    async def main(clock: VirtualClock) -> _T:
        firm = Firm(clock, secret)
        carrier = asyncio.create_task(firm.network.run())
        try:
            return await story(firm)
        finally:
            carrier.cancel()

    return run_virtual(main)


# -- tokens ----------------------------------------------------------------------------------------------------------------------------------------


def test_many_callers_share_one_token_and_one_request() -> None:
    async def story(firm: Firm) -> None:
        found = await asyncio.gather(*(firm.tokens.token() for _ in range(50)))
        again = await firm.tokens.token()

        assert {token.fingerprint() for token in (*found, again)} == {again.fingerprint()}
        assert firm.twin.broker.issued == 1
        assert firm.asked[0].headers == {"Content-Type": "application/x-www-form-urlencoded"}
        assert firm.asked[0].body.startswith(b"grant_type=client_credentials&client_id=CK")
        assert firm.asked[0].url.partition("?")[1] == ""

    at_a_firm(story)


def test_a_token_is_renewed_before_it_ends_and_the_old_one_forgotten() -> None:
    async def story(firm: Firm) -> None:
        first = await firm.tokens.token()
        await asyncio.sleep(0.8 * LIFE_S - 2)
        assert await firm.tokens.token() == first
        await asyncio.sleep(3)
        second = await firm.tokens.token()

        assert second != first
        assert firm.twin.broker.issued == 2
        assert second.reveal() in live_values()
        assert first.reveal() not in live_values()

    at_a_firm(story)


def test_a_renewal_that_fails_leaves_the_old_token_until_it_ends() -> None:
    async def story(firm: Firm) -> None:
        first = await firm.tokens.token()
        firm.network.faults = Faults(refused=1.0)
        await asyncio.sleep(0.8 * LIFE_S + 1)
        for _ in range(100):
            assert await firm.tokens.token() == first
            await asyncio.sleep(1)
        assert len(firm.asked) <= 12  # tried again every ten seconds, not at every call

        await asyncio.sleep(LIFE_S)
        with pytest.raises(Unavailable, match="could not be asked for a token"):
            await firm.tokens.token()
        firm.network.faults = Faults(enabled=False)
        assert await firm.tokens.token() != first

    at_a_firm(story)


def test_a_wrong_secret_says_what_to_do_and_shows_nothing() -> None:
    async def story(firm: Firm) -> None:
        with pytest.raises(AuthFailed) as caught:
            await firm.tokens.token()

        assert "HTTP 401, invalid_client: client authentication failed" in str(caught.value)
        assert "ALPACA_OAUTH_CLIENT_ID and ALPACA_OAUTH_CLIENT_SECRET" in str(caught.value)
        assert "not-the-secret" not in str(caught.value)
        assert "not-the-secret" not in repr(firm.tokens) + repr(firm.asked[0])

    at_a_firm(story, secret="not-the-secret")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, b"<html>", Unavailable),
        (429, b"{}", Unavailable),
        (400, b"<html>hidden-token</html>", AuthFailed),
        (403, b'{"message":"forbidden."}', AuthFailed),
        (200, b"hidden-token", ProtocolError),
        (200, b'{"access_token":"hidden-token"}', ProtocolError),
        (200, b'{"access_token":"hidden-token","expires_in":0}', ProtocolError),
        (200, b'{"access_token":"hidden-token","expires_in":900,"token_type":"mac"}', ProtocolError),
        (200, b'{"access_token":"","expires_in":900}', ProtocolError),
        (200, b'{"access_token":"hidden-token","access_token":"other","expires_in":900}', ProtocolError),
    ],
)
def test_no_answer_is_taken_for_a_token_that_is_none_and_none_is_shown(status: int, body: bytes, kind: type[Exception]) -> None:
    async def story(firm: Firm) -> None:
        firm.answers = lambda _: Response(status=status, headers={}, body=body)
        with pytest.raises(kind) as caught:
            await firm.tokens.token()

        assert "hidden-token" not in str(caught.value)

    at_a_firm(story)


# -- a firm's events ---------------------------------------------------------------------------------------------------------------------------------


async def follow(firm: Firm, seen: list[AccountEvent | StreamState], **options: str) -> None:
    async for event in firm.reader(**options).events():
        seen.append(event)


def told(seen: list[AccountEvent | StreamState]) -> list[str]:
    return [event.event_id for event in seen if isinstance(event, AccountEvent)]


def links(seen: list[AccountEvent | StreamState]) -> list[Link]:
    return [event.link for event in seen if isinstance(event, StreamState)]


def test_a_day_of_drops_needs_a_token_every_twelve_minutes_and_loses_nothing() -> None:
    async def story(firm: Firm) -> None:
        seen: list[AccountEvent | StreamState] = []
        await firm.order()
        await asyncio.sleep(5)
        task = asyncio.create_task(follow(firm, seen, since="2026-01-01"))
        for _ in range(24 * 12):
            await asyncio.sleep(300)
            firm.network.drop_all()
            await firm.order()
        await asyncio.sleep(120)
        task.cancel()

        assert told(seen) == [entry.event_id for entry in firm.twin.order_events.log]
        assert len({event.account for event in seen if isinstance(event, AccountEvent)}) == 1
        assert links(seen).count(Link.LIVE) > 250
        assert firm.twin.broker.issued == len(firm.asked) <= 24 * 5 + 1

    at_a_firm(story)


def test_a_revoked_token_is_replaced_at_once() -> None:
    async def story(firm: Firm) -> None:
        seen: list[AccountEvent | StreamState] = []
        task = asyncio.create_task(follow(firm, seen))
        await asyncio.sleep(1)
        firm.twin.broker.revoke_all()
        firm.network.drop_all()
        await asyncio.sleep(10)
        task.cancel()

        assert links(seen) == [Link.LIVE, Link.GAP, Link.LIVE]
        assert firm.twin.broker.issued == 2

    at_a_firm(story)


def test_a_client_that_is_refused_ends_the_reading_with_its_advice() -> None:
    async def story(firm: Firm) -> None:
        with pytest.raises(AuthFailed, match="ALPACA_OAUTH_CLIENT_SECRET"):
            await follow(firm, [])

    at_a_firm(story, secret="not-the-secret")


def test_a_firm_whose_token_does_not_reach_the_stream_is_told_and_not_tried_again() -> None:
    async def story(firm: Firm) -> None:
        def worthless(response: Response) -> Response:
            firm.twin.broker.revoke_all()
            return response

        firm.answers = worthless
        seen: list[AccountEvent | StreamState] = []
        await follow(firm, seen)

        assert links(seen) == [Link.REFUSED]
        assert "ALPACA_OAUTH_CLIENT_SECRET" in getattr(seen[0], "text", "")
        assert len(firm.asked) == 2

    at_a_firm(story)


def test_while_no_token_can_be_had_the_reader_waits_and_says_so() -> None:
    async def story(firm: Firm) -> None:
        seen: list[AccountEvent | StreamState] = []
        firm.answers = lambda _: Response(status=503, headers={}, body=b"")
        task = asyncio.create_task(follow(firm, seen))
        await asyncio.sleep(60)
        firm.answers = lambda response: response
        await asyncio.sleep(120)
        task.cancel()

        assert set(links(seen)[:-1]) == {Link.GAP}
        assert links(seen)[-1] is Link.LIVE

    at_a_firm(story)


def test_an_accounts_own_keys_read_its_events_too() -> None:
    async def story(firm: Firm) -> None:
        keys: Mapping[str, Secret] = ALPACA.credentials(firm.twin)
        firm.credentials = dict(keys)
        seen: list[AccountEvent | StreamState] = []
        task = asyncio.create_task(follow(firm, seen))
        await asyncio.sleep(1)
        await firm.order()
        await asyncio.sleep(5)
        task.cancel()

        assert told(seen) == [entry.event_id for entry in firm.twin.order_events.log] != []
        assert firm.asked == []

    at_a_firm(story)
