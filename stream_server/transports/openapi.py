"""What the HTTP surfaces take and give, for machines (`/openapi.json`) and for people (`/docs`).

Every surface lists its operations; the document is assembled from them and from the schemas of their bodies.  The page
is one file without anything from elsewhere, and reads the document like any other client.
"""

import re
from collections.abc import Collection, Iterable, Mapping
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
    form: Mapping[str, Any] | None = None  # the schema of its body as a form, instead of `asks` or beside it
    status: int = 200
    when: str = "as it is spoken"  # its answer comes


def sound_of(codecs: Iterable[str]) -> dict[str, Any]:
    """The answers of an operation that speaks."""
    return {CODECS[codec].media_type: {"type": "string", "format": "binary"} for codec in codecs}


def form_of(texts: Iterable[str], files: Iterable[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """The schema of a form with these fields."""
    fields = {name: {"type": "string"} for name in texts}
    fields |= {name: {"type": "string", "format": "binary"} for name in files}
    return {"type": "object", "required": [name for name in fields if name not in optional], "properties": fields}


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
    answer = {"description": operation.when if operation.asks or operation.form else "at once"}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "responses": {str(operation.status): answer | ({"content": answers} if answers else {})},
    }
    if parameters := [*_in_path(operation.path), *_in_query(operation.query)]:
        described["parameters"] = parameters
    bodies: dict[str, Any] = {}
    if operation.form:
        bodies["multipart/form-data"] = {"schema": operation.form}
    if operation.asks:
        bodies["application/json"] = {"schema": forms[operation.asks], "example": operation.example or {}}
    if bodies:
        needed = not operation.asks or any(each.is_required() for each in operation.asks.model_fields.values())
        described["requestBody"] = {"required": needed, "content": bodies}
    if operation.refuses:
        body = {"application/json": {"schema": forms[operation.refuses]}}
        described["responses"]["default"] = {"description": "what is wrong", "content": body}
    return described


def _in_path(path: str) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _in_query(query: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]
