"""A stand-in for the Supervisor: it tells Core of one app, and what that app announces, in the words of its API, and passes
on to Core what the app asks of it."""

import uuid

import aiohttp
from aiohttp import web

from core import free_port

SLUG = "a1b2c3d4_doorstep"
TOKEN = "the-Supervisors-own"

# All that a Core wants to be told of an app; nothing of it matters here but name and slug.
APP = {
    **dict.fromkeys(
        (
            "advanced build icon logo update_available documentation auth_api docker_api full_access homeassistant_api"
            " host_network host_pid signed hassio_api detached host_ipc host_uts host_dbus changelog stdin gpio usb uart"
            " kernel_modules devicetree udev video audio auto_update watchdog system_managed ingress_panel"
        ).split(),
        False,
    ),
    **dict.fromkeys("available protected ingress".split(), True),
    **dict.fromkeys("dns machine privileged services devices schema".split(), ()),
    **dict.fromkeys("options network network_description translations".split(), {}),
    **dict.fromkeys(
        "homeassistant url long_description webui audio_input audio_output system_managed_config_entry".split()
    ),
    "description": "Doorbells",
    "name": "Doorstep",
    "repository": "a1b2c3d4",
    "slug": SLUG,
    "stage": "stable",
    "version": "0.1.0",
    "version_latest": "0.1.0",
    "arch": ["amd64"],
    "apparmor": "profile",
    "rating": 8,
    "hassio_role": "default",
    "state": "started",
    "hostname": "a1b2c3d4-doorstep",
    "boot": "auto",
    "boot_config": "auto",
    "startup": "application",
    "discovery": ["doorstep"],
    "ingress_entry": "/",
    "ingress_url": "/",
    "ingress_port": 8099,
    "ip_address": "127.0.0.1",
}


class Supervisor:
    """Answers what the discovery of an app needs, asks a Core in the app's place, and does nothing else."""

    async def start(self):
        self.port, self.messages, self.core, self.passed = free_port(), {}, None, []
        app = web.Application()
        app.router.add_get("/discovery", self._list)
        app.router.add_get("/discovery/{uuid}", self._message)
        app.router.add_get(f"/addons/{SLUG}/info", self._app)
        app.router.add_route("*", "/core/{path:api/.*}", self._pass)
        app.router.add_route("*", "/{anything:.*}", refused)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    @property
    def env(self):
        """What a Core under it has in its environment."""
        return {"SUPERVISOR": f"127.0.0.1:{self.port}", "SUPERVISOR_TOKEN": TOKEN}

    def announced(self, **config):
        """The app has posted this; what it posts later takes the same message's place. Its id."""
        known = next(iter(self.messages), uuid.uuid4().hex)
        self.messages[known] = {"addon": SLUG, "service": "doorstep", "uuid": known, "config": config}
        return known

    async def _list(self, _request):
        return done({"discovery": list(self.messages.values())})

    async def _message(self, request):
        message = self.messages.get(uuid.UUID(request.match_info["uuid"]).hex)
        return done(message) if message else await refused(request)

    async def _app(self, _request):
        return done(APP)

    async def _pass(self, request):
        """With the Supervisor's own log-in at Core, for whoever has the app's token."""
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        path = request.match_info["path"]
        self.passed.append((request.method, path))
        headers = {"Authorization": f"Bearer {self.core.token}", "Content-Type": request.content_type}
        async with (
            aiohttp.ClientSession() as http,
            http.request(
                request.method, f"{self.core.url}/{path}", data=await request.read(), headers=headers
            ) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)

    async def end(self):
        await self._runner.cleanup()


def done(data):
    return web.json_response({"result": "ok", "data": data})


async def refused(_request):
    return web.json_response({"result": "error", "message": "not here"}, status=400)
