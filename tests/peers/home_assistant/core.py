"""A real Home Assistant Core in a folder of its own, as a process, and its REST and WebSocket APIs."""

import asyncio
import contextlib
import itertools
import json
import os
import socket
import sys
import time
from pathlib import Path

import aiohttp

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 40
CLIENT = "http://127.0.0.1/"

CONFIGURATION = """
homeassistant:
  name: House
http:
  server_host: 127.0.0.1
  server_port: {port}
frontend:
api:
config:
logger:
  default: warning
  logs:
    homeassistant.components.mqtt: info
    custom_components.doorstep: debug
{more}
"""


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


async def until(what, holds, patience_s=PATIENCE_S):
    """Waits for a condition; gives what it gave."""
    end = time.monotonic() + patience_s
    while True:
        held = holds()
        if asyncio.iscoroutine(held):
            held = await held
        if held:
            return held
        assert time.monotonic() < end, f"not within {patience_s} s: {what() if callable(what) else what}"
        await asyncio.sleep(0.05)


class Process:
    """A program whose lines are kept; ended with the test."""

    def __init__(self, process, name):
        self.process, self.name, self.lines = process, name, []
        self._reads = asyncio.create_task(self._read())

    @classmethod
    async def run(cls, name, *command, env=None):
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            limit=1 << 20,
        )
        return cls(process, name)

    async def _read(self):
        async for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip())

    def tell(self, line):
        self.process.stdin.write(f"{line}\n".encode())

    async def says(self, wanted, since=0):
        """The first line since that one which contains this, or for which this holds."""
        holds = wanted if callable(wanted) else lambda line: wanted in line

        def found():
            line = next((line for line in self.lines[since:] if holds(line)), None)
            assert line or not self._reads.done(), f"{self.name} has ended: {self.lines[-40:]}"
            return line

        return await until(lambda: f"{self.name} says nothing of {wanted}: {self.lines[-40:]}", found)

    async def end(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), PATIENCE_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self._reads


