"""The integration in `custom_components/doorstep`, in a real Core, against a real Doorstep."""

import json

import pytest

from core import free_port, until
from viewer import Viewer

DOORBELLS = ("tutk-old", "vivint")
WYZE, VIVINT = "wyze_d03f27a1b2c3", "vivint_7001000200030004_27"


@pytest.fixture(scope="module")
async def entry(house):
    """Its entry, made by hand."""
    entry = await house.core.connect_doorstep(house.demo.port)
    for camera in ("camera.front_door", "camera.driveway"):
        await house.core.comes(camera, "idle", "streaming")
    return entry


async def test_a_wrong_address_is_told_at_once(house):
    flow = await house.core.flow("doorstep")
    assert (flow["type"], flow["step_id"], flow["errors"]) == ("form", "user", {})
    wrong = {"cannot_connect": free_port(), "not_doorstep": house.core.port}
    for error, port in wrong.items():
        flow = await house.core.go_on(flow["flow_id"], {"host": "127.0.0.1", "port": port, "ssl": False})
        assert flow["errors"] == {"base": error}, flow
    flow = await house.core.go_on(flow["flow_id"], {"host": "not a host", "port": 1, "ssl": False})
    assert flow["errors"] == {"base": "cannot_connect"}, flow


async def test_the_same_one_is_connected_once(house, entry):
    flow = await house.core.flow("doorstep", {"host": "127.0.0.1", "port": house.demo.port, "ssl": False})
    assert (flow["type"], flow["reason"]) == ("abort", "already_configured"), flow


async def test_every_doorbell_is_one_device(house, entry):
    """Both came to a Core that knew the doorbell by MQTT; the other order is tested where MQTT comes last."""
    await until("MQTT's entities are not there", lambda: one_device_each(house.core))


async def one_device_each(core):
    """Whether both integrations' entities hang on one device for each doorbell."""
    registry = await core.socket.ask("config/device_registry/list")
    devices = {device["id"]: device for device in registry if ["doorstep", WYZE] in device["identifiers"]}
    devices |= {device["id"]: device for device in registry if ["mqtt", f"doorstep_{WYZE}"] in device["identifiers"]}
    if len(devices) != 1:
        return False
    (device,) = devices.values()
    entities = await core.socket.ask("config/entity_registry/list")
    platforms = {entity["platform"] for entity in entities if entity["device_id"] == device["id"]}
    return platforms == {"mqtt", "doorstep"} and (device["name"], device["manufacturer"]) == ("Front Door", "Wyze")


async def test_the_picture_comes_and_the_microphone_is_heard(house, entry):
    capabilities = await house.core.socket.ask("camera/capabilities", entity_id="camera.front_door")
    assert capabilities["frontend_stream_types"] == ["web_rtc"], capabilities
    before, viewer, said = house.demo.said, Viewer(pitch=440), []
    call = await house.core.socket.listen(
        "camera/webrtc/offer", said.append, entity_id="camera.front_door", offer=await viewer.offer()
    )
    session = (await until("no session", lambda: [word for word in said if word["type"] == "session"]))[0]["session_id"]
    # As a browser does, before the answer is there.
    candidate = {"candidate": "candidate:1 1 UDP 2122252543 127.0.0.1 9 typ host", "sdpMid": "0", "sdpMLineIndex": 0}
    await house.core.socket.ask(
        "camera/webrtc/candidate", entity_id="camera.front_door", session_id=session, candidate=candidate
    )
    answer = await until(lambda: f"no answer: {said}", lambda: [word for word in said if word["type"] != "session"])
    assert answer[0]["type"] == "answer", answer
    await viewer.take(answer[0]["answer"])
    await viewer.sees(20)
    await house.core.comes("camera.front_door", "streaming")
    in_tune = lambda event: event["doorbell"] == WYZE and abs((event["tone_hz"] or 0) - 440) < 20  # noqa: E731
    await house.demo.event("talk_audio", before, in_tune)
    await house.core.socket.ask("unsubscribe_events", subscription=call)
    await until("it is still watched", lambda: nobody_watches(house.demo))
    await viewer.leave()


async def nobody_watches(demo):
    return (await demo.get(f"api/doorbells/{WYZE}"))["viewers"] == 0


async def test_a_refusal_is_told_in_doorsteps_words(house, entry):
    said = []
    await house.core.socket.listen("camera/webrtc/offer", said.append, entity_id="camera.front_door", offer="v=0\r\n")
    await until("no refusal", lambda: [word for word in said if word["type"] == "error"])
    assert said[-1]["code"] == "webrtc_offer_failed", said
    assert "offer" in said[-1]["message"], said


async def test_the_still_picture_is_the_one_that_was_taken_last(house, entry):
    await house.core.act("button.press", "button.driveway_take_snapshot")

    async def shown():
        status, headers, body = await house.core.rest("GET", "/api/camera_proxy/camera.driveway")
        return (status, headers["Content-Type"], body[:2]) == (200, "image/jpeg", b"\xff\xd8")

    await until("no still picture", shown)


async def test_a_doorbell_that_is_away_is_unavailable(house, entry):
    house.demo.tell(f"offline {WYZE}")
    await house.core.act("switch.turn_on", "switch.front_door_stream")
    await house.core.comes("camera.front_door", "unavailable")
    house.demo.tell(f"online {WYZE}")
    await house.core.comes("camera.front_door", "streaming")
    await house.core.act("switch.turn_off", "switch.front_door_stream")


