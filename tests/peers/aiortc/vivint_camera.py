"""A Vivint camera made of aiortc, signalled over standard input and output: one JSON object a line.

Takes {"offer": sdp} and {"candidate": text}; {"hang_up": how} with how = "channel", "peer". With {"call": true} it offers
first, and takes {"answer": sdp}. Prints {"answer": sdp} or {"offer": sdp}, {"channel": label}, {"said": hex} for each
message, {"heard": hz, "on": bool} once a second for what arrives for its speaker, {"state": …} for its connection.
Without standard input it ends. Its messages are bytes by hand (vivint reference §9.1).
"""

import asyncio
import json
import sys

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

from sound import Tone, listen, preferred, tell

SOUND = sys.argv[1] if len(sys.argv) > 1 else "opus"
PING, PONG = b"\x0a\x00", b"\x12\x00"
START, STARTED = b"\x4a\x00", b"\x52\x00"
END, ENDED = b"\x5a\x00", b"\x62\x00"
OLDEST, OLDEST_IS = b"\x82\x01\x00", b"\x8a\x01\x02\x08\x01"
METADATA, METADATA_IS = b"\xa2\x01\x00", b"\xaa\x01\x04\x12\x02hi"
ANSWERS = {PING: PONG, START: STARTED, END: ENDED, OLDEST: OLDEST_IS, METADATA: METADATA_IS}


class Camera:
    def __init__(self):
        self.peer, self.channel, self.talking = RTCPeerConnection(), None, False
        self.peer.on("connectionstatechange", lambda: tell(state=self.peer.connectionState))
        self.peer.on("datachannel", self.open)
        self.peer.on("track", self.hear)

    def hear(self, track):
        asyncio.ensure_future(listen(track, lambda: {"on": self.talking}))

    def open(self, channel):
        self.channel = channel
        tell(channel=channel.label, ordered=channel.ordered, protocol=channel.protocol)
        channel.on("message", self.take)

    def take(self, message):
        tell(said=message if isinstance(message, str) else message.hex())
        if message in (START, END):
            self.talking = message == START
        if message in ANSWERS:
            # Text is no message, and must be passed over.
            self.channel.send("text")
            self.channel.send(ANSWERS[message])

    def speak(self):
        self.peer.addTrack(Tone(1000, 8000))
        for transceiver in self.peer.getTransceivers():
            transceiver.setCodecPreferences(preferred("audio", SOUND))

    async def obey(self, command):
        if "offer" in command:
            self.speak()
            await self.peer.setRemoteDescription(RTCSessionDescription(command["offer"], "offer"))
            await self.peer.setLocalDescription(await self.peer.createAnswer())
            tell(answer=self.peer.localDescription.sdp)
        elif "call" in command:
            self.speak()
            self.channel = self.peer.createDataChannel("channel")
            self.channel.on("message", self.take)
            await self.peer.setLocalDescription(await self.peer.createOffer())
            tell(offer=self.peer.localDescription.sdp)
        elif "answer" in command:
            await self.peer.setRemoteDescription(RTCSessionDescription(command["answer"], "answer"))
        elif "candidate" in command:
            candidate = candidate_from_sdp(command["candidate"].split(":", 1)[1])
            candidate.sdpMLineIndex = 0
            await self.peer.addIceCandidate(candidate)
        elif command.get("hang_up") == "channel":
            self.channel.close()
        elif command.get("hang_up") == "peer":
            await self.peer.close()


async def main():
    camera, loop = Camera(), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await camera.obey(json.loads(line))
    await camera.peer.close()


asyncio.run(main())
