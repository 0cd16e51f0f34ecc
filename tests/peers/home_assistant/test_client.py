"""What the integration makes of a service that is not what it should be, and whether it has words for everything."""

import asyncio
import json
import re
import sys
from contextlib import asynccontextmanager

import aiohttp
import pytest
import yaml
from aiohttp import web
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError

from core import ROOT, free_port

sys.path.append(str(ROOT))
from custom_components.doorstep import actions, api  # noqa: E402

FOLDER = ROOT / "custom_components/doorstep"
DOORBELL = {
    "id": "fake_1",
    "name": "Front Door",
    "vendor": "fake",
    "model": "F1",
    "firmware": None,
    "capabilities": ["ring", "stream"],
    "link": "ready",
}


@asynccontextmanager
async def service(handler):
    """A client of a service that answers everything by `handler`."""
    port = free_port()
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with aiohttp.ClientSession() as session:
        yield api.Doorstep(session, api.Address("127.0.0.1", port, token="secret"))
    await runner.cleanup()


def answering(**what):
    async def handler(_request):
        return web.Response(**what)

    return handler


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>",
        "{}",
        "[[]]",
        "[1]",
        '"x"',
        json.dumps([{**DOORBELL, "id": "../accounts"}]),
        json.dumps([{**DOORBELL, "id": 7}]),
        json.dumps([{**DOORBELL, "capabilities": 7}]),
        json.dumps([{key: DOORBELL[key] for key in DOORBELL if key != "link"}]),
        json.dumps([{**DOORBELL, "speaking": "bell"}]),
        " " * (2 * 1024 * 1024 + 1),
    ],
    ids=lambda body: body[:40],
)
async def test_a_list_that_is_none_is_not_believed(body):
    async with service(answering(text=body, content_type="application/json")) as client:
        with pytest.raises(api.NotDoorstep):
            await client.doorbells()


@pytest.mark.parametrize(
    "location", ["http://evil.example/whep/fake_1/0123456789abcdef", "/whep/fake_1", "..", "", None]
)
async def test_a_viewer_that_is_elsewhere_is_not_followed(location):
    headers = {} if location is None else {"Location": location}
    async with service(answering(status=201, text="v=0", headers=headers)) as client:
        with pytest.raises(api.NotDoorstep):
            await client.call("fake_1", "v=0")


async def test_a_redirect_takes_the_token_nowhere():
    asked = []

    async def handler(request):
        asked.append(request.path)
        raise web.HTTPFound("/elsewhere")

    async with service(handler) as client:
        with pytest.raises(api.DoorstepError):
            await client.doorbells()
    assert asked == ["/api/doorbells"]


async def test_a_wrong_token_is_not_sent_again_and_again():
    asked = []

    async def handler(request):
        asked.append(request.path)
        return web.json_response({"error": "no"}, status=401)

    async with service(handler) as client:
        for _ in range(20):
            with pytest.raises(api.InvalidAuth):
                await client.doorbells()
        with pytest.raises(api.InvalidAuth):
            async with client.events():
                pass
    assert asked == ["/api/doorbells"]


async def test_a_refusal_keeps_its_sentence_and_a_strange_one_its_number():
    async with service(
        answering(status=409, text='{"error": "Front Door: busy."}', content_type="application/json")
    ) as client:
        with pytest.raises(api.Refused, match=r"^Front Door: busy\.$"):
            await client.say("fake_1", {"clip": "bell"})
    async with service(answering(status=502, text="<h1>x</h1>", content_type="text/html")) as client:
        with pytest.raises(api.Refused, match=r"^Doorstep answers with HTTP 502\.$"):
            await client.say("fake_1", {"clip": "bell"})


async def test_a_picture_that_nobody_has_yet_is_none_and_no_error():
    asked, status = [], 404

    async def handler(request):
        asked.append(request.path_qs)
        return web.Response(status=status, body=b"\xff\xd8\xff")

    async with service(handler) as client:
        assert await client.picture("fake_1") is None
        status = 200
        assert await client.picture("fake_1") == b"\xff\xd8\xff"
        status = 503
        with pytest.raises(api.Refused):
            await client.picture("fake_1")
    assert asked == ["/api/doorbells/fake_1/snapshot.jpg?wake=false"] * 3, "it woke the camera"


async def test_sound_is_sent_as_such_whatever_it_calls_itself():
    sent = []

    async def handler(request):
        sent.append((request.path_qs, request.content_type, await request.read()))
        return web.json_response({"played_ms": 1000})

    async with service(handler) as client:
        assert await client.play("fake_1", b"RIFF", "audio/wav", 0.25) == {"played_ms": 1000}
        await client.play("fake_1", b"ID3", "application/octet-stream")
        await client.say("fake_1", {"text": "Coming!"})
    assert sent == [
        ("/api/doorbells/fake_1/say?volume=0.250", "audio/wav", b"RIFF"),
        ("/api/doorbells/fake_1/say", "audio/mpeg", b"ID3"),
        ("/api/doorbells/fake_1/say", "application/json", b'{"text": "Coming!"}'),
    ]