async def test_the_card_is_told_of_the_service_and_reaches_it(house, entry):
    told = await until("no version", lambda: instances(house.core))
    assert [(one["id"], one["title"]) for one in told] == [(entry, "127.0.0.1")], told
    root = f"/api/doorstep/{entry}"
    status, headers, body = await house.core.rest("GET", f"{root}/api/doorbells")
    assert (status, headers["Content-Type"]) == (200, "application/json"), (status, headers)
    assert {doorbell["id"] for doorbell in json.loads(body)} == {WYZE, VIVINT}
    status, _, body = await house.core.rest("GET", f"{root}/api/doorbells/{WYZE}")
    assert (status, json.loads(body)["name"]) == (200, "Front Door")
    status, _, body = await house.core.rest("POST", f"{root}/api/doorbells/{WYZE}/talk", json={"on": False})
    assert (status, json.loads(body)["talking"]) == (200, False), body


async def instances(core):
    told = await core.socket.ask("doorstep/instances")
    return told if all(one["version"] for one in told) else None


async def test_the_card_calls_by_whep_through_home_assistant(house, entry):
    viewer, path = Viewer(), f"/api/doorstep/{entry}/whep/{WYZE}"
    sdp = {"headers": {"Content-Type": "application/sdp"}}
    status, headers, body = await house.core.rest("POST", path, data=await viewer.offer(), **sdp)
    assert (status, headers["Content-Type"].split(";")[0]) == (201, "application/sdp"), (status, body)
    doorbell, _, session = headers["Location"].partition("/")
    assert doorbell == WYZE and len(session) == 16, headers["Location"]
    await viewer.take(body.decode())
    await viewer.sees(5)
    fragment = {"headers": {"Content-Type": "application/trickle-ice-sdpfrag"}, "data": "a=end-of-candidates\r\n"}
    assert (await house.core.rest("PATCH", f"{path}/{session}", **fragment))[0] == 204
    assert (await house.core.rest("DELETE", f"{path}/{session}"))[0] == 200
    assert (await house.core.rest("DELETE", f"{path}/{session}"))[0] == 404
    await viewer.leave()


async def test_nothing_else_passes_and_nobody_without_a_log_in(house, entry):
    root, json_type = f"/api/doorstep/{entry}", {"Content-Type": "application/json"}
    for method, path in (
        ("POST", f"api/doorbells/{VIVINT}/unlock"),
        ("POST", f"api/doorbells/{VIVINT}/lock"),
        ("POST", f"api/doorbells/{VIVINT}/garage"),
        ("POST", f"api/doorbells/{VIVINT}/stream"),
        ("POST", f"api/doorbells/{VIVINT}/say"),
        ("DELETE", f"api/doorbells/{VIVINT}/say"),
        ("PUT", "api/clips/bell"),
        ("GET", f"api/doorbells/{VIVINT}/diagnostics"),
        ("GET", "api/accounts"),
        ("GET", "api/events"),
        ("GET", "api/access"),
        ("GET", "metrics"),
        ("GET", ""),
        ("GET", f"api/doorbells/{VIVINT}%2Fdiagnostics"),
        ("GET", "api/doorbells/..%2Faccounts"),
        ("POST", f"api/doorbells/{VIVINT}/talk%2F..%2Funlock"),
        ("GET", f"whep/{WYZE}"),
        ("PUT", "api/doorbells"),
        ("DELETE", f"whep/{WYZE}/..%2f..%2fapi"),
        ("POST", "whep/Wyze-1"),
    ):
        status, _, _ = await house.core.rest(method, f"{root}/{path}", headers=json_type, data="{}")
        assert status in (400, 404, 405), (method, path, status)
    for path in ("api/doorbells", f"api/doorbells/{WYZE}"):
        for token in (None, "nonsense"):
            assert (await house.core.rest("GET", f"{root}/{path}", token=token))[0] == 401, path
    assert (await house.core.rest("POST", f"{root}/whep/{WYZE}", token=None, data="v=0"))[0] == 401
    assert (await house.core.rest("GET", "/api/doorstep/01ABCDEF/api/doorbells"))[0] == 503
    assert (await house.core.rest("POST", f"{root}/whep/{WYZE}", json={}))[0] == 415
    large = {"headers": {"Content-Type": "application/sdp"}, "data": "x" * (64 * 1024 + 1)}
    assert (await house.core.rest("POST", f"{root}/whep/{WYZE}", **large))[0] == 413


async def test_what_is_sent_along_with_a_report_names_nobody(house, entry):
    status, _, body = await house.core.rest("GET", f"/api/diagnostics/config_entry/{entry}")
    told = json.loads(body)["data"]
    assert (status, told["connected"], len(told["doorbells"])) == (200, True, 2), told
    assert b"Front Door" not in body and b"d03f27a1b2c3" not in body


async def test_home_assistant_has_found_nothing_wrong(house, entry):
    assert house.core.complaints() == []


async def test_a_doorbell_that_vanishes_is_taken_away(house, entry):
    house.demo.tell(f"remove 27 {VIVINT}")

    async def gone():
        # It is believed when a second listing lacks it, too.
        await house.core.act("button.press", "button.doorstep_rediscover")
        registry = await house.core.socket.ask("config/device_registry/list")
        return not any(["doorstep", VIVINT] in device["identifiers"] for device in registry)

    await until("the device is still there", gone)
    assert await house.core.state("camera.driveway") is None


async def test_a_service_that_was_away_is_found_again(house, entry):
    await house.demo.end()
    await house.core.comes("camera.front_door", "unavailable")
    await house.demo.start(*DOORBELLS, mqtt=house.broker.port)
    # The one that had vanished is there again.
    for camera in ("camera.front_door", "camera.driveway"):
        await house.core.comes(camera, "idle", "streaming")
    await until("MQTT's entities are not there", lambda: one_device_each(house.core))
