"""What the entities of a doorbell have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from homeassistant.core import callback
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from .api import Doorbell
from .const import DOMAIN
from .coordinator import DoorstepCoordinator, DoorstepEntry


class DoorstepEntity(CoordinatorEntity[DoorstepCoordinator]):
    """Something of one doorbell."""

    _attr_has_entity_name = True

    def __init__(self, coordinator: DoorstepCoordinator, doorbell_id: str, key: str) -> None:
        """`doorbell_id` is among the coordinator's."""
        super().__init__(coordinator)
        self.doorbell_id = doorbell_id
        self._doorbell: Doorbell = coordinator.data[doorbell_id]
        self._attr_unique_id = f"{doorbell_id}_{key}"
        # The device of MQTT discovery, whichever of the two comes first.
        self._attr_device_info = DeviceInfo(
            identifiers={("mqtt", f"doorstep_{doorbell_id}"), (DOMAIN, doorbell_id)},
            name=self._doorbell.name,
            manufacturer=self._doorbell.vendor.capitalize(),
            model=self._doorbell.model,
            sw_version=self._doorbell.firmware,
        )

    @callback
    def _handle_coordinator_update(self) -> None:
        self._doorbell = self.coordinator.data.get(self.doorbell_id, self._doorbell)
        super()._handle_coordinator_update()

    @property
    def available(self) -> bool:
        """Whether the doorbell can be reached."""
        listed = self.coordinator.last_update_success and self.doorbell_id in self.coordinator.data
        return listed and self._doorbell.is_reachable


def add_for_each(
    entry: DoorstepEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
    capability: str,
    make: Callable[[DoorstepCoordinator, str], DoorstepEntity],
) -> None:
    """Add an entity for each doorbell that can do this, and for those that come."""
    coordinator = entry.runtime_data
    known: set[str] = set()

    @callback
    def follow() -> None:
        able = {id for id, doorbell in coordinator.data.items() if capability in doorbell.capabilities}
        new = [make(coordinator, doorbell) for doorbell in sorted(able - known)]
        for entity in new:
            known.add(entity.doorbell_id)
            entity.async_on_remove(partial(known.discard, entity.doorbell_id))
        async_add_entities(new)

    follow()
    entry.async_on_unload(coordinator.async_add_listener(follow))
