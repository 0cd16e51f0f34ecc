"""wyze-sdk (github.com/shauntarves/wyze-sdk) at a virtual Wyze cloud.

    python wyze_sdk_client.py ANNOUNCEMENT ACTION

ANNOUNCEMENT is the first line that `doorstep sim wyze-cloud` wrote. What the library says is printed as one JSON
value. The library is used as it is, but for the hosts in its addresses: its own `base_url` arguments fail in 2.2.0.
A code that a second factor wants is the first line of standard input.
"""

import builtins
import json
import re
import sys
import time
from datetime import datetime, timedelta

from requests.exceptions import HTTPError
from wyze_sdk import Client
from wyze_sdk.service.base import BaseServiceClient


def send_everything_to(base):
    url = BaseServiceClient._get_url

    def redirected(self, base_url, endpoint):
        return re.sub(r"^https://[^/]+", base, url(self, base_url, endpoint))

    BaseServiceClient._get_url = redirected


def log_in(cloud, password=None):
    client = Client()
    client.login(
        email=cloud["email"],
        password=password or cloud["password"],
        key_id=cloud["key_id"],
        api_key=cloud["api_key"],
        totp_key=cloud["totp_secret"],
    )
    return client


def login(cloud):
    return log_in(cloud)._token


def wrong_password(cloud):
    try:
        log_in(cloud, "not it")
    except HTTPError as error:
        return error.response.json()["description"]
    return "let in"


def refresh(cloud):
    client = log_in(cloud)
    first = client._token
    client.refresh_token()
    return {"changed": first != client._token, "devices": len(client.devices_list())}


def devices(cloud):
    return [
        {"id": device.mac, "model": device.product.model, "name": device.nickname}
        for device in log_in(cloud).devices_list()
    ]


def events(cloud):
    found = log_in(cloud).events.list(begin=datetime.now() - timedelta(minutes=5), end=datetime.now() + timedelta(minutes=1))
    return [
        {"device": event.mac, "value": event.alarm_type.description, "tags": [tag.description for tag in event.tags]}
        for event in found
    ]


def lock(cloud):
    """Opens the lock and shuts it again, and reads its diary."""
    locks = log_in(cloud).locks
    [door] = [lock for lock in locks.list() if lock.product.model == "YD.LO1"]

    def info():
        return locks.info(device_mac=door.mac)

    seen = [info().lock_state.value]
    for act, wanted in [(locks.unlock, 2), (locks.lock, 1)]:
        act(device_mac=door.mac)
        while info().lock_state.value != wanted:
            time.sleep(0.1)
        seen.append(wanted)
    diary = locks.get_records(device_mac=door.mac, since=datetime(2020, 1, 1))
    return {"online": info().is_online, "hardlock": seen, "diary": [record.type.description for record in diary]}


ACTIONS = {action.__name__: action for action in [login, wrong_password, refresh, devices, events, lock]}

cloud = json.loads(sys.argv[1])
# The library asks with a prompt, which has no place between the values.
builtins.input = lambda _prompt: sys.stdin.readline().strip()
send_everything_to(cloud["url"])
print(json.dumps(ACTIONS[sys.argv[2]](cloud)))
