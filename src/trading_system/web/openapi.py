"""The OpenAPI 3.1 document, made of the table of routes and of the types behind it."""

import re
from typing import Any

import msgspec

from trading_system import __version__
from trading_system.web import shapes
from trading_system.web.routes import JSON, ROUTES, Route

_AT = "#/components/schemas/{name}"
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "The same key and body give the stored answer; another body gives 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[!-~]+$"},
}
# What each status means here, whatever the route.
_STATUSES = {
    "400": "What was asked makes no sense as it stands; nothing was done.",
    "401": "No token, or one that is not valid (any more).",
    "403": "This token may not do that, or the page that asks is not this desk's.",
    "409": "The Idempotency-Key stands for another request, or for one that the end of the desk cut off; or it was stopped at the last hop.",
    "413": "The body is too long.",
    "415": "The body is not JSON.",
    "422": "The desk's limits or the broker said no.",
    "429": "Too many tokens that are not valid, or the broker's request budget is spent: Retry-After says how long to wait.",
    "502": "The broker does not let this key in, or said what cannot be read.",
    "503": "The broker or the disk cannot be reached; nothing was sent.",
    "504": "Sent, and not answered: it may have been done. Look before anything is asked again.",
}
_ANY = ("400", "401", "403", "429", "503")
_OF_WRITES = ("409", "413", "415", "422", "502", "504")


def document() -> dict[str, Any]:
    """The same for the same version: whoever generates a client can compare."""
    kinds = [kind for route in ROUTES for kind in (route.answer, route.body, route.query, shapes.Failed) if kind is not None]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_AT)
    by_kind = dict(zip(map(repr, kinds), schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_kind, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "trading_system", "version": __version__, "description": "One desk over HTTP. docs/HTTP_API.md explains it."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`trading token add NAME --scope read`"},
                "browser": {"type": "apiKey", "in": "cookie", "name": "trading_session_8765", "description": "Its port is the desk's."},
            },
        },
    }


def _operation(route: Route, by_kind: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    parameters = [{"name": name, "in": "path", "required": True, "schema": _ID} for name in re.findall(r"\{(\w+)\}", route.path)]
    if route.query is not None:
        query = components[route.query.__name__]
        required = query.get("required", [])
        parameters += [{"name": name, "in": "query", "required": name in required, "schema": kind} for name, kind in query["properties"].items()]
    if route.writes:
        parameters.append(_KEY)
    answers = {"200": {"description": "Done.", "content": {route.media: {"schema": _schema(route, by_kind)}}}}
    if route.intent:
        answers["202"] = {
            "description": "In doubt: sent, not yet answered; the desk asks what became of it.",
            "content": answers["200"]["content"],
        }
    failed = {JSON: {"schema": by_kind[repr(shapes.Failed)]}}
    for status in (*_ANY, *(_OF_WRITES if route.method != "GET" else ("502",))):
        answers[status] = {"description": _STATUSES[status], "content": failed}
    operation: dict[str, Any] = {"operationId": route.name, "summary": route.summary, "parameters": parameters, "responses": answers}
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": by_kind[repr(route.body)]}}}
    if route.scope is not None:
        operation["description"] = f"Scope: {route.scope}."
        operation["security"] = [{"token": []}, {"browser": []}]
    return operation


def _schema(route: Route, by_kind: dict[str, Any]) -> Any:
    return {"type": "string"} if route.media != JSON else by_kind[repr(route.answer)]


_ID = {"type": "string", "minLength": 1, "maxLength": 64}
