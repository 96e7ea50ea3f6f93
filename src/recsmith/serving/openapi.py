"""`/openapi.json`, made from the table of routes and the models of their bodies."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from recsmith.serving.bodies import ProblemAnswer
from recsmith.serving.calls import Route
from recsmith.serving.problems import KINDS
from recsmith.serving.routes import ROUTES

_ID = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"^[^\u0000-\u001f\u007f]{1,256}$"}
_HEADERS = {"store-unavailable": "retry-after", "too-many-requests": "retry-after"}


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1 of every route."""
    from recsmith import __version__

    models = {route.body for route in ROUTES if route.body} | {route.answer for route in ROUTES if route.answer} | {ProblemAnswer}
    ordered = sorted(models, key=lambda model: model.__name__)
    kinds = [(model, "validation" if route_body(model) else "serialization") for model in ordered]
    _, definitions = models_json_schema(kinds, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "recsmith",
            "version": __version__,
            "description": "Recommendations from a fitted run, live events, and what a shop needs around them.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def route_body(model: type) -> bool:
    """Whether a model is one that requests are checked with."""
    return any(route.body is model for route in ROUTES)


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": {str(route.status): _answer(route), **_refusals(route)},
        "security": [] if route.role is None else [{"bearer": []}, {"header": []}],
    }
    if route.role is not None:
        operation["description"] = f"Needs a key of role {route.role} or above."
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _reference(route.body)}}}
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": _ID} for name in names]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    schema = route.query.model_json_schema()
    found = []
    for name, field in schema.get("properties", {}).items():
        kept = {key: value for key, value in field.items() if key not in ("title", "description")}
        if "anyOf" in kept:  # a parameter is left out, never null
            chosen = next(choice for choice in kept.pop("anyOf") if choice.get("type") != "null")
            kept = {**chosen, **{key: value for key, value in kept.items() if value is not None}}
        needed = name in schema.get("required", [])
        found.append({"name": name, "in": "query", "required": needed, "description": field.get("description", ""), "schema": kept})
    return found


def _answer(route: Route) -> dict[str, Any]:
    if route.answer is not None:
        return {"description": route.summary, "content": {route.media: {"schema": _reference(route.answer)}}}
    kind = {"type": "object" if route.media == "application/json" else "string"}
    return {"description": route.summary, "content": {route.media: {"schema": kind}}}


def _refusals(route: Route) -> dict[str, Any]:
    kinds = list(route.refusals)
    if route.role is not None:
        kinds += ["no-key", "not-allowed", "too-many-requests", "store-unavailable", "invalid", "bad-request"]
    if route.body is not None:
        kinds += ["bad-json", "not-json", "too-large", "too-slow"]
    by_status: dict[str, list[str]] = {}
    for kind in dict.fromkeys(kinds):
        by_status.setdefault(str(KINDS[kind]), []).append(kind)
    schema = {"application/problem+json": {"schema": _reference(ProblemAnswer)}}
    answers: dict[str, Any] = {}
    for status, names in by_status.items():
        answers[status] = {"description": ", ".join(names), "content": schema}
        headers = {_HEADERS[name] for name in names if name in _HEADERS}
        if headers:
            answers[status]["headers"] = {name: {"schema": {"type": "string"}} for name in headers}
    return answers


def _reference(model: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
