"""Every entity of docs/entities.md, in a real Core through MQTT discovery, and every command that it sends."""

import json

from core import until

DOORBELLS = ("tutk-old", "vivint", "kvs")
# What an owner's automation looks like, and how it tells of a ring.
CONFIGURATION = """
automation:
  - alias: Somebody rings
    triggers:
      - trigger: state
        entity_id: [event.driveway_ring, event.front_door_ring, event.courtyard_ring]
        not_from: unavailable
        not_to: [unavailable, unknown]
    actions:
      - action: mqtt.publish
        data: {topic: test/automation, payload: "{{ trigger.to_state.attributes.id }}"}
"""

SPEAKER = "notify.{}_say button.{}_stop_saying siren.{}_clips select.{}_clip "
PICTURES = "camera.{}_snapshot button.{}_take_snapshot image.{}_ring_picture "
# What docs/entities.md lists, of three doorbells that have all of it between them.
ENTITIES = {
    "front_door": SPEAKER
    + PICTURES
    + "event.{}_ring sensor.{}_last_ring event.{}_motion switch.{}_talk switch.{}_stream lock.{}_lock"
    " sensor.{}_viewers binary_sensor.{}_connection sensor.{}_link",
    "driveway": SPEAKER
    + PICTURES
    + "event.{}_ring sensor.{}_last_ring event.{}_motion switch.{}_talk switch.{}_stream lock.{}_lock"
    " cover.{}_garage_door sensor.{}_viewers binary_sensor.{}_connection"
    " sensor.{}_link",
    "courtyard": SPEAKER
    + PICTURES
    + "event.{}_ring sensor.{}_last_ring switch.{}_talk switch.{}_stream button.{}_open_door"
    " sensor.{}_viewers binary_sensor.{}_connection sensor.{}_link",
    "doorstep": "binary_sensor.{}_connection button.{}_rediscover sensor.{}_wyze_account sensor.{}_vivint_account"
    " sensor.{}_kvs_account",
}


async def of_mqtt(core):
    """Every entity that is there by MQTT."""
    registry = await core.socket.ask("config/entity_registry/list")
    return {entity["entity_id"] for entity in registry if entity["platform"] == "mqtt"}


async def test_every_entity_appears_and_no_other(house):
    wanted = {entity.format(name) for name, line in ENTITIES.items() for entity in line.split()}
    found = set()

    async def all_there():
        nonlocal found
        found = await of_mqtt(house.core)
        return wanted <= found

    try:
        await until("", all_there)
    except AssertionError:
        raise AssertionError(f"missing: {wanted - found}; found {found}") from None
    # Some devices of the virtual accounts have no switch of their own in the documents' list; none may be unknown there.
    assert found == wanted, f"not in docs/entities.md: {found - wanted}"
    for entity in ("lock.front_door_lock", "lock.driveway_lock"):
        await house.core.comes(entity, "locked")
    await house.core.comes("cover.driveway_garage_door", "closed")
    for entity in wanted:
        assert await house.core.state(entity) != "unavailable", entity
    assert house.core.complaints() == []


async def test_locks_show_what_they_do(house):
    for entity in ("lock.driveway_lock", "lock.front_door_lock"):
        seen = await house.core.changes()
        states = lambda: [state for changed, state, _ in seen if changed == entity]  # noqa: E731, B023
        await house.core.act("lock.unlock", entity)
        await until(lambda: f"{entity} went {states()}", lambda: states() == ["unlocking", "unlocked"])  # noqa: B023
        await house.core.act("lock.lock", entity)
        await until(lambda: f"{entity} went {states()}", lambda: states()[2:] == ["locking", "locked"])  # noqa: B023


async def test_a_lock_that_does_not_move_jams(house):
    seen = await house.core.changes()
    states = lambda: [state for entity, state, _ in seen if entity == "lock.front_door_lock"]  # noqa: E731
    house.demo.tell("cloud fault jammed wyze_d03f27a1b2c3")
    await house.core.act("lock.unlock", "lock.front_door_lock")
    await until(lambda: f"it went {states()}", lambda: states() == ["unlocking", "jammed"])
    house.demo.tell("cloud fault none wyze_d03f27a1b2c3")
    await house.core.act("lock.lock", "lock.front_door_lock")
    await until(lambda: f"it went {states()}", lambda: states()[2:] == ["locking", "locked"])


async def test_a_garage_door_opens_and_closes(house):
    for action, way in (("open", ("opening", "open")), ("close", ("closing", "closed"))):
        seen = await house.core.changes()
        states = lambda: tuple(state for entity, state, _ in seen if entity == "cover.driveway_garage_door")  # noqa: E731, B023
        await house.core.act(f"cover.{action}_cover", "cover.driveway_garage_door")
        await until(lambda: f"it went {states()}", lambda: states() == way)  # noqa: B023


