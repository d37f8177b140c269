"""Events without a desk: an account's orders by its keys, or the orders or activities of all accounts of a firm by the Broker API. Reads only."""

import random
from collections.abc import AsyncIterator, Mapping

from trading_system.brokers.alpaca import auth
from trading_system.brokers.alpaca.events import ORDERS, TOPICS, EventsSession
from trading_system.brokers.alpaca.facts import BROKER_URLS, TOKEN_PATH, URLS
from trading_system.brokers.alpaca.oauth import ADVICE, BearerDialer, Tokens
from trading_system.brokers.alpaca.session import stream_state
from trading_system.domain.event import AccountActivity, AccountEvent
from trading_system.domain.ports import Clock, StreamState
from trading_system.settings.secret import Secret
from trading_system.transport.http import Http
from trading_system.transport.supervise import LinkEvent, Supervisor
from trading_system.transport.websocket import Dialer


class EventsReader:
    """One reader of one topic, resumed for as long as it is read."""

    def __init__(self, session: EventsSession, dialer: Dialer, clock: Clock, rng: random.Random) -> None:
        self._session = session
        self._dialer = dialer
        self._clock = clock
        self._rng = rng

    async def events(self) -> AsyncIterator[AccountEvent | AccountActivity | StreamState]:
        """Raises ProtocolError: an event that cannot be read; call again to go on behind it. AuthFailed: no token is to be had."""
        async for event in Supervisor(self._session, self._dialer, self._clock, self._rng).run():
            if isinstance(event, AccountEvent | AccountActivity):
                yield event
            else:
                assert isinstance(event, LinkEvent)
                yield stream_state(event, self._session.topic.name, self._clock.now_ns())


def account_events(
    *, dialer: Dialer, clock: Clock, rng: random.Random, credentials: Mapping[str, Secret], environment: str, options: Mapping[str, str]
) -> EventsReader:
    """The order events of the one account that the key pair is for. options: since, url of a twin."""
    key, secret = credentials["key"], credentials["secret"]
    host = options.get("url", URLS[environment].trading)
    return EventsReader(EventsSession(ORDERS, host, lambda: auth.key_headers(key, secret), since=options.get("since", "")), dialer, clock, rng)


def firm_events(
    *, http: Http, dialer: Dialer, clock: Clock, rng: random.Random, credentials: Mapping[str, Secret], environment: str, options: Mapping[str, str]
) -> EventsReader:
    """The events of every account of a Broker API firm. credentials: client_id, client_secret. options: topic (orders, activities), since, url of
    a twin."""
    urls = BROKER_URLS[environment]
    tokens = Tokens(
        http=http,
        clock=clock,
        url=options.get("url", urls.oauth) + TOKEN_PATH,
        client_id=credentials["client_id"],
        client_secret=credentials["client_secret"],
    )
    topic = TOPICS[options.get("topic", ORDERS.name)]
    session = EventsSession(topic, options.get("url", urls.api), dict, since=options.get("since", ""), advice=ADVICE)
    return EventsReader(session, BearerDialer(dialer, tokens), clock, rng)
