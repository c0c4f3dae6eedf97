"""The API's description: OpenAPI 3.1 at /docs/openapi.json, and a page for people at /docs without any CDN."""

from pathlib import Path
from typing import Any

import msgspec
from litestar import Request, Response, Router, get
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Tag
from litestar.params import FromPath
from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]

import bestex
from bestex.api.place import EXECUTE
from bestex.api.schemas import AMOUNTS, PlaceOrder

_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}

_DESCRIPTION = """\
Best execution of market orders over Raydium and Meteora.

**Amounts** are decimal strings in token units (`amountIn`, `amountOut`) or strings of base units (`inAmount`,
`outAmount`). **Errors** are RFC 9457 problems with a stable `code`, `retryable` and `moneyMoved`; `GET /api/problems`
lists them.

### WebSocket

`GET /api/orders/execute?orderId={id}` with an upgrade, on any connection, also the one that carried the POST; or
`GET /api/orders/{id}/ws`. `fromSeq=n` (default 1) resumes. Every event is one text frame of JSON:
`{"event", "orderId", "seq", "status", "at", ...}` with `seq` from 1 without gaps. Clients send nothing.

| close code | meaning |
|---|---|
| 1000 | the order has ended: `order confirmed`, `order failed`, `order canceled`, `order expired` |
| 1008 | the client sent too many messages |
| 1011 | a fault of the server, or the client answered no ping; resume |
| 1012 | the server stops; resume |
| 1013 | slow consumer, or the store does not answer; resume with the `fromSeq` in the reason |
| 4400 | `orderId` is missing, or the query is malformed |
| 4404 | no such order |
"""

# The bundled Swagger UI knows OpenAPI 3.0 only: the page writes what we use of 3.1 in the words of 3.0.
_PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Bestex API</title>
<link rel="icon" type="image/png" href="/docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script>
const older = node => {
  if (Array.isArray(node)) return node.map(older);
  if (node === null || typeof node !== "object") return node;
  const out = Object.fromEntries(Object.entries(node).map(([name, value]) => [name, older(value)]));
  if (Array.isArray(out.type)) {
    out.oneOf = out.type.map(type => ({type}));
    delete out.type;
  }
  for (const choice of ["oneOf", "anyOf"]) {
    const some = Array.isArray(out[choice]) ? out[choice].filter(each => each.type !== "null") : [];
    if (some.length && some.length < out[choice].length) {
      delete out[choice];
      Object.assign(out, some.length === 1 ? some[0] : {[choice]: some}, {nullable: true});
    }
  }
  return out;
};
fetch("/docs/openapi.json").then(answer => answer.json()).then(described => {
  const spec = {...older(described), openapi: "3.0.3"};
  SwaggerUIBundle({spec, dom_id: "#docs", deepLinking: true, tryItOutEnabled: true});
});
</script>
</body>
</html>
"""


class _Document(JsonRenderPlugin):
    """openapi.json, completed once."""

    def __init__(self) -> None:
        super().__init__(path="/openapi.json")
        self._rendered: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        if self._rendered is None:
            self._rendered = msgspec.json.encode(_complete(openapi_schema))
        return self._rendered


class _Page(OpenAPIRenderPlugin):
    """The page for people, with Swagger UI from the installed package."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        return _PAGE

    def receive_router(self, router: Router) -> None:
        router.register(_asset)


@get("/assets/{name:str}", include_in_schema=False, sync_to_thread=True)
def _asset(name: FromPath[str]) -> Response[bytes]:
    media_type = _ASSETS.get(name)
    if media_type is None:
        raise NotFoundException
    content = (Path(swagger_ui_path) / name).read_bytes()
    return Response(content, media_type=media_type, headers={"cache-control": "public, max-age=86400"})


def openapi_config() -> OpenAPIConfig:
    """How the application describes itself."""
    return OpenAPIConfig(
        title="Bestex",
        version=bestex.__version__,
        description=_DESCRIPTION,
        path="/docs",
        openapi_router=Router("/docs", route_handlers=[], include_in_schema=False, after_request=_refuse_unknown),
        render_plugins=[_Page(), _Document()],
        tags=[Tag("Orders"), Tag("Market"), Tag("Operations")],
        use_handler_docstrings=True,
    )


async def _refuse_unknown(response: Response[Any]) -> Response[Any]:
    """The framework answers an unknown page under /docs with HTML; here errors are problems."""
    if response.status_code == 404:
        raise NotFoundException
    return response


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add the body of POST, which is read without the framework; drop the framework's own form of error."""
    _, schemas = msgspec.json.schema_components([PlaceOrder], ref_template="#/components/schemas/{name}")
    order = schemas["PlaceOrder"]
    for name in AMOUNTS:
        order["properties"][name]["anyOf"][0]["type"] = ["number", "string"]
    order["oneOf"] = [{"required": ["amountIn"]}, {"required": ["amountOut"]}]
    document["components"]["schemas"].update(schemas)
    example = {"type": "market", "tokenIn": "USDC", "tokenOut": "ETH", "amountIn": 1000, "userId": "user123"}
    content = {"schema": {"$ref": "#/components/schemas/PlaceOrder"}, "example": example}
    document["paths"][EXECUTE]["post"]["requestBody"] = {"required": True, "content": {"application/json": content}}
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in list(operation["responses"].items()):
                if status == "400" and "application/json" in response.get("content", {}):
                    del operation["responses"][status]
    return document
