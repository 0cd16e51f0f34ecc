"""vivintpy (github.com/natekspencer/vivintpy, MIT) at a virtual Vivint account.

    python vivintpy_client.py ANNOUNCEMENT ACTION

ANNOUNCEMENT is the first line that `doorstep sim vivint` wrote. What the library says is printed as one JSON value.
The library is used as it is, but for the addresses and PubNub's key. The code that a second factor wants is the first
line of standard input; the second one comes when PubNub is listened to.
"""

import asyncio
import json
import logging
import sys
import urllib.request

import vivintpy.account
import vivintpy.api
from pubnub.pnconfiguration import PNConfiguration
from vivintpy.account import Account
from vivintpy.devices.camera import DOORBELL_DING, MOTION_DETECTED, THUMBNAIL_READY, Camera, RtspUrlType
from vivintpy.devices.door_lock import DoorLock
from vivintpy.devices.garage_door import GarageDoor
from vivintpy.exceptions import VivintSkyApiAuthenticationError, VivintSkyApiError, VivintSkyApiMfaRequiredError

logging.basicConfig(level=logging.ERROR, stream=sys.stderr)


def send_everything_to(sim):
    # Cookies of a host that has no name are not kept by aiohttp.
    base = sim["url"].replace("127.0.0.1", "localhost")
    vivintpy.api.AUTH_ENDPOINT = base
    vivintpy.api.API_ENDPOINT = f"{base}/api"
    vivintpy.account.PN_SUBSCRIBE_KEY = sim["pubnub_key"]
    usual = PNConfiguration.__init__

    def redirected(self):
        usual(self)
        self.origin = base.removeprefix("http://")
        self.ssl = False

    PNConfiguration.__init__ = redirected


async def line():
    return (await asyncio.to_thread(sys.stdin.readline)).strip()


async def log_in(sim, password=None, realtime=False):
    account = Account(sim["username"], password or sim["password"])
    try:
        await account.connect(load_devices=True)
    except VivintSkyApiMfaRequiredError:
        await account.verify_mfa(await line())
    if realtime:
        await account.subscribe_for_realtime_updates()
        await line()
    return account


def devices_of(account):
    [system] = account.systems
    [panel] = system.alarm_panels
    return panel, panel.devices


def only(account, kind, name=None):
    [found] = [device for device in devices_of(account)[1] if isinstance(device, kind) and name in (None, device.name)]
    return found


async def login(sim):
    account = await log_in(sim)
    return sorted(account.api.tokens)


async def wrong_password(sim):
    try:
        await log_in(sim, "not it")
    except VivintSkyApiAuthenticationError as error:
        return str(error)
    return "let in"


async def wrong_code(sim):
    try:
        await log_in(sim)
    except (VivintSkyApiMfaRequiredError, VivintSkyApiError) as error:
        return str(error)
    return "let in"


async def refresh(sim):
    account = await log_in(sim)
    first = account.refresh_token
    renewed = Account(sim["username"], refresh_token=first)
    await renewed.api.refresh_token(first)
    await renewed.refresh()
    try:
        await renewed.api.refresh_token(first)
        again = "taken twice"
    except VivintSkyApiAuthenticationError as error:
        again = str(error)
    return {"changed": renewed.refresh_token != first, "systems": len(renewed.systems), "again": again}


async def devices(sim):
    _, found = devices_of(await log_in(sim))
    return [{"id": device.id, "name": device.name, "type": type(device).__name__} for device in found]


async def events(sim):
    """Tells what happens at the front door, three things long."""
    account = await log_in(sim)
    heard = asyncio.Queue()
    camera = only(account, Camera, "Front Doorbell")
    for event in (DOORBELL_DING, MOTION_DETECTED, THUMBNAIL_READY):
        camera.on(event, lambda _, event=event: heard.put_nowait(event))
    await account.subscribe_for_realtime_updates()
    told = [await heard.get() for _ in range(3)]
    await account.disconnect()
    return told


async def until(condition):
    while not condition():
        await asyncio.sleep(0.02)


async def doors(sim):
    """Opens the lock and the garage door and shuts both; each state comes by PubNub."""
    account = await log_in(sim, realtime=True)
    lock, garage = only(account, DoorLock), only(account, GarageDoor)
    seen = [lock.is_locked, garage.is_closed]
    await lock.unlock()
    await until(lambda: not lock.is_locked)
    await garage.open()
    await until(lambda: garage.is_opening)
    await until(lambda: garage.state == 5)
    seen += [lock.is_locked, garage.is_closed]
    await lock.lock()
    await garage.close()
    await until(lambda: lock.is_locked and garage.is_closed)
    await account.disconnect()
    return seen


async def pictures(sim):
    account = await log_in(sim)
    panel, _ = devices_of(account)
    await panel.get_panel_credentials()
    urls = {}
    for name in ("Front Doorbell", "Side Doorbell"):
        camera = only(account, Camera, name)
        urls[name] = [camera.get_rtsp_access_url(place, True) for place in (RtspUrlType.LOCAL, RtspUrlType.PANEL)]
    camera = only(account, Camera, "Front Doorbell")
    await camera.request_thumbnail()
    with urllib.request.urlopen(await camera.get_thumbnail_url()) as answer:
        jpeg = answer.read()
    return {"urls": urls, "type": answer.headers["content-type"], "jpeg": jpeg[:3].hex()}


ACTIONS = {action.__name__: action for action in [login, wrong_password, wrong_code, refresh, devices, events, doors, pictures]}

sim = json.loads(sys.argv[1])
send_everything_to(sim)
print(json.dumps(asyncio.run(ACTIONS[sys.argv[2]](sim))))
