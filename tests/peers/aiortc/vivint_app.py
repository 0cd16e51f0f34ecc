"""An app made of aiortc that calls a Vivint doorbell, signalled over standard input and output: one JSON object a line.

Prints {"offer": sdp} at once, takes {"answer": sdp} and {"candidate": text}; prints {"open": true} for the channel and
{"said": hex} for each message of the doorbell's. Takes {"say": hex}, {"speak": true} for a tone of 440 Hz from now on
(silence before) and prints {"spoken": true} when a little of it has been said, and {"hang_up": true}. What is said are bytes by hand (vivint reference §9.1).
"""

import asyncio
import json
import sys

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

from sound import Tone, tell


class App:
    def __init__(self):
        self.peer, self.voice = RTCPeerConnection(), Tone(440, 0)
        self.peer.addTrack(self.voice)
        self.channel = self.peer.createDataChannel("channel")
        self.channel.on("open", lambda: tell(open=True))
        self.channel.on("close", lambda: tell(open=False))
        self.channel.on("message", lambda message: tell(said=message if isinstance(message, str) else message.hex()))

    async def call(self):
        await self.peer.setLocalDescription(await self.peer.createOffer())
        tell(offer=self.peer.localDescription.sdp)

    async def obey(self, command):
        if "answer" in command:
            await self.peer.setRemoteDescription(RTCSessionDescription(command["answer"], "answer"))
        elif "candidate" in command:
            candidate = candidate_from_sdp(command["candidate"].split(":", 1)[1])
            candidate.sdpMLineIndex = 0
            await self.peer.addIceCandidate(candidate)
        elif "say" in command:
            self.channel.send(bytes.fromhex(command["say"]))
        elif "speak" in command:
            self.voice.amplitude, enough = 8000, self.voice.sent + 10 * self.voice.samples
            while self.voice.sent < enough:
                await asyncio.sleep(0.02)
            tell(spoken=True)
        elif "hang_up" in command:
            await self.peer.close()


async def main():
    app, loop = App(), asyncio.get_running_loop()
    await app.call()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await app.obey(json.loads(line))
    await app.peer.close()


asyncio.run(main())
