"""What Home Assistant can have a doorbell say, heard at a virtual one, and the pictures that come of a ring."""

import asyncio
import json
import time
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest

from core import Core, Process, free_port, until
from house import DOORSTEP, Broker
from supervisor import TOKEN, Supervisor
from tone.wave import sine

HERE = Path(__file__).parent
BUTTON = "test/button"
BELL, WAIT = 660, 523
# A text's own is in it.
TEXT = 880
MORE = """
media_source:
media_player:
"""


class Door:
    """A virtual doorbell, and a Doorstep that has it alone."""

    def __init__(self, folder, name, broker=None):
        self.folder, self.name, self.broker, self.port = folder, name, broker, free_port()

    async def start(self, say):
        self.camera = await Process.run("camera", DOORSTEP, "sim", "tutk-camera", "--listen", "127.0.0.1:0")
        made = json.loads(await self.camera.says('"kind"'))
        known = {key: made[key] for key in ("uid", "enr", "mac", "model")}
        self.id = f"wyze_{made['mac'].lower()}"
        config = {
            "http": {"listen": f"127.0.0.1:{self.port}"},
            "media": {"port": free_port()},
            "go2rtc": {"enabled": False},
            "wyze": [{"cameras": [{"name": self.name, **known, "address": made["listen"]}]}],
            "doorbells": [{"id": self.id, "ring_topic": BUTTON}] if self.broker else [],
            "say": {"clips": str(self.clips), **say},
        }
        if self.broker:
            config["mqtt"] = {"url": f"mqtt://127.0.0.1:{self.broker.port}"}
        settings = self.folder / "doorstep.yaml"
        settings.write_text(json.dumps(config))
        command = (DOORSTEP, "run", "--config", settings, "--data", self.folder / "data")
        self.process = await Process.run("doorstep", *command)
        await self.process.says(str(self.port))
        return self

    @property
    def clips(self):
        return self.folder / "clips"

    @property
    def said(self):
        """How many lines there are by now, to look from there on."""
        return len(self.camera.lines)

    def events(self, name, since=0):
        told = [json.loads(line) for line in self.camera.lines[since:] if line.startswith("{")]
        return [event for event in told if event.get("event") == name]

    async def hears(self, pitch, since):
        """The first second in which this sounds at the door."""
        in_tune = lambda event: abs((event["tone_hz"] or 0) - pitch) < 15  # noqa: E731
        heard = lambda: next(filter(in_tune, self.events("talk_audio", since)), None)  # noqa: E731
        return await until(lambda: f"no {pitch} Hz at the door: {self.camera.lines[since:]}", heard)

    async def is_quiet(self, since):
        """Each talk that has begun is over."""
        counts = lambda: [len(self.events(name, since)) for name in ("talk_started", "talk_ended")]  # noqa: E731
        await until(
            lambda: f"it talks on: {self.camera.lines[since:]}", lambda: len(set(counts())) == 1 and counts()[0]
        )

    async def post(self, path, **what):
        async with aiohttp.ClientSession() as http:
            async with http.post(f"http://127.0.0.1:{self.port}/api/doorbells/{self.id}/{path}", json=what) as answer:
                return answer.status, await answer.json()

    async def end(self):
        await self.process.end()
        await self.camera.end()


@pytest.fixture(scope="module")
async def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house")
    broker, supervisor = await Broker().start(folder), await Supervisor().start()
    media = folder / "core/media"
    core = Core(folder / "core", more=MORE, components=[HERE / "tone"])
    media.mkdir()
    (media / "wait.wav").write_bytes(sine(WAIT, seconds=3))
    configuration = core.folder / "configuration.yaml"
    named = f"  name: House\n  media_dirs: {{local: {media}}}\n"
    configuration.write_text(configuration.read_text().replace("  name: House\n", named))
    door = Door(folder, "Front Door", broker)
    door.clips.mkdir(mode=0o755)
    (door.clips / "bell.wav").write_bytes(sine(BELL, seconds=3))
    (door.clips / "long.wav").write_bytes(sine(WAIT, seconds=40))
    supervisor.core = core
    # As the app asks the Supervisor.
    await door.start({"url": f"http://127.0.0.1:{supervisor.port}/core", "token": TOKEN})
    await core.start()
    await core.connect_mqtt(broker.port)
    said = await core.flow("tone")
    assert said["type"] == "create_entry", said
    entry = await core.connect_doorstep(door.port)
    await core.comes("media_player.front_door_speaker", "idle")
    await core.comes("select.front_door_clip", "unknown")
    yield SimpleNamespace(core=core, broker=broker, door=door, supervisor=supervisor, entry=entry)
    await core.stop()
    await door.end()
    await supervisor.end()
    await broker.end()


