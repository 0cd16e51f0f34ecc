"""One media player for each doorbell with a speaker, so that `tts.speak`, the media browser and announcements reach it."""

from __future__ import annotations

from typing import Any

from homeassistant.components import media_source
from homeassistant.components.media_player import (
    BrowseMedia,
    MediaClass,
    MediaPlayerDeviceClass,
    MediaPlayerEntity,
    MediaPlayerEntityFeature,
    MediaPlayerState,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.restore_state import RestoreEntity

from .actions import error_of, utter
from .api import DoorstepError
from .coordinator import DoorstepCoordinator, DoorstepEntry
from .entity import DoorstepEntity, add_for_each
from .sound import Sound, find

PARALLEL_UPDATES = 0

CLIP = "clip"
"""The media type of a clip, whose name is the content's id."""


async def async_setup_entry(
    hass: HomeAssistant, entry: DoorstepEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the players there are, and those that come."""
    add_for_each(entry, async_add_entities, "talk", DoorstepPlayer)


class DoorstepPlayer(DoorstepEntity, MediaPlayerEntity, RestoreEntity):
    """The speaker of a doorbell. One thing is said after the other, and nothing while somebody talks."""

    _attr_device_class = MediaPlayerDeviceClass.SPEAKER
    _attr_translation_key = "speaker"
    _attr_supported_features = (
        MediaPlayerEntityFeature.PLAY_MEDIA
        | MediaPlayerEntityFeature.MEDIA_ANNOUNCE
        | MediaPlayerEntityFeature.BROWSE_MEDIA
        | MediaPlayerEntityFeature.VOLUME_SET
        | MediaPlayerEntityFeature.STOP
    )
    # Of what is said by this player; doorbells have no volume that could be asked for.
    _attr_volume_level = 1.0

    def __init__(self, coordinator: DoorstepCoordinator, doorbell_id: str) -> None:
        """`doorbell_id` is among the coordinator's."""
        super().__init__(coordinator, doorbell_id, "speaker")

    async def async_added_to_hass(self) -> None:
        """Be as loud as before."""
        await super().async_added_to_hass()
        before = await self.async_get_last_state()
        level = before.attributes.get("volume_level") if before else None
        if isinstance(level, float):
            self._attr_volume_level = level

    @property
    def state(self) -> MediaPlayerState:
        """Whether the doorbell says something, whoever has asked it to."""
        return MediaPlayerState.PLAYING if self._doorbell.says else MediaPlayerState.IDLE

    @property
    def media_title(self) -> str | None:
        """The clip, or what else it is."""
        return self._doorbell.says

    async def async_set_volume_level(self, volume: float) -> None:
        """Counts from the next thing on."""
        self._attr_volume_level = volume
        self.async_write_ha_state()

    async def async_media_stop(self) -> None:
        """End what is said, and what waits for it."""
        try:
            await self.coordinator.service.stop_saying(self.doorbell_id)
        except DoorstepError as error:
            raise error_of(error) from error

    async def async_play_media(self, media_type: str, media_id: str, **kwargs: Any) -> None:
        """Say it behind whatever is being said, and wait for its end."""
        if media_type == CLIP:
            what: Sound | dict[str, Any] = {"clip": media_id}
        else:
            found = await find(self.hass, media_id, self.entity_id)
            what = found if isinstance(found, Sound) else {"url": str(found)}
        try:
            await utter(self.coordinator.service, self.doorbell_id, what, self._attr_volume_level)
        except DoorstepError as error:
            raise error_of(error) from error

    async def async_browse_media(
        self, media_content_type: str | None = None, media_content_id: str | None = None
    ) -> BrowseMedia:
        """Show Home Assistant's own sounds, and before them the clips."""
        browsed = await media_source.async_browse_media(
            self.hass, media_content_id, content_filter=lambda item: item.media_content_type.startswith("audio/")
        )
        if media_content_id:
            return browsed
        try:
            clips = await self.coordinator.service.clips()
        except DoorstepError as error:
            raise error_of(error) from error
        browsed.children = [*map(_clip, clips), *(browsed.children or [])]
        return browsed


def _clip(name: str) -> BrowseMedia:
    return BrowseMedia(
        media_class=MediaClass.MUSIC,
        media_content_type=CLIP,
        media_content_id=name,
        title=name,
        can_play=True,
        can_expand=False,
    )
