"""Doorstep in Home Assistant: live pictures, the speaker as a player, actions that speak, and the dashboard card.

Rings, locks and switches come over MQTT discovery; the entities made here join the same devices.
"""

from __future__ import annotations

from homeassistant.const import CONF_HOST, CONF_PORT, CONF_SSL, CONF_TOKEN, Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.device_registry import DeviceEntry
from homeassistant.helpers.typing import ConfigType

from . import actions, card, proxy
from .api import Address, Doorstep
from .const import DOMAIN
from .coordinator import DoorstepCoordinator, DoorstepEntry

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)
PLATFORMS = [Platform.CAMERA, Platform.MEDIA_PLAYER]


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Open what all entries share: the actions, the way to their services, and the card."""
    actions.async_register(hass)
    proxy.async_register(hass)
    card.async_register(hass)
    return True


async def async_setup_entry(hass: HomeAssistant, entry: DoorstepEntry) -> bool:
    """Connect to one service."""
    address = Address(
        host=entry.data[CONF_HOST],
        port=entry.data[CONF_PORT],
        ssl=entry.data.get(CONF_SSL, False),
        token=entry.data.get(CONF_TOKEN),
    )
    coordinator = DoorstepCoordinator(hass, entry, Doorstep(async_get_clientsession(hass), address))
    await coordinator.async_config_entry_first_refresh()
    entry.runtime_data = coordinator
    card.async_follow(hass, coordinator)
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    entry.async_create_background_task(hass, coordinator.listen(), f"{DOMAIN} events of {entry.title}")
    return True


async def async_unload_entry(hass: HomeAssistant, entry: DoorstepEntry) -> bool:
    """Let go of one service."""
    return await hass.config_entries.async_unload_platforms(entry, PLATFORMS)


async def async_remove_config_entry_device(hass: HomeAssistant, entry: DoorstepEntry, device: DeviceEntry) -> bool:
    """Let the owner delete a doorbell that the service does not list."""
    doorbells = entry.runtime_data.data
    return not any(domain == DOMAIN and doorbell in doorbells for domain, doorbell in device.identifiers)
