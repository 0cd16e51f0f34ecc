"""The actions `doorstep.say` and `doorstep.stop_saying`.

Their target is any device or entity of a doorbell, since one without a picture has no camera here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from homeassistant.auth.models import User
from homeassistant.auth.permissions.const import POLICY_CONTROL
from homeassistant.const import ATTR_DEVICE_ID, ATTR_ENTITY_ID
from homeassistant.core import HomeAssistant, ServiceCall, ServiceResponse, SupportsResponse, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError, Unauthorized, UnknownUser
from homeassistant.helpers import config_validation as cv, device_registry as dr, entity_registry as er
import voluptuous as vol

from .api import Doorstep, DoorstepError, Refused
from .const import DOMAIN
from .coordinator import DoorstepEntry
from .sound import Sound, find

try:
    from homeassistant.helpers.target import TargetSelection, async_extract_referenced_entity_ids
except ImportError:
    # Home Assistant before 2025.12, which took the whole call.
    from homeassistant.helpers.service import async_extract_referenced_entity_ids

    TargetSelection = None

MESSAGE: Final = "message"
ADDRESS: Final = "url"
CLIP: Final = "clip"
MEDIA: Final = "media_content_id"
VOLUME: Final = "volume"
_SOURCES: Final = (MESSAGE, ADDRESS, CLIP, MEDIA)

_STOP_SCHEMA: Final = vol.Schema(dict(cv.ENTITY_SERVICE_FIELDS))
_SAY_SCHEMA: Final = _STOP_SCHEMA.extend(
    {
        **{vol.Optional(source): vol.All(cv.string, vol.Length(min=1)) for source in _SOURCES},
        vol.Optional(VOLUME): vol.All(vol.Coerce(float), vol.Range(min=0, max=1)),
    }
)


class _Speaker(NamedTuple):
    """A doorbell, and the service that has it."""

    id: str
    service: Doorstep


@callback
def async_register(hass: HomeAssistant) -> None:
    """Make them known, for all entries at once."""

    async def say(call: ServiceCall) -> ServiceResponse:
        sources = [source for source in _SOURCES if source in call.data]
        if len(sources) != 1:
            raise _invalid("one_source")
        speakers = await _speakers(hass, call)
        what = await _prepare(hass, call, sources[0])
        return await _each(speakers, lambda speaker: utter(speaker.service, speaker.id, what, call.data.get(VOLUME)))

    async def stop_saying(call: ServiceCall) -> None:
        await _each(await _speakers(hass, call), lambda speaker: speaker.service.stop_saying(speaker.id))

    hass.services.async_register(DOMAIN, "say", say, _SAY_SCHEMA, SupportsResponse.OPTIONAL)
    hass.services.async_register(DOMAIN, "stop_saying", stop_saying, _STOP_SCHEMA)


async def utter(service: Doorstep, doorbell: str, what: Sound | dict[str, Any], volume: float | None) -> dict[str, Any]:
    """Have one doorbell say it; when it is over, how long each part of it took."""
    if isinstance(what, Sound):
        return await service.play(doorbell, what.file, what.content_type, volume)
    return await service.say(doorbell, what if volume is None else {**what, "volume": volume})


def error_of(why: DoorstepError) -> HomeAssistantError:
    """What Home Assistant shows: for what was asked wrongly, without a trace in the log."""
    asked_wrongly = isinstance(why, Refused) and why.status in (400, 403, 404, 413, 415, 422)
    return (ServiceValidationError if asked_wrongly else HomeAssistantError)(str(why))


async def _prepare(hass: HomeAssistant, call: ServiceCall, source: str) -> Sound | dict[str, Any]:
    """What is told to Doorstep. What Home Assistant has itself is found once for all doorbells."""
    if source == MEDIA:
        found = await find(hass, call.data[MEDIA], None)
        return found if isinstance(found, Sound) else {"url": str(found)}
    return {{MESSAGE: "text"}.get(source, source): call.data[source]}


async def _each(speakers: list[_Speaker], act: Callable[[_Speaker], Awaitable[Any]]) -> dict[str, Any]:
    """Try all at once. What came of it by doorbell, or, when any has failed, why each of those did."""
    outcomes = await asyncio.gather(*map(act, speakers), return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for failure in failures:
        if not isinstance(failure, DoorstepError):
            raise failure
    if errors := [error_of(failure) for failure in failures]:
        asked_wrongly = all(isinstance(error, ServiceValidationError) for error in errors)
        sentences = " ".join(dict.fromkeys(map(str, errors)))
        raise (ServiceValidationError if asked_wrongly else HomeAssistantError)(sentences)
    return {speaker.id: outcome for speaker, outcome in zip(speakers, outcomes, strict=True)}


async def _speakers(hass: HomeAssistant, call: ServiceCall) -> list[_Speaker]:
    """The doorbells of the call's target, each once. What is named and is none is not passed over.

    Who may control nothing of a doorbell does not have it speak either.
    """
    user = await _caller(hass, call)
    devices, entities = dr.async_get(hass), er.async_get(hass)
    selected = async_extract_referenced_entity_ids(hass, TargetSelection(call.data) if TargetSelection else call)
    chosen = {(device, device) for device in selected.referenced_devices}
    for entity_id in selected.referenced | selected.indirectly_referenced:
        entity = entities.async_get(entity_id)
        chosen.add((entity_id, (entity and entity.device_id) or ""))
    named = {*cv.ensure_list(call.data.get(ATTR_DEVICE_ID, [])), *cv.ensure_list(call.data.get(ATTR_ENTITY_ID, []))}
    found: dict[str, _Speaker] = {}
    for target, device_id in chosen:
        speaker = _speaker_of(hass, devices.async_get(device_id))
        if speaker is not None:
            if user is not None and not _may_control(user, entities, device_id):
                raise Unauthorized(context=call.context, permission=POLICY_CONTROL)
            found[speaker.id] = speaker
        elif target in named:
            raise _invalid("no_doorbell", target=target)
    if not found:
        raise _invalid("no_target")
    return [found[id] for id in sorted(found)]


async def _caller(hass: HomeAssistant, call: ServiceCall) -> User | None:
    """Who calls; `None` for Home Assistant itself."""
    if call.context.user_id is None:
        return None
    user = await hass.auth.async_get_user(call.context.user_id)
    if user is None:
        raise UnknownUser(context=call.context)
    return user


@callback
def _may_control(user: User, entities: er.EntityRegistry, device_id: str) -> bool:
    """By the rules for the device's entities, disabled ones too: there is none for actions of an integration."""
    own = er.async_entries_for_device(entities, device_id, include_disabled_entities=True)
    return any(user.permissions.check_entity(entity.entity_id, POLICY_CONTROL) for entity in own)


def _speaker_of(hass: HomeAssistant, device: dr.DeviceEntry | None) -> _Speaker | None:
    """The doorbell that this device is, by the identifiers that MQTT discovery and our own entities give it."""
    entries: list[DoorstepEntry] = hass.config_entries.async_loaded_entries(DOMAIN)
    # Other integrations' identifiers may have more than two parts.
    for domain, name, *_ in device.identifiers if device else ():
        id = str(name).removeprefix("doorstep_") if domain == "mqtt" else name
        for entry in entries:
            if domain in (DOMAIN, "mqtt") and id in entry.runtime_data.data:
                return _Speaker(id, entry.runtime_data.service)
    return None


def _invalid(key: str, **placeholders: str) -> ServiceValidationError:
    return ServiceValidationError(
        translation_domain=DOMAIN, translation_key=key, translation_placeholders=placeholders or None
    )
