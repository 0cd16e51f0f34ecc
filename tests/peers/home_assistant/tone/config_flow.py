"""Set up without a question."""

from homeassistant.config_entries import ConfigFlow


class ToneFlow(ConfigFlow, domain="tone"):
    async def async_step_user(self, user_input=None):
        return self.async_create_entry(title="Tone", data={})
