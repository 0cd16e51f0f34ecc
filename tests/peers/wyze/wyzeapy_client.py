"""wyzeapy (github.com/SecKatie/wyzeapy) at a virtual Wyze cloud.

    python wyzeapy_client.py ANNOUNCEMENT ACTION

ANNOUNCEMENT is the first line that `doorstep sim wyze-cloud` wrote. What the library says is printed as one JSON
value. The library is used as it is, but for the hosts in its addresses. A code that a second factor wants is the
first line of standard input.
"""

import asyncio
import json
import re
import sys

import aiohttp
import mintotp
from wyzeapy import Wyzeapy
from wyzeapy.exceptions import AccessTokenError, TwoFactorAuthenticationEnabled


def send_everything_to(base):
    request = aiohttp.ClientSession._request

    async def redirected(self, method, url, **options):
        return await request(self, method, re.sub(r"^https://[^/]+", base, str(url)), **options)

    aiohttp.ClientSession._request = redirected


async def log_in(cloud, password=None):
    client = await Wyzeapy.create()
    password = password or cloud["password"]
    try:
        await client.login(cloud["email"], password, cloud["key_id"], cloud["api_key"])
    except TwoFactorAuthenticationEnabled:
        secret = cloud["totp_secret"]
        await client.login_with_2fa(mintotp.totp(secret) if secret else sys.stdin.readline().strip())
    return client


async def login(cloud):
    client = await log_in(cloud)
    return client._auth_lib.token.access_token


async def wrong_password(cloud):
    try:
        await log_in(cloud, "not it")
    except AccessTokenError:
        return "refused"
    return "let in"


async def refresh(cloud):
    client = await log_in(cloud)
    first = client._auth_lib.token.access_token
    await client._auth_lib.refresh()
    return {"changed": first != client._auth_lib.token.access_token, "devices": len(await client.unique_device_ids)}


async def devices(cloud):
    client = await log_in(cloud)
    found = await client._service.get_object_list()
    return [{"id": device.mac, "model": device.product_model, "name": device.nickname} for device in found]


async def cameras(cloud):
    cameras = await (await (await log_in(cloud)).camera_service).get_cameras()
    return [camera.product_model for camera in cameras]


async def events(cloud):
    client = await log_in(cloud)
    answer = await client._service._get_event_list(20)
    return [
        {"device": event["device_mac"], "value": event["event_value"], "tags": event["tag_list"]}
        for event in answer["data"]["event_list"]
    ]


async def streams(cloud):
    client = await log_in(cloud)
    [bell] = [device for device in await client._service.get_object_list() if device.product_model == "GW_BE1"]
    answer = await client._service._get_camera_stream(bell)
    return answer["data"][0]["params"]["signaling_url"]


async def lock(cloud):
    """Opens the first lock that is not one for Bluetooth alone, and shuts it again."""
    locks = await (await log_in(cloud)).lock_service
    [door] = [lock for lock in await locks.get_locks() if lock.product_model == "YD.LO1"]
    seen = [(await locks.update(door)).unlocked]
    for act, wanted in [(locks.unlock, True), (locks.lock, False)]:
        await act(door)
        while (await locks.update(door)).unlocked != wanted:
            await asyncio.sleep(0.1)
        seen.append(wanted)
    return {"available": door.available, "unlocked": seen}


ACTIONS = {action.__name__: action for action in [login, wrong_password, refresh, devices, cameras, events, streams, lock]}

cloud = json.loads(sys.argv[1])
send_everything_to(cloud["url"])
print(json.dumps(asyncio.run(ACTIONS[sys.argv[2]](cloud))))