@pytest.mark.parametrize("body", ["", "[]", "<html>", '"x"'])
async def test_an_outcome_that_is_none_is_not_believed(body):
    async with service(answering(text=body, content_type="application/json")) as client:
        with pytest.raises(api.NotDoorstep):
            await client.say("fake_1", {"clip": "bell"})


@pytest.mark.parametrize("body", ["", "7", '[{"seconds": 1}]', '["x"]'])
async def test_clips_that_are_none_are_not_believed(body):
    async with service(answering(text=body, content_type="application/json")) as client:
        with pytest.raises(api.NotDoorstep):
            await client.clips()


async def test_a_candidate_says_nothing_but_itself():
    told = []

    async def handler(request):
        told.append(await request.text())
        return web.Response(status=204)

    async with service(handler) as client:
        call = api.Call("v=0", "whep/fake_1/0123456789abcdef")
        good = "candidate:1 1 UDP 2122252543 192.0.2.1 9 typ host"
        for candidate, mid in ((good, "0"), (good, "0\r\na=ice-pwd:x"), (f"{good}\r\na=ice-pwd:x", "0"), ("", None)):
            await client.add_candidate(call, candidate, mid)
    assert told == [f"a=mid:0\r\na={good}\r\n", f"a={good}\r\n"]


async def test_events_that_are_none_are_passed_over():
    async def handler(request):
        socket = web.WebSocketResponse(protocols=["doorstep"])
        await socket.prepare(request)
        for text in ("", "{", "[]", '{"type": "new"}'):
            await socket.send_str(text)
        await socket.send_bytes(b"\x00")
        await socket.close()
        return socket

    async with service(handler) as client, client.events() as events:
        assert [news async for news in events] == [{"type": "new"}]


async def test_a_socket_that_is_cut_is_told():
    async def handler(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        request.transport.close()
        await asyncio.sleep(0)
        return socket

    async with service(handler) as client:
        try:
            async with client.events() as events:
                assert [news async for news in events] == []
        except api.CannotConnect:
            pass


@pytest.mark.parametrize(
    ("refusals", "kind"),
    [
        ({"b": (409, "B: busy."), "c": (400, "There is no clip.")}, HomeAssistantError),
        ({"b": (400, "There is no clip."), "c": (400, "There is no clip.")}, ServiceValidationError),
    ],
)
async def test_every_doorbell_is_tried_and_each_failure_told_once(refusals, kind):
    tried = []

    async def act(speaker):
        tried.append(speaker.id)
        if speaker.id in refusals:
            raise api.Refused(*refusals[speaker.id])
        return {"whole": True}

    speakers = [actions._Speaker(id, None) for id in "abc"]
    with pytest.raises(HomeAssistantError) as raised:
        await actions._each(speakers, act)
    assert tried == ["a", "b", "c"]
    assert (type(raised.value), str(raised.value)) == (
        kind,
        " ".join(dict.fromkeys(sentence for _, sentence in refusals.values())),
    )
    refusals = {}
    assert (await actions._each(speakers, act)).keys() == {"a", "b", "c"}


def keys(tree, path=()):
    """Every text's place, with the gaps that it has."""
    if isinstance(tree, str):
        return {(path, tuple(sorted(re.findall(r"{\w+}", tree))))}
    return set().union(*(keys(branch, (*path, name)) for name, branch in tree.items()))


def test_every_language_says_everything():
    words = {file.stem: json.loads(file.read_text()) for file in (FOLDER / "translations").glob("*.json")}
    assert {"en", "de", "fr", "es", "nl"} <= words.keys()
    assert words["en"] == json.loads((FOLDER / "strings.json").read_text())
    for language, tree in words.items():
        assert keys(tree) == keys(words["en"]), language


def test_every_outcome_of_a_form_has_words():
    words, code = json.loads((FOLDER / "strings.json").read_text())["config"], (FOLDER / "config_flow.py").read_text()
    assert set(re.findall(r'"base": "(\w+)"', code)) == words["error"].keys()
    assert set(re.findall(r'step_id="(\w+)"', code)) == words["step"].keys()
    # What Home Assistant's own helpers say.
    usual = {"already_configured", "reauth_successful", "reconfigure_successful"}
    assert set(re.findall(r'reason="(\w+)"', code)) | usual == words["abort"].keys()


def test_every_action_and_its_errors_have_words():
    words, code = json.loads((FOLDER / "strings.json").read_text()), (FOLDER / "actions.py").read_text()
    registered = set(re.findall(r"async_register\(DOMAIN, \"(\w+)\"", code))
    described = {name: set((action or {}).get("fields", {})) for name, action in described_actions().items()}
    assert registered == described.keys() == words["services"].keys()
    for name, fields in described.items():
        assert fields == words["services"][name].get("fields", {}).keys(), name
    said = re.findall(r"_invalid\(\"(\w+)\"", code)
    said += re.findall(r'translation_key="(\w+)"', (FOLDER / "sound.py").read_text())
    assert set(said) == words["exceptions"].keys()


def described_actions():
    return yaml.safe_load((FOLDER / "services.yaml").read_text())
