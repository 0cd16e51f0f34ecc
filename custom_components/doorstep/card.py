"""The dashboard card: kept in memory as Doorstep serves it, and added to every dashboard by itself."""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
import logging
from typing import Final

from aiohttp import hdrs, web
from awesomeversion import AwesomeVersion, AwesomeVersionException
from homeassistant.components import frontend
from homeassistant.components.http import HomeAssistantView
from homeassistant.core import HomeAssistant, callback
from homeassistant.util.hass_dict import HassKey

from .api import DoorstepError
from .const import DOMAIN
from .coordinator import DoorstepCoordinator

_LOGGER = logging.getLogger(__name__)

URL: Final = "/doorstep/card.js"
LOADER_URL: Final = "/doorstep/load.js"

# While Home Assistant's page starts it puts another registry of elements in place of the browser's, and what was defined
# before does not exist any more. Whatever a page lists is fetched beside that start, so the card has to wait.
_LOADER: Final = "customElements.whenDefined('home-assistant').then(() => import('%s?v=%s'));\n"


@dataclass
class Card:
    """What is served; that of the newest Doorstep there is."""

    version: str | None = None
    code: bytes = b""
    etag: str = ""
    listed: str | None = None
    """The address that dashboards load, which changes with the code."""


_CARD: HassKey[Card] = HassKey(f"{DOMAIN}_card")


@callback
def async_register(hass: HomeAssistant) -> None:
    """Serve the card, as soon as there is one."""
    card = hass.data[_CARD] = Card()
    hass.http.register_view(CardView(card))
    hass.http.register_view(LoaderView(card))


@callback
def async_follow(hass: HomeAssistant, coordinator: DoorstepCoordinator) -> None:
    """Fetch the card whenever this service tells a new version."""

    def fetch(version: str) -> None:
        coordinator.config_entry.async_create_background_task(
            hass, _fetch(hass, coordinator, version), f"{DOMAIN} card {version}"
        )

    coordinator.on_version = fetch


async def _fetch(hass: HomeAssistant, coordinator: DoorstepCoordinator, version: str) -> None:
    card = hass.data[_CARD]
    if card.version is not None and _is_older(version, card.version):
        return
    try:
        code = await coordinator.service.card()
    except DoorstepError as error:
        _LOGGER.warning("The dashboard card could not be fetched: %s", error)
        return
    card.version, card.code, card.etag = version, code, hashlib.sha256(code).hexdigest()[:16]
    _list(hass, card)


def _is_older(version: str, than: str) -> bool:
    try:
        return AwesomeVersion(version) < AwesomeVersion(than)
    except AwesomeVersionException:
        return False


@callback
def _list(hass: HomeAssistant, card: Card) -> None:
    """Have every dashboard load it, once."""
    if frontend.DOMAIN not in hass.config.components:
        return
    url = f"{LOADER_URL}?v={card.etag}"
    if url == card.listed:
        return
    if card.listed is not None:
        frontend.remove_extra_js_url(hass, card.listed)
    frontend.add_extra_js_url(hass, url)
    card.listed = url


class CardView(HomeAssistantView):
    """`/doorstep/card.js`. Without a log-in: it is code, the same in every house."""

    url = URL
    name = "doorstep:card"
    requires_auth = False

    def __init__(self, card: Card) -> None:
        """`card` is filled later."""
        self._card = card

    async def get(self, request: web.Request) -> web.Response:
        """Serve it; 404 until Doorstep has been reached."""
        if not self._card.code:
            raise web.HTTPNotFound
        # The address carries the hash, but a dashboard may have been written by hand.
        headers = {hdrs.ETAG: f'"{self._card.etag}"', hdrs.CACHE_CONTROL: "no-cache"}
        if any(tag.value == self._card.etag for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=self._card.code, content_type="text/javascript", charset="utf-8", headers=headers)


class LoaderView(HomeAssistantView):
    """`/doorstep/load.js`, which every dashboard runs at its start."""

    url = LOADER_URL
    name = "doorstep:card:loader"
    requires_auth = False

    def __init__(self, card: Card) -> None:
        """`card` is filled later."""
        self._card = card

    async def get(self, request: web.Request) -> web.Response:
        """Serve it, for the card as it is now."""
        code = _LOADER % (URL, self._card.etag)
        headers = {hdrs.CACHE_CONTROL: "no-cache"}
        return web.Response(text=code, content_type="text/javascript", headers=headers)
