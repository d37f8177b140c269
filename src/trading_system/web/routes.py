"""Every address of the API in one table: what it is for, who may, what goes in and comes out. Server, OpenAPI document and tests are made from it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from trading_system.app.planner import Plan
from trading_system.web import shapes
from trading_system.web.tokens import Scope

EVENT_STREAM = "text/event-stream"
JSON = "application/json"
TEXT = "text/plain"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """verb: of app/verbs.py; empty: the server's own (server.py has a method of that name). intent: the Idempotency-Key is the order's intent, so
    that doing it again after a crash does no harm. scope None: no token is asked for."""

    method: str
    path: str
    name: str
    summary: str
    answer: Any
    scope: Scope | None
    verb: str = ""
    query: type[shapes.Query] | None = None
    body: type[shapes.Body] | None = None
    in_path: str = ""
    fixed: Mapping[str, object] = {}
    word: str = ""  # what the field confirm has to say
    intent: bool = False
    media: str = JSON

    @property
    def writes(self) -> bool:
        """Whether it needs an Idempotency-Key."""
        return self.method != "GET" and self.scope is not None and not self.name.endswith("_session")


def _get(path: str, verb: str, summary: str, answer: Any, query: type[shapes.Query] | None = None) -> Route:
    return Route(method="GET", path=path, name=verb, summary=summary, answer=answer, scope=Scope.READ, verb=verb, query=query)


def _own(path: str, name: str, summary: str, answer: Any, query: type[shapes.Query] | None = None, media: str = JSON) -> Route:
    return Route(method="GET", path=path, name=name, summary=summary, answer=answer, scope=Scope.READ, query=query, media=media)


ROUTES: tuple[Route, ...] = (
    _get("/v1/status", "status", "What the desk is, without asking any broker.", shapes.Status),
    _get("/v1/brokers", "brokers", "The brokers of this desk, and whether each is ready for new risk.", list[shapes.Broker]),
    _get("/v1/accounts", "account", "Every account, fresh from its broker.", shapes.Accounts, shapes.OfBroker),
    _get("/v1/portfolio", "portfolio", "One book over all accounts in one currency.", shapes.Portfolio),
    _get("/v1/positions", "positions", "What is held, fresh from the brokers.", list[shapes.Position], shapes.OfBroker),
    _get("/v1/orders", "orders", "Working orders, or every one that this journal knows.", list[shapes.Order], shapes.OfOrders),
    _get("/v1/fills", "fills", "Every execution that this journal knows.", list[shapes.Fill], shapes.OfBroker),
    _get("/v1/decisions", "why", "What became of strategies' wishes, and why.", list[shapes.Decision], shapes.OfDecisions),
    _get("/v1/risk", "limits", "Risk figures, halts, and how far each limit is used.", shapes.RiskAndLimits),
    _get("/v1/alerts", "alerts", "What nobody has acknowledged yet.", list[shapes.Alert]),
    _get("/v1/quote", "quote", "Best bid and offer.", shapes.Quote, shapes.OfInstrument),
    _get("/v1/book", "book", "The best levels of an order book, where the broker has one.", shapes.DepthBook, shapes.OfBook),
    _get("/v1/bars", "bars", "Price history.", list[shapes.Bar], shapes.OfBars),
    _get("/v1/chain", "chain", "The options on an instrument.", shapes.Chain, shapes.OfChain),
    _own("/v1/equity", "equity", "What all accounts together were worth, a point a minute.", list[shapes.EquityPoint], shapes.OfEquity),
    _own("/v1/plan", "plan", "The odds of the goal: closed forms, and simulated paths under the limits.", Plan, shapes.OfPlan),
    _own("/v1/strategies", "strategies", "The strategies that run here.", list[shapes.Strategy]),
    _own("/v1/events", "events", "Every journaled event from Last-Event-ID or `after` on; its id is its number.", str, shapes.OfEvents, EVENT_STREAM),
    _own("/v1/stream", "stream", "Quotes and trades, conflated for who is slow.", str, shapes.OfStream, EVENT_STREAM),
    _own("/v1/session", "session", "Who is asking, and what that token may.", shapes.Session),
    _own("/metrics", "metrics", "Prometheus' text format.", str, None, TEXT),
    Route(
        method="POST",
        path="/v1/orders",
        name="submit",
        summary="Place an order, once.",
        answer=shapes.Order,
        scope=Scope.TRADE,
        verb="submit",
        body=shapes.PlaceOrder,
        intent=True,
    ),
    Route(
        method="POST",
        path="/v1/spreads",
        name="spread",
        summary="Place a multileg order, once.",
        answer=shapes.Order,
        scope=Scope.TRADE,
        verb="spread",
        body=shapes.PlaceSpread,
        intent=True,
    ),
    Route(
        method="PATCH",
        path="/v1/orders/{cl_ord_id}",
        name="replace",
        summary="Change a working order.",
        answer=shapes.Order,
        scope=Scope.TRADE,
        verb="replace",
        body=shapes.ChangeOrder,
        in_path="cl_ord_id",
        intent=True,
    ),
    Route(
        method="DELETE",
        path="/v1/orders/{cl_ord_id}",
        name="cancel",
        summary="Cancel one order.",
        answer=list[shapes.Order],
        scope=Scope.TRADE,
        verb="cancel",
        in_path="cl_ord_id",
    ),
    Route(
        method="POST",
        path="/v1/orders/{cl_ord_id}/resolve",
        name="resolve",
        summary="Close an order in doubt that a person looked for at the broker, and that is not there.",
        answer=shapes.Order,
        scope=Scope.ARM,
        verb="resolve",
        body=shapes.Absent,
        in_path="cl_ord_id",
        word="absent",
    ),
    Route(
        method="POST",
        path="/v1/cancel-all",
        name="cancel_all",
        summary="Cancel every order.",
        answer=list[shapes.Order],
        scope=Scope.TRADE,
        verb="cancel",
        body=shapes.AtBroker,
        fixed={"all": True},
    ),
    Route(
        method="POST",
        path="/v1/flatten",
        name="flatten",
        summary="Cancel everything, close everything, say what is left.",
        answer=shapes.Flattened,
        scope=Scope.TRADE,
        verb="flatten",
        body=shapes.Flatten,
        word="flatten",
    ),
    Route(
        method="POST",
        path="/v1/halt",
        name="halt",
        summary="Stop taking risk, now; exits still pass.",
        answer=shapes.Halt,
        scope=Scope.HALT,
        verb="halt",
        body=shapes.SetHalt,
    ),
    Route(
        method="POST",
        path="/v1/resume",
        name="resume",
        summary="Clear halts.",
        answer=shapes.Risk,
        scope=Scope.ARM,
        verb="resume",
        body=shapes.ClearHalts,
        word="resume",
    ),
    Route(
        method="POST",
        path="/v1/arm",
        name="arm",
        summary="Let live orders out, up to an amount, until a time.",
        answer=shapes.Armed,
        scope=Scope.ARM,
        verb="arm",
        body=shapes.ArmLive,
    ),
    Route(
        method="POST",
        path="/v1/alerts",
        name="acknowledge",
        summary="Say that a person has seen an alert.",
        answer=list[shapes.Alert],
        scope=Scope.HALT,
        verb="acknowledge",
        body=shapes.Acknowledge,
    ),
    Route(
        method="POST",
        path="/v1/session",
        name="open_session",
        summary="Log a browser in: a token for a cookie.",
        answer=shapes.Session,
        scope=None,
        body=shapes.Login,
    ),
    Route(
        method="DELETE",
        path="/v1/session",
        name="close_session",
        summary="Log this browser out.",
        answer=shapes.Session,
        scope=Scope.READ,
    ),
    Route(
        method="GET",
        path="/healthz",
        name="healthz",
        summary="That this process answers.",
        answer=str,
        scope=None,
        media=TEXT,
    ),
    Route(method="GET", path="/openapi.json", name="openapi", summary="This document.", answer=dict[str, Any], scope=Scope.READ),
)
