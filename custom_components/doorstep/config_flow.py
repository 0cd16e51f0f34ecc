"""How an owner, or the Supervisor, tells where Doorstep is."""

from __future__ import annotations

from collections.abc import Mapping
import logging
from typing import Any

from homeassistant.config_entries import SOURCE_HASSIO, ConfigFlow, ConfigFlowResult
from homeassistant.const import CONF_HOST, CONF_PORT, CONF_SSL, CONF_TOKEN
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.selector import TextSelector, TextSelectorConfig, TextSelectorType
from homeassistant.helpers.service_info.hassio import HassioServiceInfo
import voluptuous as vol

from .api import Address, CannotConnect, Doorstep, DoorstepError, InvalidAuth, NotDoorstep
from .const import DEFAULT_PORT, DOMAIN

_LOGGER = logging.getLogger(__name__)

_SECRET = TextSelector(TextSelectorConfig(type=TextSelectorType.PASSWORD, autocomplete="off"))
_TOKEN_SCHEMA = vol.Schema({vol.Required(CONF_TOKEN): _SECRET})
_ADDRESS_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_HOST): str,
        vol.Required(CONF_PORT, default=DEFAULT_PORT): vol.All(vol.Coerce(int), vol.Range(min=1, max=65535)),
        vol.Required(CONF_SSL, default=False): bool,
        vol.Optional(CONF_TOKEN): _SECRET,
    }
)
# What the app announces; the Supervisor adds the app's name.
_FOUND_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_HOST): str,
        vol.Required(CONF_PORT): vol.All(vol.Coerce(int), vol.Range(min=1, max=65535)),
        vol.Required(CONF_TOKEN): str,
        vol.Optional(CONF_SSL, default=False): bool,
    },
    extra=vol.REMOVE_EXTRA,
)


class DoorstepConfigFlow(ConfigFlow, domain=DOMAIN):
    """One entry for each running Doorstep."""

    VERSION = 1

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._found: dict[str, Any] = {}
        self._app = ""

    async def async_step_user(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask where it is, and try it at once."""
        errors: dict[str, str] = {}
        if user_input is not None:
            data = _tidy(user_input)
            self._async_abort_entries_match({CONF_HOST: data[CONF_HOST], CONF_PORT: data[CONF_PORT]})
            if not (errors := await self._try(data)):
                return self.async_create_entry(title=data[CONF_HOST], data=data)
        schema = self.add_suggested_values_to_schema(_ADDRESS_SCHEMA, user_input or {})
        return self.async_show_form(step_id="user", data_schema=schema, errors=errors)

    async def async_step_hassio(self, discovery_info: HassioServiceInfo) -> ConfigFlowResult:
        """Take what the app tells by Supervisor discovery: at each of its starts, with a new token each time."""
        try:
            found = _FOUND_SCHEMA(discovery_info.config)
        except vol.Invalid:
            return self.async_abort(reason="not_doorstep")
        await self.async_set_unique_id(discovery_info.uuid, raise_on_progress=False)
        self._abort_if_unique_id_configured(updates=found)
        self._async_abort_entries_match({CONF_HOST: found[CONF_HOST], CONF_PORT: found[CONF_PORT]})
        self._replace_earlier()
        self._found, self._app = found, discovery_info.name
        self.context["title_placeholders"] = {"name": discovery_info.name}
        return await self.async_step_hassio_confirm()

    def _replace_earlier(self) -> None:
        """A question that nobody has answered yet holds a token of an earlier start."""
        for flow in self._async_in_progress(include_uninitialized=True):
            if flow["context"].get("unique_id") == self.unique_id:
                self.hass.config_entries.flow.async_abort(flow["flow_id"])

    async def async_step_hassio_confirm(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask whether to connect."""
        errors: dict[str, str] = {}
        if user_input is not None and not (errors := await self._try(self._found)):
            return self.async_create_entry(title=self._app, data=self._found)
        return self.async_show_form(
            step_id="hassio_confirm", description_placeholders={"app": self._app}, errors=errors
        )

    async def async_step_reauth(self, entry_data: Mapping[str, Any]) -> ConfigFlowResult:
        """The token is no longer taken."""
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask for another one."""
        entry, errors = self._get_reauth_entry(), dict[str, str]()
        if user_input is not None and not (errors := await self._try({**entry.data, **user_input})):
            return self.async_update_reload_and_abort(entry, data_updates=user_input)
        return self.async_show_form(
            step_id="reauth_confirm",
            data_schema=_TOKEN_SCHEMA,
            description_placeholders={"name": entry.title},
            errors=errors,
        )

    async def async_step_reconfigure(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Doorstep has moved."""
        entry, errors = self._get_reconfigure_entry(), dict[str, str]()
        if entry.source == SOURCE_HASSIO:
            return self.async_abort(reason="told_by_app")
        if user_input is not None:
            data = _tidy(user_input)
            if not (errors := await self._try(data)):
                return self.async_update_reload_and_abort(entry, data=data)
        known = {key: value for key, value in entry.data.items() if key != CONF_TOKEN}
        schema = self.add_suggested_values_to_schema(_ADDRESS_SCHEMA, user_input or known)
        return self.async_show_form(step_id="reconfigure", data_schema=schema, errors=errors)

    async def _try(self, data: Mapping[str, Any]) -> dict[str, str]:
        """What to show above the form; nothing when it works."""
        try:
            address = Address(data[CONF_HOST], data[CONF_PORT], data[CONF_SSL], data.get(CONF_TOKEN))
            await Doorstep(async_get_clientsession(self.hass), address).check()
        except InvalidAuth:
            return {"base": "invalid_auth"}
        except CannotConnect:
            return {"base": "cannot_connect"}
        except NotDoorstep:
            return {"base": "not_doorstep"}
        except DoorstepError as error:
            _LOGGER.warning("Doorstep refused: %s", error)
            return {"base": "refused"}
        return {}


def _tidy(user_input: Mapping[str, Any]) -> dict[str, Any]:
    """Hosts are pasted with spaces, and tokens with a line's end."""
    tidy = {**user_input, CONF_HOST: user_input[CONF_HOST].strip()}
    if token := tidy.pop(CONF_TOKEN, "").strip():
        tidy[CONF_TOKEN] = token
    return tidy
