"""What Doorstep asks of Home Assistant's engines of speech, Home Assistant answers."""

import asyncio
import json

import pytest

from core import Core
from house import DOORSTEP

# An engine as integrations bring them: an entity that gives a WAV, and knows one language.
ENGINE = '''
import io
import wave

from homeassistant.components.tts import TextToSpeechEntity
from homeassistant.components.tts.const import DATA_COMPONENT
from homeassistant.setup import async_setup_component


class Voice(TextToSpeechEntity):
    _attr_name = "House voice"
    _attr_unique_id = "house_voice"
    _attr_default_language = "en"
    _attr_supported_languages = ["en"]

    def get_tts_audio(self, message, language, options):
        file = io.BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setparams((1, 2, 22050, 0, "NONE", ""))
            sound.writeframes(bytes([0, 16, 0, 240] * 11025))
        return "wav", file.getvalue()


async def async_setup(hass, config):
    assert await async_setup_component(hass, "tts", {"tts": []})
    await hass.data[DATA_COMPONENT].async_add_entities([Voice()])
    return True
'''
MANIFEST = {"domain": "house_voice", "name": "House voice", "version": "1.0.0", "dependencies": ["tts"]}


@pytest.fixture(scope="module")
async def core(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house")
    core = Core(folder / "core", more="house_voice:\n")
    voice = core.folder / "custom_components/house_voice"
    voice.mkdir()
    (voice / "__init__.py").write_text(ENGINE)
    (voice / "manifest.json").write_text(json.dumps(MANIFEST))
    await core.start()
    yield core
    await core.stop()


async def check(core, folder, **say):
    """What `doorstep check` says of spoken text, and whether all is well."""
    say = {"url": core.url, "token": core.token, **say}
    (folder / "doorstep.yaml").write_text(json.dumps({"say": say}))
    where = ("--config", folder / "doorstep.yaml", "--data", folder / "data")
    process = await asyncio.create_subprocess_exec(
        str(DOORSTEP), "check", *map(str, where), stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    said, _ = await process.communicate()
    [line] = [line for line in said.decode().splitlines() if line.startswith("Spoken text: ")]
    return line.removeprefix("Spoken text: "), process.returncode


async def test_the_only_engine_speaks_without_being_named(core, tmp_path):
    assert await check(core, tmp_path) == ("Home Assistant speaks it.", 0)


async def test_an_engine_that_is_named_speaks_in_its_language(core, tmp_path):
    assert await check(core, tmp_path, engine="tts.house_voice", language="en") == ("Home Assistant speaks it.", 0)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"engine": "tts.nobody"}, "Home Assistant's engine `tts.nobody` did not speak the text ("),
        ({"language": "sv"}, "Home Assistant's engine `tts.house_voice` did not speak the text in `sv` ("),
        ({"token": "wrong"}, "does not let Doorstep ask it to speak"),
    ],
)
async def test_what_is_wrong_is_told(core, tmp_path, wrong, told):
    said, code = await check(core, tmp_path, **wrong)
    assert told in said and code == 2, said