class Core:
    """Home Assistant, with an owner who is logged in."""

    def __init__(self, folder, env=None, more="", components=()):
        """`components` are folders of further integrations."""
        self.folder, self.env, self.port = Path(folder), env or {}, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (self.folder / "custom_components").mkdir(parents=True)
        for component in (ROOT / "custom_components/doorstep", *components):
            (self.folder / "custom_components" / component.name).symlink_to(component)
        (self.folder / "configuration.yaml").write_text(CONFIGURATION.format(port=self.port, more=more))
        # Of what a new owner is asked, only the owner: the rest would set up integrations of the wide world.
        asked = {"version": 4, "minor_version": 1, "key": "onboarding"}
        asked["data"] = {"done": ["core_config", "analytics", "integration"]}
        (self.folder / ".storage").mkdir()
        (self.folder / ".storage/onboarding").write_text(json.dumps(asked))
        self.token = None

    async def start(self):
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S))
        command = (sys.executable, "-B", "-m", "homeassistant", "-c", self.folder, "--skip-pip", "--log-no-color")
        self.process = await Process.run("Home Assistant", *command, env=self.env)
        await until(lambda: f"Home Assistant does not start: {self.process.lines[-40:]}", self._answers)
        if self.token is None:
            await self._make_owner()
        self.socket = await Socket.open(self)
        await until("Home Assistant is not running", self._is_running)

    async def _answers(self):
        try:
            async with self.http.get(f"{self.url}/manifest.json") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def _is_running(self):
        return (await self.socket.ask("get_config"))["state"] == "RUNNING"

    async def make_onlooker(self):
        """A user who may see everything and control nothing; the WebSocket API as that one has it."""
        made = await self.socket.ask("config/auth/create", name="Onlooker", group_ids=["system-read-only"])
        login = {"username": "onlooker", "password": "not a secret"}
        await self.socket.ask("config/auth_provider/homeassistant/create", user_id=made["user"]["id"], **login)
        ask = {"client_id": CLIENT, "handler": ["homeassistant", None], "redirect_uri": CLIENT}
        async with self.http.post(f"{self.url}/auth/login_flow", json=ask) as begun:
            flow = (await begun.json())["flow_id"]
        async with self.http.post(f"{self.url}/auth/login_flow/{flow}", json={"client_id": CLIENT, **login}) as ended:
            code = (await ended.json())["result"]
        return await Socket.open(self, (await self._tokens(code))["access_token"])

    async def _make_owner(self):
        owner = {"name": "Owner", "username": "owner", "password": "not a secret", "language": "en"}
        async with self.http.post(f"{self.url}/api/onboarding/users", json={**owner, "client_id": CLIENT}) as made:
            code = (await made.json())["auth_code"]
        self.tokens = await self._tokens(code)
        self.token = self.tokens["access_token"]

    async def _tokens(self, code):
        grant = {"grant_type": "authorization_code", "code": code, "client_id": CLIENT}
        async with self.http.post(f"{self.url}/auth/token", data=grant) as granted:
            return await granted.json()

    async def stop(self):
        await self.socket.close()
        await self.http.close()
        await self.process.end()

    async def rest(self, method, path, token=..., **what):
        """Status, headers and body."""
        token = self.token if token is ... else token
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **what.pop("headers", {})}
        async with self.http.request(method, f"{self.url}{path}", headers=headers, **what) as answer:
            return answer.status, answer.headers, await answer.read()

    async def flow(self, handler, *inputs, **context):
        """A config flow from its start through each of the inputs; what it says last."""
        start = {"handler": handler, **context}
        _, _, body = await self.rest("POST", "/api/config/config_entries/flow", json=start)
        said = json.loads(body)
        for given in inputs:
            said = await self.go_on(said["flow_id"], given)
        return said

    async def go_on(self, flow_id, given):
        _, _, body = await self.rest("POST", f"/api/config/config_entries/flow/{flow_id}", json=given)
        return json.loads(body)

    async def connect_mqtt(self, port):
        said = await self.flow("mqtt", {"broker": "127.0.0.1", "port": port})
        assert said["type"] == "create_entry", said

    async def connect_doorstep(self, port, **more):
        """By hand, as a user does; the entry's id."""
        said = await self.flow("doorstep", {"host": "127.0.0.1", "port": port, "ssl": False, **more})
        assert said["type"] == "create_entry", said
        return said["result"]["entry_id"]

    async def states(self):
        return {state["entity_id"]: state for state in await self.socket.ask("get_states")}

    async def state(self, entity):
        return (await self.states()).get(entity, {}).get("state")

    async def comes(self, entity, *wanted):
        """Waits until the entity's state is one of these."""
        last = None

        async def holds():
            nonlocal last
            last = await self.state(entity)
            return last in wanted

        await until(lambda: f"{entity} is {last}, not {wanted}", holds)

    async def act(self, action, entity, **data):
        domain, service = action.split(".")
        target = {"entity_id": entity}
        await self.socket.ask("call_service", domain=domain, service=service, service_data=data, target=target)

    async def changes(self):
        """Every state that is set from now on, as (entity, state, when it was known here) in a list that grows."""
        seen = []

        def note(event):
            new = event["data"]["new_state"]
            seen.append((event["data"]["entity_id"], new and new["state"], time.time()))

        await self.socket.listen("subscribe_events", note, event_type="state_changed")
        return seen

    def complaints(self):
        """What Core has found wrong about this integration or its MQTT payloads."""
        log = (self.folder / "home-assistant.log").read_text()
        lines = [line for line in log.splitlines() if " WARNING " in line or " ERROR " in line]
        # Whom Core itself has turned away, and what it says of every custom integration.
        usual = ("[homeassistant.components.http.", "not been tested")
        blamed = [line for line in lines if "doorstep" in line or "mqtt" in line or "template" in line]
        return [line for line in blamed if not any(word in line for word in usual)]


class Socket:
    """Home Assistant's WebSocket API."""

    @classmethod
    async def open(cls, core, token=None):
        """`token`: of another user than the owner."""
        self = cls()
        self._socket = await core.http.ws_connect(f"{core.url}/api/websocket", max_msg_size=0)
        assert (await self._socket.receive_json())["type"] == "auth_required"
        await self._socket.send_json({"type": "auth", "access_token": token or core.token})
        assert (await self._socket.receive_json())["type"] == "auth_ok"
        self._ids, self._answers, self._listeners = itertools.count(1), {}, {}
        self._reads = asyncio.create_task(self._read())
        return self

    async def _read(self):
        async for message in self._socket:
            said = json.loads(message.data)
            if said["type"] == "result":
                self._answers.pop(said["id"]).set_result(said)
            elif said["type"] == "event":
                self._listeners[said["id"]](said["event"])

    async def try_ask(self, type, **what):
        return await self._send(next(self._ids), type, what)

    async def ask(self, type, **what):
        said = await self.try_ask(type, **what)
        assert said["success"], (type, what, said)
        return said["result"]

    async def listen(self, type, heard, **what):
        """Subscribes; the subscription's id."""
        id = next(self._ids)
        self._listeners[id] = heard
        said = await self._send(id, type, what)
        assert said["success"], (type, what, said)
        return id

    async def _send(self, id, type, what):
        answer = self._answers[id] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": id, "type": type, **what})
        return await asyncio.wait_for(answer, PATIENCE_S)

    async def close(self):
        await self._socket.close()
        await self._reads
