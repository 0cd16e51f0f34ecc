"""The blueprint, in a real Core with a real ring: what phones are told, and when a door is unlocked."""

import asyncio
import shutil
from types import SimpleNamespace

import pytest

from core import ROOT, Core, until
from house import Broker, Demo

BLUEPRINT = "blueprints/automation/doorstep/ring_notification.yaml"
# Phones are told by the action that has their device's name. The device Doorstep stands for one.
MORE = """
automation: !include automations.yaml
notify:
  - platform: group
    name: mobile_app_doorstep
    services: []
"""


@pytest.fixture(scope="module")
async def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house")
    broker = await Broker().start(folder)
    demo = await Demo().start("tutk-old", mqtt=broker.port)
    core = Core(folder / "core", more=MORE)
    (core.folder / "automations.yaml").write_text("[]\n")
    (core.folder / BLUEPRINT).parent.mkdir(parents=True)
    shutil.copy(ROOT / BLUEPRINT, core.folder / BLUEPRINT)
    await core.start()
    await core.connect_mqtt(broker.port)
    await core.comes("lock.front_door_lock", "locked")
    devices = await core.socket.ask("config/device_registry/list")
    phone = next(device["id"] for device in devices if device["name"] == "Doorstep")
    calls = []
    await core.socket.listen("subscribe_events", lambda event: calls.append(event["data"]), event_type="call_service")
    yield SimpleNamespace(core=core, broker=broker, demo=demo, phone=phone, calls=calls)
    await core.stop()
    await demo.end()
    await broker.end()


async def automate(house, name, **inputs):
    """An automation with these inputs besides the doorbell and the phone, and none beside it."""
    path = "/api/config/automation/config"
    for other in [entity for entity in await house.core.states() if entity.startswith("automation.")]:
        await house.core.rest("DELETE", f"{path}/{other.removeprefix('automation.')}")
    inputs = {"ring_event": "event.front_door_ring", "phones": [house.phone], "wait_s": 30, **inputs}
    made = {"alias": name, "use_blueprint": {"path": "doorstep/ring_notification.yaml", "input": inputs}}
    status, _, body = await house.core.rest("POST", f"{path}/{name}", json=made)
    assert status == 200, body
    await house.core.comes(f"automation.{name}", "on")
    house.calls.clear()


def told(house):
    """What the phone was told so far."""
    return [call["service_data"] for call in house.calls if call["service"] == "mobile_app_doorstep"]


async def is_told(house, n):
    await until(lambda: f"the phone was told {told(house)}", lambda: len(told(house)) >= n)
    assert len(told(house)) == n, told(house)
    return told(house)[-1]


async def ring(house):
    """Presses the button. Presses within a second of each other are one."""
    await asyncio.sleep(1.1)
    house.demo.tell("ring wyze_d03f27a1b2c3")


async def taps(house, action):
    await house.core.rest("POST", "/api/events/mobile_app_notification_action", json={"action": action})


async def test_a_ring_is_told_once_and_coming_back_is_no_ring(house):
    await automate(house, "tells")
    for status in ("offline", "online"):
        house.broker.publish("doorstep/status", status, "-r")
        state = ("unavailable",) if status == "offline" else ("on",)
        await house.core.comes("binary_sensor.front_door_connection", *state)
    await ring(house)
    said = await is_told(house, 1)
    assert said["message"] == "Front Door"
    assert [button["action"] for button in said["data"]["actions"]] == ["URI"], "it offers to unlock without a lock"


async def test_a_door_is_unlocked_by_its_own_notification_alone(house):
    await automate(house, "unlocks", lock="lock.front_door_lock")
    await ring(house)
    said = await is_told(house, 1)
    _, unlock = (button["action"] for button in said["data"]["actions"])
    await taps(house, "DOORSTEP_UNLOCK_of_another_ring")
    await taps(house, "URI")
    assert await house.core.state("lock.front_door_lock") == "locked"
    await taps(house, unlock)
    await house.core.comes("lock.front_door_lock", "unlocked")
    last = await is_told(house, 2)
    assert last["message"] == "The door was unlocked." and "actions" not in last["data"]
    assert [call["service"] for call in house.calls if call["domain"] == "lock"] == ["unlock"]
    await taps(house, unlock)
    await house.core.act("lock.lock", "lock.front_door_lock")
    await house.core.comes("lock.front_door_lock", "locked")


async def test_the_picture_of_this_ring_takes_the_first_notifications_place(house):
    await automate(house, "pictures", ring_picture="image.front_door_ring_picture")
    await ring(house)
    await until(lambda: f"the phone was told {told(house)}", lambda: len(told(house)) >= 2)
    first, second = (said["data"] for said in told(house))
    assert "image" not in first and "alert_once" not in first, "the ring waited for its picture"
    assert second["image"] == "/api/image_proxy/image.front_door_ring_picture" and second["alert_once"], second
    assert (first["tag"], first["actions"]) == (second["tag"], second["actions"])
    status, headers, body = await house.core.rest("GET", second["image"])
    assert (status, headers["Content-Type"], body[:2]) == (200, "image/jpeg", b"\xff\xd8")


async def test_a_reply_is_said_by_its_own_notification_alone(house):
    clips = {"clip_select": "select.front_door_clip", "clips": ["two_tones", "ding_dong"]}
    await automate(house, "replies", **clips)
    before = house.demo.said
    await ring(house)
    said = await is_told(house, 1)
    titles = {button["title"]: button["action"] for button in said["data"]["actions"]}
    assert list(titles) == ["Answer", "Two tones", "Ding dong"], titles
    await taps(house, "DOORSTEP_REPLY_of_another_ring_0")
    await taps(house, titles["Ding dong"])
    await house.demo.event("talk_started", before)
    assert (await is_told(house, 2))["message"] == "Answered: Ding dong"
    await taps(house, titles["Two tones"])
    await house.core.comes("select.front_door_clip", "unknown")
    chosen = [call["service_data"]["option"] for call in house.calls if call["domain"] == "select"]
    assert chosen == ["ding_dong"]
