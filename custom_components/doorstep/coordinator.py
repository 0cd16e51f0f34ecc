"""What the service tells as it happens, kept for the entities."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
import logging
import random
from typing import Any

from homeassistant.config_entries import SOURCE_HASSIO, ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import ConfigEntryAuthFailed
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from .api import Doorbell, Doorstep, DoorstepError, InvalidAuth, doorbells_of
from .const import DOMAIN

_LOGGER = logging.getLogger(__name__)

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0

type DoorstepEntry = ConfigEntry[DoorstepCoordinator]


class DoorstepCoordinator(DataUpdateCoordinator[dict[str, Doorbell]]):
    """The doorbells of one service, by id. Pushed, never polled."""

    config_entry: DoorstepEntry

    def __init__(self, hass: HomeAssistant, entry: DoorstepEntry, service: Doorstep) -> None:
        """Nothing is asked before the first refresh."""
        super().__init__(hass, _LOGGER, config_entry=entry, name=entry.title)
        self.service = service
        self.version: str | None = None
        """The service's own, once it has told."""
        self.on_version: Callable[[str], None] = lambda _version: None

    async def _async_update_data(self) -> dict[str, Doorbell]:
        try:
            return await self.service.doorbells()
        except InvalidAuth as error:
            if self._renews_its_token:
                raise UpdateFailed(str(error)) from error
            raise ConfigEntryAuthFailed(str(error)) from error
        except DoorstepError as error:
            raise UpdateFailed(str(error)) from error

    @property
    def _renews_its_token(self) -> bool:
        """The app tells a new token by Supervisor discovery at each of its starts; nobody can type it."""
        return self.config_entry.source == SOURCE_HASSIO

    async def listen(self) -> None:
        """Follow the service for as long as the entry is loaded."""
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                async with self.service.events() as events:
                    listed = False
                    async for news in events:
                        wait_s = _FIRST_WAIT_S
                        self._take(news, listed)
                        listed = True
                why: DoorstepError = DoorstepError("Doorstep has ended the connection.")
            except DoorstepError as error:
                why = error
            self.async_set_update_error(UpdateFailed(str(why)))
            if isinstance(why, InvalidAuth) and not self._renews_its_token:
                self.config_entry.async_start_reauth(self.hass)
            await asyncio.sleep(wait_s * random.uniform(0.8, 1.2))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    @callback
    def _take(self, news: dict[str, Any], listed: bool) -> None:
        """`listed`: whether this connection has told all doorbells before."""
        match news.get("type"):
            case "snapshot":
                doorbells = doorbells_of(news.get("doorbells"))
                if listed:
                    self._forget(self.data.keys() - doorbells.keys())
                self.async_set_updated_data(doorbells)
                self._learn_version(news.get("version"))
            case "state":
                doorbell = Doorbell.of(news.get("doorbell", {}))
                if self.data.get(doorbell.id) != doorbell:
                    self.async_set_updated_data({**self.data, doorbell.id: doorbell})

    def _learn_version(self, version: Any) -> None:
        if isinstance(version, str) and version != self.version:
            self.version = version
            self.on_version(version)

    def _forget(self, gone: set[str]) -> None:
        """Take away what has vanished before our eyes. At a start the service may not know its doorbells yet: what is
        missing then is only unavailable, and may be deleted by hand."""
        registry = dr.async_get(self.hass)
        for doorbell in gone:
            if device := registry.async_get_device({(DOMAIN, doorbell)}):
                registry.async_update_device(device.id, remove_config_entry_id=self.config_entry.entry_id)
