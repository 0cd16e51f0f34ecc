"""A browser's part of a call, played by aiortc: it watches, listens, and speaks."""

import asyncio
import sys

from aiortc import RTCPeerConnection, RTCSessionDescription

from core import ROOT, until

sys.path.append(str(ROOT / "tests/peers/aiortc"))
from sound import Tone  # noqa: E402


class Viewer:
    """Offers what Home Assistant's player does: a picture to receive, sound both ways."""

    def __init__(self, pitch=None):
        self.peer, self.pictures, self._watching = RTCPeerConnection(), 0, []
        self.peer.on("track", self._watch)
        self.peer.addTransceiver("video", direction="recvonly")
        if pitch is None:
            self.peer.addTransceiver("audio", direction="recvonly")
        else:
            self.peer.addTrack(Tone(pitch, 8000))

    async def offer(self):
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return self.peer.localDescription.sdp

    async def take(self, answer):
        await self.peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    def _watch(self, track):
        self._watching.append(asyncio.ensure_future(self._count(track)))

    async def _count(self, track):
        while True:
            await track.recv()
            self.pictures += track.kind == "video"

    async def sees(self, pictures):
        await until(lambda: f"{self.pictures} pictures", lambda: self.pictures >= pictures)

    async def leave(self):
        for watching in self._watching:
            watching.cancel()
        await self.peer.close()