async def say(house, socket=None, **data):
    """The companion's action: what Home Assistant answers, a refusal too. `socket`: of another user than the owner."""
    target = {"entity_id": "camera.front_door"}
    call = {"domain": "doorstep", "service": "say", "service_data": data, "target": target, "return_response": True}
    return await (socket or house.core.socket).try_ask("call_service", **call)


async def test_a_text_is_spoken_by_home_assistant_and_heard_at_the_door(house):
    since = house.door.said
    await house.core.act("notify.send_message", "notify.front_door_say", message=f"Somebody comes, {TEXT}.")
    await house.door.hears(TEXT, since)
    await house.door.is_quiet(since)
    assert {path.split("/")[1] for _, path in house.supervisor.passed} == {"template", "tts_get_url", "tts_proxy"}


async def test_a_siren_plays_a_tone_as_loud_and_as_long_as_it_is_told(house):
    levels = {}
    for volume in (1.0, 0.25):
        since = house.door.said
        siren = {"tone": "bell", "volume_level": volume, "duration": 5}
        begun = time.monotonic()
        await house.core.act("siren.turn_on", "siren.front_door_clips", **siren)
        await house.core.comes("siren.front_door_clips", "on")
        await house.door.hears(BELL, since)
        await house.core.comes("siren.front_door_clips", "off")
        # The clip itself has 3 s.
        assert time.monotonic() - begun > 4.5
        await house.door.is_quiet(since)
        levels[volume] = max(event["level_db"] for event in house.door.events("talk_audio", since))
    assert 10 < levels[1.0] - levels[0.25] < 14, levels


async def test_a_chosen_clip_is_played_and_shown_while_it_plays(house):
    since = house.door.said
    await house.core.act("select.select_option", "select.front_door_clip", option="bell")
    await house.core.comes("select.front_door_clip", "bell")
    await house.core.comes("media_player.front_door_speaker", "playing")
    await house.door.hears(BELL, since)
    await house.core.comes("select.front_door_clip", "unknown")
    await house.core.comes("media_player.front_door_speaker", "idle")
    await house.door.is_quiet(since)


async def test_a_button_stops_it(house):
    since = house.door.said
    await house.core.act("siren.turn_on", "siren.front_door_clips", tone="long")
    await house.door.hears(WAIT, since)
    await house.core.act("button.press", "button.front_door_stop_saying")
    await house.core.comes("siren.front_door_clips", "off")
    await house.door.is_quiet(since)


async def test_the_action_waits_for_the_end_and_tells_how_long_it_took(house):
    since = house.door.said
    for what in (
        {"clip": "bell"},
        {"message": f"{TEXT}, again"},
        {"media_content_id": "media-source://media_source/local/wait.wav"},
    ):
        said = await say(house, volume=0.8, **what)
        assert said["success"], said
        (outcome,) = said["result"]["response"].values()
        assert outcome["whole"] is True and 2800 <= outcome["played_ms"] <= 3200, outcome
    for pitch in (BELL, TEXT, WAIT):
        await house.door.hears(pitch, since)
    await house.door.is_quiet(since)


async def test_the_action_tells_what_was_wrong_in_doorsteps_words(house):
    since = house.door.said
    for what, words in (
        ({"clip": "nobody"}, "nobody"),
        ({"message": "No pitch"}, "tts.tone"),
        ({"url": f"http://127.0.0.1:{house.core.port}/local/x.mp3"}, "say.allow"),
        ({"url": "file:///etc/passwd"}, "http"),
        ({"media_content_id": "media-source://media_source/local/none.wav"}, "none.wav"),
    ):
        said = await say(house, **what)
        assert not said["success"] and words in said["error"]["message"], said
    for what in ({}, {"clip": "bell", "message": "both"}, {"clip": "bell", "volume": 2}):
        assert not (await say(house, **what))["success"], what
    assert house.door.events("talk_started", since) == [], "something was played although it was refused"


async def test_who_may_control_nothing_has_no_doorbell_speak_or_fall_silent(house):
    since = house.door.said
    onlooker = await house.core.make_onlooker()
    refused = await say(house, socket=onlooker, clip="bell")
    assert not refused["success"] and refused["error"]["message"] == "Unauthorized", refused
    target = {"entity_id": "camera.front_door"}
    stop = {"domain": "doorstep", "service": "stop_saying", "target": target}
    refused = await onlooker.try_ask("call_service", **stop)
    assert not refused["success"] and refused["error"]["message"] == "Unauthorized", refused
    await onlooker.close()
    assert house.door.events("talk_started", since) == []


