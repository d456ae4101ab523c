"""What the HTTP surfaces take and give, for machines (`/openapi.json`) and for people (`/docs`).

Every surface lists its operations; the document is assembled from them and from the schemas of their bodies.  The page
is one file without anything from elsewhere, and reads the document like any other client.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from stream_server.audio.format import CODECS

PAGE = Path(__file__).with_name("docs.html")
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; media-src blob:"
)
WHERE = "#/components/schemas/{model}"
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "xi_api_key": {"type": "apiKey", "in": "header", "name": "xi-api-key"},
    "x_api_key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    summary: str
    asks: type[BaseModel] | None = None  # its body
    example: Mapping[str, Any] | None = None  # of its body
    query: Mapping[str, Any] = field(default_factory=dict)  # parameter → its schema
    answers: Mapping[str, Any] = field(default_factory=lambda: {"application/json": {"type": "object"}})
    refuses: type[BaseModel] | None = None  # the form of its errors
    when: str = "as it is spoken"  # its answer comes


def sound_of(codecs: Iterable[str]) -> dict[str, Any]:
    """The answers of an operation that speaks."""
    return {CODECS[codec].media_type: {"type": "string", "format": "binary"} for codec in codecs}


def routes(operations: Iterable[Operation]) -> list[BaseRoute]:
    told = document(operations)
    page = PAGE.read_text(encoding="utf-8")

    async def openapi(request: Request) -> Response:
        return JSONResponse(told)

    async def docs(request: Request) -> Response:
        return HTMLResponse(page, headers={"content-security-policy": POLICY})

    return [Route("/openapi.json", openapi), Route("/docs", docs)]


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """OpenAPI 3.1."""
    operations = tuple(operations)
    bodies = dict.fromkeys(model for operation in operations for model in (operation.asks, operation.refuses) if model)
    named, schemas = models_json_schema([(model, "validation") for model in bodies], ref_template=WHERE)
    forms = {model: schema for (model, _), schema in named.items()}
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, forms)
    return {
        "openapi": "3.1.0",
        "info": {"title": "stream-server", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas["$defs"], "securitySchemes": SCHEMES},
        "security": [{}, *({name: []} for name in SCHEMES)],
    }


def _described(operation: Operation, forms: Mapping[Any, Any]) -> dict[str, Any]:
    answers = {media_type: {"schema": schema} for media_type, schema in operation.answers.items()}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "responses": {"200": {"description": operation.when if operation.asks else "at once", "content": answers}},
    }
    if parameters := [*_in_path(operation.path), *_in_query(operation.query)]:
        described["parameters"] = parameters
    if operation.asks:
        body = {"schema": forms[operation.asks], "example": operation.example or {}}
        needed = any(each.is_required() for each in operation.asks.model_fields.values())
        described["requestBody"] = {"required": needed, "content": {"application/json": body}}
    if operation.refuses:
        body = {"application/json": {"schema": forms[operation.refuses]}}
        described["responses"]["default"] = {"description": "what is wrong", "content": body}
    return described


def _in_path(path: str) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _in_query(query: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]
