"""The integration beside the app: found by Supervisor discovery, with a token that changes at each start."""

import secrets
from types import SimpleNamespace

import pytest

from core import Core, Process, free_port, until
from house import DOORSTEP
from supervisor import Supervisor


class Service:
    """`doorstep run` with a token, as the app has one."""

    def __init__(self, folder):
        self.port, self.folder = free_port(), folder

    async def start(self):
        self.token = secrets.token_hex(32)
        settings = self.folder / "doorstep.yaml"
        settings.write_text(
            f'http: {{listen: "127.0.0.1:{self.port}", token: "{self.token}"}}\nmedia: {{port: {free_port()}}}\n'
        )
        command = (DOORSTEP, "run", "--config", settings, "--data", self.folder / "data")
        self.process = await Process.run("doorstep", *command)
        await self.process.says(str(self.port))

    @property
    def announcement(self):
        return {"host": "127.0.0.1", "port": self.port, "token": self.token}


@pytest.fixture(scope="module")
async def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house")
    service, supervisor = Service(folder), await Supervisor().start()
    await service.start()
    supervisor.announced(**service.announcement)
    core = Core(folder / "core", env=supervisor.env)
    await core.start()
    yield SimpleNamespace(core=core, supervisor=supervisor, service=service)
    await core.stop()
    await service.process.end()
    await supervisor.end()


async def flows(core):
    progress = await core.socket.ask("config_entries/flow/progress")
    return [flow for flow in progress if flow["handler"] == "doorstep"]


async def entries(core):
    return await core.socket.ask("config_entries/get", domain="doorstep")


async def restart(house, tell_core=True):
    """The app starts anew, and says so to the Supervisor, which says so to Core."""
    await house.service.process.end()
    await house.service.start()
    message = house.supervisor.announced(**house.service.announcement)
    if tell_core:
        body = {"service": "doorstep", "uuid": message}
        status, _, said = await house.core.rest("POST", f"/api/hassio_push/discovery/{message}", json=body)
        assert status == 200, said


async def test_what_was_announced_before_core_started_is_offered(house):
    (flow,) = await until("nothing was discovered", lambda: flows(house.core))
    assert (flow["context"]["source"], flow["step_id"]) == ("hassio", "hassio_confirm"), flow


async def test_a_question_that_nobody_answered_is_asked_again_with_the_new_token(house):
    (earlier,) = await flows(house.core)
    await restart(house)

    async def replaced():
        now = await flows(house.core)
        return now if [flow["flow_id"] for flow in now] != [earlier["flow_id"]] else None

    (flow,) = await until("it is not asked anew", replaced)
    said = await house.core.go_on(flow["flow_id"], {})
    assert (said["type"], said["title"]) == ("create_entry", "Doorstep"), said
    (entry,) = await entries(house.core)
    assert (entry["state"], entry["source"]) == ("loaded", "hassio"), entry


async def test_a_restart_of_the_app_is_followed_without_a_question(house):
    (before,) = await entries(house.core)
    await restart(house)
    told = await until("not connected again", lambda: connected(house.core))
    assert [one["id"] for one in told] == [before["entry_id"]]
    assert await flows(house.core) == []


async def test_a_restart_while_core_hears_nothing_asks_nobody_for_a_token(house):
    """Core meets the new start with the old token, which only the app can replace."""
    await restart(house, tell_core=False)
    await until("the wrong token is not noticed", lambda: does_not(house.core))
    assert await flows(house.core) == []
    await restart(house)
    await until("not connected again", lambda: connected(house.core))
    assert await flows(house.core) == []


async def connected(core):
    status, _, body = await core.rest("GET", f"/api/doorstep/{(await entries(core))[0]['entry_id']}/api/doorbells")
    told = await core.socket.ask("doorstep/instances")
    return told if status == 200 and told and told[0]["version"] else None


async def does_not(core):
    status, _, body = await core.rest("GET", f"/api/doorstep/{(await entries(core))[0]['entry_id']}/api/doorbells")
    return status == 502 and b"token" in body


async def test_an_app_that_is_removed_takes_its_entry_along(house):
    (message,) = house.supervisor.messages
    house.supervisor.messages.clear()
    body = {"service": "doorstep", "uuid": message}
    status, _, said = await house.core.rest("DELETE", f"/api/hassio_push/discovery/{message}", json=body)
    assert status == 200, said
    assert await entries(house.core) == []


async def test_by_hand_a_wrong_token_is_told_and_asked_for_again(house):
    address = {"host": "127.0.0.1", "port": house.service.port, "ssl": False}
    flow = await house.core.flow("doorstep", {**address, "token": "another"})
    assert flow["errors"] == {"base": "invalid_auth"}, flow
    flow = await house.core.go_on(flow["flow_id"], {**address, "token": house.service.token})
    assert flow["type"] == "create_entry", flow
    await house.service.process.end()
    await house.service.start()
    (asked,) = await until("nobody is asked for the token", lambda: flows(house.core))
    assert (asked["context"]["source"], asked["step_id"]) == ("reauth", "reauth_confirm"), asked
    flow = await house.core.go_on(asked["flow_id"], {"token": house.service.token})
    assert (flow["type"], flow["reason"]) == ("abort", "reauth_successful"), flow
    await until("not connected again", lambda: connected(house.core))


async def test_by_hand_it_may_move(house):
    (entry,) = await entries(house.core)
    await house.service.process.end()
    house.service.port = free_port()
    await house.service.start()
    flow = await house.core.flow("doorstep", entry_id=entry["entry_id"])
    assert (flow["type"], flow["step_id"]) == ("form", "reconfigure"), flow
    moved = {"host": "127.0.0.1", "port": house.service.port, "ssl": False, "token": house.service.token}
    flow = await house.core.go_on(flow["flow_id"], moved)
    assert (flow["type"], flow["reason"]) == ("abort", "reconfigure_successful"), flow
    await until("not connected again", lambda: connected(house.core))
