"""What the dashboard card may ask of a Doorstep, through Home Assistant and with its log-in.

Exactly what is listed here passes. Nothing that opens a door does: the card calls Home Assistant's own actions for
that, where permissions and the logbook are.
"""

from __future__ import annotations

from http import HTTPStatus
import re
from typing import Any, Final, NamedTuple

from aiohttp import web
from homeassistant.components import websocket_api
from homeassistant.components.http import HomeAssistantView
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant, callback
import voluptuous as vol

from .api import DOORBELL_ID, SESSION, DoorstepError, InvalidAuth, location_of
from .const import DOMAIN
from .coordinator import DoorstepEntry

BODY_LIMIT: Final = 64 * 1024
_SDP: Final = "application/sdp"
_FRAGMENT: Final = "application/trickle-ice-sdpfrag"
_JSON: Final = "application/json"


class _Rule(NamedTuple):
    """One kind of request that passes."""

    method: str
    path: str
    body: str | None = None
    """The type that the body must have; without one, no body is passed on."""

    def admits(self, request: web.Request, path: str) -> bool:
        return request.method == self.method and re.fullmatch(self.path, path) is not None


_ALLOWED: Final = (
    _Rule("GET", "api/doorbells"),
    _Rule("GET", f"api/doorbells/{DOORBELL_ID}"),
    _Rule("POST", f"whep/{DOORBELL_ID}", _SDP),
    _Rule("PATCH", f"whep/{DOORBELL_ID}/{SESSION}", _FRAGMENT),
    _Rule("DELETE", f"whep/{DOORBELL_ID}/{SESSION}"),
    _Rule("POST", f"api/doorbells/{DOORBELL_ID}/talk", _JSON),
)
# Types that a browser does not run, whatever they hold.
_PASSED_BACK: Final = (_JSON, _SDP, "text/plain")


@callback
def async_register(hass: HomeAssistant) -> None:
    """Open the way, and tell whoever asks which services there are."""
    hass.http.register_view(ProxyView(hass))
    websocket_api.async_register_command(hass, ws_instances)


class ProxyView(HomeAssistantView):
    """`/api/doorstep/{entry_id}/…`, for whoever is logged in."""

    url = "/api/doorstep/{entry_id}/{path:.*}"
    name = "api:doorstep"

    def __init__(self, hass: HomeAssistant) -> None:
        """Entries are looked up at each request."""
        self._hass = hass

    async def get(self, request: web.Request, entry_id: str, path: str) -> web.Response:
        """Doorbells."""
        return await self._pass(request, entry_id, path)

    async def post(self, request: web.Request, entry_id: str, path: str) -> web.Response:
        """A new viewer, or the talk switch."""
        return await self._pass(request, entry_id, path)

    async def patch(self, request: web.Request, entry_id: str, path: str) -> web.Response:
        """A viewer's candidates."""
        return await self._pass(request, entry_id, path)

    async def delete(self, request: web.Request, entry_id: str, path: str) -> web.Response:
        """The end of a viewer."""
        return await self._pass(request, entry_id, path)

    async def _pass(self, request: web.Request, entry_id: str, path: str) -> web.Response:
        rule = next((rule for rule in _ALLOWED if rule.admits(request, path)), None)
        if rule is None:
            return _refusal(HTTPStatus.NOT_FOUND, "The Doorstep integration passes nothing on to this address.")
        entry: DoorstepEntry | None = self._hass.config_entries.async_get_entry(entry_id)
        if entry is None or entry.domain != DOMAIN or entry.state is not ConfigEntryState.LOADED:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "Home Assistant is not connected to this Doorstep.")
        body = None
        if rule.body is not None:
            if request.content_type != rule.body:
                return _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Send it as `{rule.body}`.")
            if (body := await _body(request)) is None:
                return _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Nothing of this size is taken here.")
        try:
            reply = await entry.runtime_data.service.forward(request.method, path, body=body, content_type=rule.body)
        except InvalidAuth as error:
            # Not 401: the browser would believe that its own log-in has ended.
            return _refusal(HTTPStatus.BAD_GATEWAY, str(error))
        except DoorstepError as error:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        if location := location_of(reply):
            headers["Location"] = location
        kind = reply.content_type if reply.content_type in _PASSED_BACK else "application/octet-stream"
        charset = "utf-8" if kind == "text/plain" else None
        return web.Response(status=reply.status, body=reply.body, content_type=kind, charset=charset, headers=headers)


async def _body(request: web.Request) -> bytes | None:
    """All of it; `None` when it is too large."""
    read = bytearray()
    async for piece in request.content.iter_chunked(BODY_LIMIT):
        read += piece
        if len(read) > BODY_LIMIT:
            return None
    return bytes(read)


def _refusal(status: HTTPStatus, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)


@websocket_api.websocket_command({vol.Required("type"): "doorstep/instances"})
@callback
def ws_instances(hass: HomeAssistant, connection: websocket_api.ActiveConnection, msg: dict[str, Any]) -> None:
    """List the connected services; `version` is null until one has told its own."""
    entries: list[DoorstepEntry] = hass.config_entries.async_loaded_entries(DOMAIN)
    connection.send_result(
        msg["id"],
        [{"id": entry.entry_id, "title": entry.title, "version": entry.runtime_data.version} for entry in entries],
    )
