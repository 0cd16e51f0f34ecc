"""A master of the kind of AWS's Python sample: boto3 for the way, botocore's own signer, websockets, aiortc.

    python master.py ACCOUNT HABIT

ACCOUNT as in `account.py`; with `identity` (`certificate`, `private_key`, files), `credentials` (an address) and
`thing` in place of `keys` the keys are those of AWS IoT's credentials provider. What it does, as the sample does it
(kvs reference §5): MASTER is its client id, its answer is complete and no candidate follows, it opens a channel
`kvsDataChannel` of its own, and broadcasts on it what it is told on the viewer's. It knows nothing of GO_AWAY: when
the service has hung up it connects again.
With the HABIT `opener` it answers as a doorbell that opens doors, on the channel where it was asked.

Prints one JSON object a line: {"connected": …}, {"offered": …}, {"heard": …} once a second for what its speaker is
given, {"told": …} for each message, {"state": …} for each connection. Ends with its standard input.
"""

import asyncio
import base64
import json
import ssl
import sys

import boto3
import urllib3
import websockets
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

sys.path.insert(0, f"{sys.path[0]}/../aiortc")
from picture import Bars
from sound import Tone, listen, tell

ACCOUNT, HABIT = json.loads(sys.argv[1]), sys.argv[2]
REGION = ACCOUNT["region"]


def keys():
    if "keys" in ACCOUNT:
        return ACCOUNT["keys"]
    identity = ACCOUNT["identity"]
    pool = urllib3.PoolManager(
        ca_certs=ACCOUNT["authority"], cert_file=identity["certificate"], key_file=identity["private_key"]
    )
    reply = pool.request("GET", ACCOUNT["credentials"], headers={"x-amzn-iot-thingname": ACCOUNT["thing"]})
    assert reply.status == 200, f"{reply.status} {reply.data}"
    given = reply.json()["credentials"]
    return {
        "access_key_id": given["accessKeyId"],
        "secret_access_key": given["secretAccessKey"],
        "session_token": given["sessionToken"],
    }


class Master:
    def __init__(self):
        self.keys, self.peers, self.channels = keys(), {}, {}
        video = self.client("kinesisvideo", ACCOUNT["endpoints"]["kinesisvideo"])
        info = video.describe_signaling_channel(ChannelName=ACCOUNT["channel"])["ChannelInfo"]
        self.arn = info["ChannelARN"]
        wanted = {"Protocols": ["HTTPS", "WSS"], "Role": "MASTER"}
        places = video.get_signaling_channel_endpoint(
            ChannelARN=self.arn, SingleMasterChannelEndpointConfiguration=wanted
        )["ResourceEndpointList"]
        self.places = {place["Protocol"]: place["ResourceEndpoint"] for place in places}

    def client(self, service, endpoint):
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=endpoint,
            verify=ACCOUNT["authority"],
            aws_access_key_id=self.keys["access_key_id"],
            aws_secret_access_key=self.keys["secret_access_key"],
            aws_session_token=self.keys.get("session_token"),
        )

    def ice_servers(self):
        signaling = self.client("kinesis-video-signaling", self.places["HTTPS"])
        given = signaling.get_ice_server_config(ChannelARN=self.arn, ClientId="MASTER")["IceServerList"]
        return [RTCIceServer(s["Uris"], s["Username"], s["Password"]) for s in given]

    def address(self):
        ours = Credentials(self.keys["access_key_id"], self.keys["secret_access_key"], self.keys.get("session_token"))
        who = {"X-Amz-ChannelARN": self.arn, "X-Amz-ClientId": "MASTER"}
        request = AWSRequest(method="GET", url=self.places["WSS"], params=who)
        SigV4QueryAuth(ours, "kinesisvideo", REGION, 299).add_auth(request)
        return request.prepare().url

    async def run(self):
        while True:
            address = self.address()
            trust = ssl.create_default_context(cafile=ACCOUNT["authority"]) if address.startswith("wss") else None
            try:
                async with websockets.connect(address, ssl=trust) as socket:
                    tell(connected=True)
                    async for text in socket:
                        await self.hear(socket, text)
            except websockets.ConnectionClosed:
                pass

    async def hear(self, socket, text):
        try:
            frame = json.loads(text)
            payload = json.loads(base64.b64decode(frame["messagePayload"]))
        except ValueError:
            return
        viewer = frame.get("senderClientId")
        if frame["messageType"] == "SDP_OFFER":
            tell(offered=viewer, characters=len(frame["messagePayload"]), sdp=payload["sdp"])
            answer = json.dumps(await self.answer(viewer, payload)).encode()
            said = {
                "action": "SDP_ANSWER",
                "messagePayload": base64.b64encode(answer).decode(),
                "recipientClientId": viewer,
            }
            await socket.send(json.dumps(said))
        elif frame["messageType"] == "ICE_CANDIDATE" and viewer in self.peers and payload.get("candidate"):
            candidate = candidate_from_sdp(payload["candidate"].split(":", 1)[1])
            candidate.sdpMid, candidate.sdpMLineIndex = payload["sdpMid"], payload["sdpMLineIndex"]
            await self.peers[viewer].addIceCandidate(candidate)

    async def answer(self, viewer, offer):
        servers = await asyncio.to_thread(self.ice_servers)
        peer = self.peers[viewer] = RTCPeerConnection(RTCConfiguration(servers))
        self.channels[viewer] = peer.createDataChannel("kvsDataChannel")
        peer.on("track", lambda track: track.kind == "audio" and asyncio.ensure_future(listen(track)))
        peer.on("connectionstatechange", lambda: tell(state=peer.connectionState, viewer=viewer))
        peer.on("datachannel", lambda channel: channel.on("message", lambda text: self.obey(channel, text)))
        peer.addTrack(Tone(1000, 8000))
        peer.addTrack(Bars())
        await peer.setRemoteDescription(RTCSessionDescription(offer["sdp"], offer["type"]))
        await peer.setLocalDescription(await peer.createAnswer())
        return {"sdp": peer.localDescription.sdp, "type": peer.localDescription.type}

    def obey(self, channel, text):
        tell(told=text, channel=channel.label)
        if HABIT == "opener":
            opened = isinstance(text, str) and '"action":"open_door"' in text
            channel.send("Door opened successfully" if opened else f"Received {len(text)} bytes, ECHO: {text}")
            return
        for own in self.channels.values():
            if own.readyState == "open":
                own.send(f"broadcast: {text}")


async def main():
    master = Master()
    running = asyncio.ensure_future(master.run())
    running.add_done_callback(lambda done: done.cancelled() or tell(ended=str(done.exception() or "hung up")))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    running.cancel()
    await asyncio.gather(*(peer.close() for peer in master.peers.values()))


asyncio.run(main())
