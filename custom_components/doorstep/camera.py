"""One camera for each doorbell, played by WebRTC without a stream server in between.

The browser's offer goes to Doorstep as WHEP and Doorstep's answer to the browser; pictures and the microphone's sound
then travel between the two alone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
import logging
from typing import Any

from homeassistant.components import camera as camera_component
from homeassistant.components.camera import Camera, CameraEntityFeature, WebRTCAnswer, WebRTCError, WebRTCSendMessage
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from webrtc_models import RTCIceCandidateInit

from .api import Call, DoorstepError
from .const import DOMAIN
from .coordinator import DoorstepCoordinator, DoorstepEntry
from .entity import DoorstepEntity, add_for_each

_LOGGER = logging.getLogger(__name__)

PARALLEL_UPDATES = 0

# Candidates that come before the answer does; a browser has a dozen.
_EARLY_CANDIDATES = 64
# Two-way audio in Home Assistant's own player, where the Core has it.
_CAPABILITIES = getattr(camera_component, "CameraEntityCapabilities", None)


async def async_setup_entry(
    hass: HomeAssistant, entry: DoorstepEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the cameras there are, and those that come."""
    add_for_each(entry, async_add_entities, "stream", DoorstepCamera)


@dataclass(slots=True)
class _Viewer:
    """One browser, from its offer on."""

    call: Call | None = None
    early: list[RTCIceCandidateInit] = field(default_factory=list)


class DoorstepCamera(DoorstepEntity, Camera):
    """The live picture of a doorbell."""

    _attr_name = None
    _attr_supported_features = CameraEntityFeature.STREAM

    def __init__(self, coordinator: DoorstepCoordinator, doorbell_id: str) -> None:
        """`doorbell_id` is among the coordinator's."""
        super().__init__(coordinator, doorbell_id, "camera")
        Camera.__init__(self)
        self._viewers: dict[str, _Viewer] = {}
        self._picture: bytes | None = None
        self._attr_brand = self._doorbell.vendor.capitalize()
        self._attr_model = self._doorbell.model

    @property
    def is_streaming(self) -> bool:
        """Whether pictures arrive at Doorstep."""
        return self._doorbell.link == "streaming"

    @property
    def camera_entity_capabilities(self) -> Any:
        """What the player of newer Cores may offer: the microphone goes to the doorbell's speaker."""
        return _CAPABILITIES(two_way_audio="talk" in self._doorbell.capabilities) if _CAPABILITIES else None

    async def async_handle_async_webrtc_offer(
        self, offer_sdp: str, session_id: str, send_message: WebRTCSendMessage
    ) -> None:
        """Have Doorstep answer the browser."""
        viewer = self._viewers[session_id] = _Viewer()
        try:
            call = await self.coordinator.service.call(self.doorbell_id, offer_sdp)
        except DoorstepError as error:
            self._viewers.pop(session_id, None)
            _LOGGER.debug("%s: no picture: %s", self.entity_id, error)
            send_message(WebRTCError("webrtc_offer_failed", str(error)))
            return
        if session_id not in self._viewers:
            await self._hang_up(call)
            return
        viewer.call = call
        send_message(WebRTCAnswer(call.answer))
        for candidate in viewer.early:
            await self._tell(call, candidate)

    async def async_on_webrtc_candidate(self, session_id: str, candidate: RTCIceCandidateInit) -> None:
        """Pass on where else the browser may be reached."""
        viewer = self._viewers.get(session_id)
        if viewer is None:
            return
        if viewer.call is not None:
            await self._tell(viewer.call, candidate)
        elif len(viewer.early) < _EARLY_CANDIDATES:
            viewer.early.append(candidate)

    @callback
    def close_webrtc_session(self, session_id: str) -> None:
        """The browser is gone."""
        viewer = self._viewers.pop(session_id, None)
        if viewer is not None and viewer.call is not None:
            self.coordinator.config_entry.async_create_background_task(
                self.hass, self._hang_up(viewer.call), f"{DOMAIN} hang up"
            )

    async def async_will_remove_from_hass(self) -> None:
        """Leave no viewer behind."""
        await super().async_will_remove_from_hass()
        viewers = [viewer.call for viewer in self._viewers.values() if viewer.call is not None]
        self._viewers.clear()
        await asyncio.gather(*map(self._hang_up, viewers))

    async def async_camera_image(self, width: int | None = None, height: int | None = None) -> bytes | None:
        """The newest still picture that can be had without waking the camera.

        None is taken for it: a dashboard asks every 10 s, and Home Assistant does not tell that from an automation.
        """
        try:
            self._picture = await self.coordinator.service.picture(self.doorbell_id) or self._picture
        except DoorstepError as error:
            _LOGGER.debug("%s: no still picture: %s", self.entity_id, error)
        return self._picture

    async def _tell(self, call: Call, candidate: RTCIceCandidateInit) -> None:
        try:
            await self.coordinator.service.add_candidate(call, candidate.candidate, candidate.sdp_mid)
        except DoorstepError as error:
            # The picture may come by another of its candidates.
            _LOGGER.debug("%s: a candidate was refused: %s", self.entity_id, error)

    async def _hang_up(self, call: Call) -> None:
        try:
            await self.coordinator.service.hang_up(call)
        except DoorstepError as error:
            # Doorstep notices by itself that nobody watches any more.
            _LOGGER.debug("%s: hanging up: %s", self.entity_id, error)
