"""Sound that Home Assistant has: spoken texts, its media, whatever its players could play."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import aiohttp
from homeassistant.components import media_source
from homeassistant.components.media_player import async_process_play_media_url
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.network import is_hass_url
from yarl import URL

from .api import SOUND_LIMIT
from .const import DOMAIN

# Text is spoken while it is fetched.
_FETCH: Final = aiohttp.ClientTimeout(total=60, connect=5)
_EVERYWHERE: Final = {"0.0.0.0", "::", "127.0.0.1", "localhost"}


@dataclass(frozen=True, slots=True)
class Sound:
    """A file of sound, whole."""

    content_type: str
    file: bytes


async def find(hass: HomeAssistant, content_id: str, player: str | None) -> Sound | URL:
    """The sound of this id, or its address where Home Assistant does not have it itself.

    Doorstep is given the sound rather than an address of Home Assistant's: it need not reach that, nor be let fetch there.
    """
    if media_source.is_media_source_id(content_id):
        content_id = (await media_source.async_resolve_media(hass, content_id, player)).url
    address = URL(async_process_play_media_url(hass, content_id, allow_relative_url=True))
    if address.is_absolute() and not is_hass_url(hass, str(address)):
        return address
    if not address.path.startswith("/"):
        raise _not_there(content_id)
    return await _fetch(hass, _own_root(hass).join(address.relative() if address.is_absolute() else address))


def _own_root(hass: HomeAssistant) -> URL:
    """Home Assistant as this machine reaches it, whatever stands in front of it for others."""
    hosts = hass.http.server_host or ["127.0.0.1"]
    host = "127.0.0.1" if _EVERYWHERE & set(hosts) else hosts[0]
    scheme = "https" if hass.http.ssl_certificate else "http"
    return URL.build(scheme=scheme, host=host, port=hass.http.server_port)


async def _fetch(hass: HomeAssistant, address: URL) -> Sound:
    # Its certificate is for another name than that of the loopback, over which nobody listens in.
    session = async_get_clientsession(hass, verify_ssl=False)
    read = bytearray()
    try:
        async with session.get(address, timeout=_FETCH, allow_redirects=False) as response:
            if response.status != 200:
                raise _not_there(address.path)
            async for piece in response.content.iter_chunked(64 * 1024):
                read += piece
                if len(read) > SOUND_LIMIT:
                    raise ServiceValidationError(translation_domain=DOMAIN, translation_key="sound_too_large")
            return Sound(response.content_type, bytes(read))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _not_there(address.path) from error


def _not_there(path: str) -> ServiceValidationError:
    return ServiceValidationError(
        translation_domain=DOMAIN, translation_key="no_sound", translation_placeholders={"media": path}
    )
