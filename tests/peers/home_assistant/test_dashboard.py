"""The card in Home Assistant's own frontend, in Chromium, with nothing added by hand but the card itself."""

import json
import os
import re
import shutil

import pytest

from core import ROOT, Process, until
from house import Demo

DOORBELLS = ("tutk-old",)
# The other order is that of test_companion.py.
MQTT_FIRST = False
WYZE = "wyze_d03f27a1b2c3"


@pytest.fixture(scope="module")
async def entry(house):
    entry = await house.core.connect_doorstep(house.demo.port)
    await house.core.comes("camera.front_door", "idle", "streaming")
    return entry


async def devices(core):
    return [device for device in await core.socket.ask("config/device_registry/list") if device["name"] == "Front Door"]


async def test_mqtt_joins_the_device_that_was_there_first(house, entry):
    (alone,) = await devices(house.core)
    assert sorted(alone["identifiers"]) == [["doorstep", WYZE], ["mqtt", f"doorstep_{WYZE}"]]
    await house.core.connect_mqtt(house.broker.port)
    await house.core.comes("lock.front_door_lock", "locked")
    (joined,) = await devices(house.core)
    assert (joined["id"], len(joined["config_entries"])) == (alone["id"], 2), joined
    entities = await house.core.socket.ask("config/entity_registry/list")
    assert {entity["platform"] for entity in entities if entity["device_id"] == joined["id"]} == {"mqtt", "doorstep"}


async def listed(core):
    """The addresses under which the frontend loads the card."""
    _, _, page = await core.rest("GET", "/", token=None)
    return re.findall(r"/doorstep/load\.js[^\"']*", page.decode())


async def test_the_card_is_served_and_every_dashboard_loads_it_once(house, entry):
    (address,) = set(await until("the card is not listed", lambda: listed(house.core)))
    status, _, loader = await house.core.rest("GET", address, token=None)
    (card,) = re.findall(r"/doorstep/card\.js[^']*", loader.decode())
    status, headers, code = await house.core.rest("GET", card, token=None)
    assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    assert code == await own_card(house.demo)
    again = {"headers": {"If-None-Match": headers["ETag"]}}
    assert (await house.core.rest("GET", "/doorstep/card.js", token=None, **again))[0] == 304
    other = await Demo().start("kvs", mqtt=house.broker.port)
    second = await house.core.connect_doorstep(other.port)
    told = await until("the second has told nothing", lambda: two(house.core))
    assert {one["id"] for one in told} == {entry, second}
    assert set(await listed(house.core)) == {address}
    await house.core.rest("DELETE", f"/api/config/config_entries/entry/{second}")
    await other.end()


async def own_card(demo):
    _, body = await demo.fetch("card.js")
    return body


async def two(core):
    told = await core.socket.ask("doorstep/instances")
    return told if len(told) == 2 and all(one["version"] for one in told) else None


async def test_it_plays_and_is_heard_at_the_door(house, entry):
    if not shutil.which("node") or not (ROOT / "tests/peers/chromium/node_modules/playwright-core").exists():
        pytest.skip("node or playwright-core is not there (run `npm ci` in tests/peers/chromium)")
    if not os.path.exists(os.environ.get("CHROMIUM", "/usr/bin/chromium")):
        pytest.skip("Chromium is not there")
    core, before = house.core, house.demo.said
    card = {"type": "custom:doorstep-card", "doorbell": WYZE}
    await core.socket.ask("lovelace/config/save", config={"views": [{"title": "Door", "cards": [card]}]})
    tokens = {**core.tokens, "hassUrl": core.url, "clientId": f"{core.url}/", "expires": 32503680000000}
    browser = await Process.run("Chromium", "node", "dashboard.mjs", core.url, json.dumps(tokens), house.folder)
    await browser.says('"playing"')
    # Chromium's own microphone beeps.
    sounds = lambda event: event["doorbell"] == WYZE and event["frames"]  # noqa: E731
    await house.demo.event("talk_started", before)
    await house.demo.event("talk_audio", before, sounds)
    since = house.demo.said
    browser.tell("enough")
    seen = json.loads(await browser.says('"complaints"'))
    assert "error" not in seen and seen["complaints"] == [], seen
    # The reply that was tapped last.
    await house.demo.event("talk_ended", since)
    await house.demo.event("talk_audio", since, lambda event: 500 < (event["tone_hz"] or 0) < 700)
    assert seen["size"] == [640, 360], seen
    assert "Front Door" in seen["words"], seen
    print(f"pictures of the screen are in {house.folder}")
    await browser.end()
