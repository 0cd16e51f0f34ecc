"""What stands around Home Assistant: a mosquitto, and Doorstep with its virtual doorbells."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import aiohttp

from core import ROOT, Process, free_port, until

DOORSTEP = os.environ.get("DOORSTEP", ROOT / "target/debug/doorstep")


class Broker:
    """An unmodified mosquitto."""

    async def start(self, folder):
        self.port, self._listeners = free_port(), []
        settings = Path(folder) / "mosquitto.conf"
        settings.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
        self.process = await Process.run("mosquitto", "mosquitto", "-c", settings)
        await self.process.says("running")
        return self

    async def end(self):
        for process in (*self._listeners, self.process):
            await process.end()

    def publish(self, topic, payload, *more):
        to = ("-h", "127.0.0.1", "-p", str(self.port), "-q", "1")
        subprocess.run(["mosquitto_pub", *to, "-t", topic, "-m", payload, *more], check=True, timeout=20)

    async def listen(self, *topics):
        """mosquitto's own subscriber; each line is when it came (Unix time), topic and payload."""
        wanted = [word for topic in topics for word in ("-t", topic)]
        to = ("-h", "127.0.0.1", "-p", self.port, "-q", "1", "-F", "%U %t %p")
        listener = await Process.run("mosquitto_sub", "mosquitto_sub", *to, *wanted, "-t", "test/ready")
        self._listeners.append(listener)

        def ready():
            self.publish("test/ready", "x")
            return any("test/ready" in line for line in listener.lines)

        await until("mosquitto_sub hears nothing", ready)
        return listener


class Demo:
    """`doorstep demo`."""

    def __init__(self):
        self.port = free_port()

    async def start(self, *kinds, mqtt=None):
        media = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            DOORSTEP,
            "demo",
            "--http",
            f"127.0.0.1:{self.port}",
            "--media-port",
            media,
            "--only",
            ",".join(kinds),
        ]
        if mqtt is None:
            mqtt = free_port()
        self.process = await Process.run("doorstep", *command, "--mqtt", f"mqtt://127.0.0.1:{mqtt}")
        ready = await self.process.says("demo ready")
        self.doorbells = ready.rsplit(" · ", 1)[1].split()[1:]
        return self

    def tell(self, command):
        self.process.tell(command)

    @property
    def said(self):
        """How many lines there are by now, to look from there on."""
        return len(self.process.lines)

    async def event(self, name, since=0, fits=lambda event: True):
        """What a virtual doorbell or its cloud tells under this name."""

        def is_it(line):
            if not line.startswith("{"):
                return False
            event = json.loads(line)
            return event.get("event") == name and fits(event)

        return json.loads(await self.process.says(is_it, since))

    async def get(self, path):
        _, body = await self.fetch(path)
        return json.loads(body)

    async def fetch(self, path):
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/{path}") as answer:
            return answer.status, await answer.read()

    async def end(self):
        self.tell("quit")
        try:
            await asyncio.wait_for(self.process.process.wait(), 20)
        finally:
            await self.process.end()