async def test_the_action_is_stopped_by_the_other_one(house):
    since = house.door.said
    saying = asyncio.create_task(say(house, clip="long"))
    await house.door.hears(WAIT, since)
    await house.core.act("doorstep.stop_saying", "media_player.front_door_speaker")
    said = await saying
    (outcome,) = said["result"]["response"].values()
    assert outcome["whole"] is False and outcome["played_ms"] < 40_000, said
    await house.door.is_quiet(since)


async def test_home_assistants_own_speech_reaches_the_media_player(house):
    since = house.door.said
    await house.core.act("media_player.volume_set", "media_player.front_door_speaker", volume_level=0.5)
    player = {"media_player_entity_id": "media_player.front_door_speaker", "message": "700"}
    await house.core.act("tts.speak", "tts.tone", **player)
    await house.door.hears(700, since)
    await house.door.is_quiet(since)


async def test_the_media_player_offers_the_clips_and_stops(house):
    browsed = await house.core.socket.ask("media_player/browse_media", entity_id="media_player.front_door_speaker")
    assert [child["title"] for child in browsed["children"]][:2] == ["bell", "long"], browsed
    since = house.door.said
    long = {"media_content_type": "clip", "media_content_id": "long"}
    playing = asyncio.create_task(house.core.act("media_player.play_media", "media_player.front_door_speaker", **long))
    await house.door.hears(WAIT, since)
    await house.core.comes("media_player.front_door_speaker", "playing")
    await house.core.act("media_player.media_stop", "media_player.front_door_speaker")
    await playing
    await house.core.comes("media_player.front_door_speaker", "idle")
    await house.door.is_quiet(since)


async def jpeg(house, path):
    """The picture that Home Assistant shows there, once there is one."""
    status, headers, body = await house.core.rest("GET", path)
    return body if (status, headers["Content-Type"], body[:2]) == (200, "image/jpeg", b"\xff\xd8") else None


async def test_a_ring_brings_its_picture(house):
    rings = lambda: house.core.state("event.front_door_ring")  # noqa: E731
    before, image = await rings(), await house.core.state("image.front_door_ring_picture")
    house.broker.publish(BUTTON, "ON")
    changed = lambda entity, was: until(f"{entity} stays {was}", lambda: differs(house, entity, was))  # noqa: E731
    rang = await changed("event.front_door_ring", before)
    taken = await changed("image.front_door_ring_picture", image)
    assert taken >= rang, "the picture is another ring's"
    for path in ("image_proxy/image.front_door_ring_picture", "camera_proxy/camera.front_door_snapshot"):
        await until(f"no picture at {path}", lambda: jpeg(house, f"/api/{path}"))  # noqa: B023
    # The integration's camera shows it as well.
    await until("the camera has no still picture", lambda: jpeg(house, "/api/camera_proxy/camera.front_door"))


async def differs(house, entity, was):
    state = await house.core.state(entity)
    return state if state not in (was, "unknown", "unavailable") else None


async def test_a_restart_of_core_says_nothing(house):
    core, door = house.core, house.door
    await core.act("select.select_option", "select.front_door_clip", option="bell")
    await core.comes("select.front_door_clip", "bell")
    await core.comes("select.front_door_clip", "unknown")
    heard = await house.broker.listen(
        *(f"doorstep/+/{topic}" for topic in ("say", "say/stop", "siren/set", "clip/set", "info"))
    )
    await core.stop()
    since, lines = door.said, len(heard.lines)
    await core.start()
    await core.comes("select.front_door_clip", "unknown")
    await core.comes("siren.front_door_clips", "off")
    # Doorstep tells everything anew after Core's birth message; what would be said is said by then.
    await until(
        "Doorstep tells nothing anew",
        lambda: [line for line in heard.lines[lines:] if line.split()[1].endswith("/info")],
    )
    commands = [line for line in heard.lines[lines:] if line.split()[1].endswith(("/say", "/stop", "/set"))]
    assert commands == []
    assert door.events("talk_started", since) == []


async def test_without_a_supervisor_a_token_does(house, tmp_path):
    door = Door(tmp_path, "Garden")
    await door.start({"url": house.core.url, "token": house.core.token, "engine": "tts.tone", "language": "en"})
    since = door.said
    status, outcome = await door.post("say", text="990")
    assert status == 200 and outcome["whole"], outcome
    await door.hears(990, since)
    await door.end()
    wrong = Door(tmp_path, "Garden")
    await wrong.start({"url": house.core.url, "token": "wrong"})
    status, outcome = await wrong.post("say", text="990")
    assert status == 502 and "say.token" in outcome["error"], (status, outcome)
    assert "wrong" not in outcome["error"] and "wrong" not in "\n".join(wrong.process.lines), "the token is told"
    await wrong.end()


async def test_home_assistant_has_found_nothing_wrong(house):
    assert house.core.complaints() == []
