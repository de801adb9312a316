"""The description of the API (OpenAPI): errors are `ApiProblem`, and what the live stream sends is there, too."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from htsat_edge.runtime.daemon.live.frames import DeviceStatus, LiveFrame
from htsat_edge.runtime.daemon.messages import AnyMessage

REF = "#/components/schemas/{model}"


def describe_api(app: FastAPI) -> None:
    """Have an app describe itself as it is."""
    make = app.openapi

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = make()
            for path in schema["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)  # it is 400 here
            schemas = schema["components"]["schemas"]
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            schemas.update(_live_schemas())
        return app.openapi_schema or {}

    app.openapi = describe  # type: ignore[method-assign]


def _live_schemas() -> dict[str, Any]:
    """Return the schemas of what the live stream sends, by name."""
    kinds: dict[str, TypeAdapter[Any]] = {
        "LiveFrame": TypeAdapter(LiveFrame),
        "DeviceStatus": TypeAdapter(DeviceStatus),
        "AnyMessage": TypeAdapter(AnyMessage),
    }
    given, defined = TypeAdapter.json_schemas(
        [(name, "serialization", kind) for name, kind in kinds.items()], ref_template=REF
    )
    return {**{name: schema for (name, _), schema in given.items()}, **defined["$defs"]}
