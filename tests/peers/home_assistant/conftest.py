"""The house that the tests of one file share."""

from types import SimpleNamespace

import pytest

from core import Core
from house import Broker, Demo


@pytest.fixture(scope="module")
async def house(request, tmp_path_factory):
    """Core, broker and Doorstep with the doorbells that the file names in `DOORBELLS`; MQTT is connected.

    What the file has as `CONFIGURATION` is added to Core's.
    """
    folder = tmp_path_factory.mktemp("house")
    broker = await Broker().start(folder)
    demo = await Demo().start(*request.module.DOORBELLS, mqtt=broker.port)
    core = Core(folder / "core", more=getattr(request.module, "CONFIGURATION", ""))
    await core.start()
    if getattr(request.module, "MQTT_FIRST", True):
        await core.connect_mqtt(broker.port)
    yield SimpleNamespace(core=core, broker=broker, demo=demo, folder=folder)
    await core.stop()
    await demo.end()
    await broker.end()
