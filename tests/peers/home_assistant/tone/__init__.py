"""An engine of speech for tests: it knows one word, the pitch that a text names in hertz."""

from homeassistant.const import Platform

PLATFORMS = [Platform.TTS]


async def async_setup_entry(hass, entry):
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    return True


async def async_unload_entry(hass, entry):
    return await hass.config_entries.async_unload_platforms(entry, PLATFORMS)
