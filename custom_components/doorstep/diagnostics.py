"""What to send along with a report of a fault: no token, no address, no name of a house."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from homeassistant.components.diagnostics import async_redact_data
from homeassistant.const import CONF_HOST, CONF_TOKEN
from homeassistant.core import HomeAssistant

from .coordinator import DoorstepEntry


async def async_get_config_entry_diagnostics(hass: HomeAssistant, entry: DoorstepEntry) -> dict[str, Any]:
    """Tell of one entry."""
    coordinator = entry.runtime_data
    doorbells = [
        asdict(doorbell) | {"capabilities": sorted(doorbell.capabilities)} for doorbell in coordinator.data.values()
    ]
    return {
        "entry": async_redact_data(dict(entry.data), {CONF_HOST, CONF_TOKEN}),
        "source": entry.source,
        "version": coordinator.version,
        "connected": coordinator.last_update_success,
        "doorbells": async_redact_data(doorbells, {"id", "name"}),
    }