async def test_an_opener_opens(house):
    before = house.demo.said
    await house.core.act("button.press", "button.courtyard_open_door")
    await house.demo.event("door_opened", before, lambda event: event["doorbell"] == "kvs_courtyard")


async def test_switches_reach_the_doorbell(house):
    """The camera is brought up by the one, and its speaker opened by the other."""
    before = house.demo.said
    await house.core.act("switch.turn_on", "switch.front_door_stream")
    await house.core.comes("sensor.front_door_link", "streaming")
    await house.core.act("switch.turn_on", "switch.front_door_talk")
    await house.core.comes("switch.front_door_talk", "on")
    await house.demo.event("talk_started", before, lambda event: event["doorbell"] == "wyze_d03f27a1b2c3")
    await house.core.act("switch.turn_off", "switch.front_door_talk")
    await house.core.comes("switch.front_door_talk", "off")
    await house.core.act("switch.turn_off", "switch.front_door_stream")
    await house.core.comes("switch.front_door_stream", "off")


async def test_a_snapshot_is_taken_and_shown(house):
    await house.core.act("button.press", "button.driveway_take_snapshot")

    async def shown():
        status, headers, body = await house.core.rest("GET", "/api/camera_proxy/camera.driveway_snapshot")
        return status == 200 and headers["Content-Type"] == "image/jpeg" and body[:2] == b"\xff\xd8"

    await until("no picture", shown)


async def test_rediscover_lists_the_devices_again(house):
    before = house.demo.said
    await house.core.act("button.press", "button.doorstep_rediscover")
    await house.demo.event("list", before)


async def test_a_ring_and_a_visitor_arrive_with_their_words(house):
    automation = await house.broker.listen("test/automation")
    house.demo.tell("ring vivint_7001000200030004_27")
    ring = await until("no ring", lambda: rung(house.core, "event.driveway_ring"))
    assert ring["event_type"] == "ring", ring
    assert ring["source"] == "push", ring
    await automation.says(ring["id"])
    house.demo.tell("motion vivint_7001000200030004_27")
    motion = await until("nobody seen", lambda: rung(house.core, "event.driveway_motion"))
    assert motion["event_type"] in motion["event_types"], motion
    last = await house.core.state("sensor.driveway_last_ring")
    assert last[:19] == ring["at"][:19], (last, ring)


async def rung(core, entity):
    state = (await core.states())[entity]
    return state["attributes"] if state["state"] not in ("unknown", "unavailable") else None


async def test_a_restart_with_what_the_broker_keeps_rings_no_bell_and_opens_no_door(house):
    core, broker, driveway = house.core, house.broker, "doorstep/vivint_7001000200030004_27"
    # Links and viewers come and go by themselves, and an image's state is when Core was told of it; nothing else may.
    lasting = [entity for entity in sorted(await of_mqtt(core)) if not entity.startswith(("sensor.", "image."))]
    before = {entity: await core.state(entity) for entity in lasting}
    events = {entity for entity in before if entity.startswith("event.")}
    heard = await broker.listen(
        *(f"doorstep/+/{told}" for told in ("+/set", "lock", "garage", "info")),
        "homeassistant/status",
        "test/automation",
    )
    await core.stop()
    # A ring that somebody else left there.
    broker.publish(f"{driveway}/ring", json.dumps({"event_type": "ring", "id": "old"}), "-r")
    since = len(heard.lines)
    await core.start()
    seen = await core.changes()
    for entity, state in before.items():
        await core.comes(entity, state, *(["unknown"] if entity in events else []))
    # Core's birth message, upon which Doorstep tells everything again.
    said = lambda topic: [line for line in heard.lines[since:] if topic in line]  # noqa: E731
    await until("Core does not tell that it is up", lambda: said("homeassistant/status online"))
    await until("Doorstep tells nothing anew", lambda: said(f"{driveway}/info"))
    # What comes after this has been through both.
    broker.publish(f"{driveway}/motion", json.dumps({"event_type": "person", "id": "new"}))
    await until("nobody is seen", lambda: [entity for entity, _, _ in seen if entity == "event.driveway_motion"][-1:])
    broker.publish(f"{driveway}/ring", "", "-r")
    # It shows its last event again, which is none.
    shown = {(entity, state) for entity, state, _ in seen if entity in events and entity != "event.driveway_motion"}
    assert shown <= {(entity, state) for entity in events for state in (before[entity], "unavailable", "unknown")}
    assert said("test/automation") == []
    doors = {state for entity, state, _ in seen if entity.startswith(("lock.", "cover."))}
    assert doors <= {"unavailable", "unknown", "locked", "closed"}
    assert said("/set ") == []
    assert all(line.endswith(("LOCKED", "closed")) for line in said("/lock ") + said("/garage "))
