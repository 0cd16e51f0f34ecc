"""The engine: an entity of Home Assistant's `tts`."""

import re

from homeassistant.components.tts import TextToSpeechEntity
from homeassistant.exceptions import HomeAssistantError

from .wave import sine


async def async_setup_entry(hass, entry, async_add_entities):
    async_add_entities([Tone()])


class Tone(TextToSpeechEntity):
    _attr_name = "Tone"
    _attr_unique_id = "tone"
    _attr_default_language = "en"
    _attr_supported_languages = ["en"]

    def get_tts_audio(self, message, language, options):
        pitch = re.search(r"\d+", message)
        if pitch is None:
            raise HomeAssistantError("No pitch is named.")
        return "wav", sine(float(pitch[0]), seconds=3)
