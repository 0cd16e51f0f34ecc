"""A doorbell made of aiortc, behind a signalling service of a few lines: the KVS master that our calls are placed to.

Prints one JSON object a line: {"port": …} when it listens, {"offered": …} for each offer, {"heard": …} once a second
for what its speaker is given, {"state": …} for its connection. Hangs up when its standard input ends.
"""

import asyncio
import base64
import json
import sys

import websockets
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

from picture import Bars
from sound import Tone, listen, preferred, tell

SOUND = sys.argv[1] if len(sys.argv) > 1 else "opus"


async def answer(peer, offer):
    peer.addTrack(Tone(1000, 8000))
    peer.addTrack(Bars())
    for transceiver in peer.getTransceivers():
        transceiver.setCodecPreferences(preferred(transceiver.kind, SOUND if transceiver.kind == "audio" else "h264"))
    await peer.setRemoteDescription(RTCSessionDescription(offer["sdp"], offer["type"]))
    await peer.setLocalDescription(await peer.createAnswer())
    return {"sdp": peer.localDescription.sdp, "type": peer.localDescription.type}


async def serve(socket):
    peer = RTCPeerConnection()
    peers.add(peer)
    peer.on("track", lambda track: track.kind == "audio" and asyncio.ensure_future(listen(track)))
    peer.on("connectionstatechange", lambda: tell(state=peer.connectionState))
    # What Amazon does now and then.
    await socket.send("")
    await socket.send("{not json")
    async for text in socket:
        frame = json.loads(text)
        payload = json.loads(base64.b64decode(frame["messagePayload"]))
        if frame["action"] == "SDP_OFFER":
            tell(offered={"at": socket.request.path, "characters": len(frame["messagePayload"])})
            answered = base64.b64encode(json.dumps(await answer(peer, payload)).encode()).decode()
            await socket.send(json.dumps({"messageType": "SDP_ANSWER", "messagePayload": answered}))
        elif frame["action"] == "ICE_CANDIDATE" and payload.get("candidate"):
            candidate = candidate_from_sdp(payload["candidate"].split(":", 1)[1])
            candidate.sdpMid, candidate.sdpMLineIndex = payload["sdpMid"], payload["sdpMLineIndex"]
            await peer.addIceCandidate(candidate)


async def main():
    async with websockets.serve(serve, "127.0.0.1", 0) as server:
        tell(port=server.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await asyncio.gather(*(peer.close() for peer in peers))


peers = set()
asyncio.run(main())
