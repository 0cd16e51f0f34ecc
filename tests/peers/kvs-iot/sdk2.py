"""AWS IoT Device SDK v2 for Python (Apache-2.0) at an AWS IoT of which only the address was changed.

    python sdk2.py PLACE WAY

PLACE is JSON: `host`, `port`, `authority` (a file), `region`, `client_id`, `filter`, and for WAY `certificate`, or
`alpn` as at port 443, `identity` (`certificate`, `private_key`, files), for `signed` `keys`.

Prints one JSON object a line: {"connected": …} or {"refused": …}, {"granted": QoS}, {"message": …, "topic": …,
"qos": …, "dup": …, "retain": …} for what is heard, {"interrupted": …}. Does what its standard input says, a JSON
object a line, {"topic": …, "payload": …, "qos": …}, and says {"published": true} after it. Ends with its standard input.
"""

import json
import sys
import threading

from awscrt.auth import AwsCredentialsProvider
from awscrt.io import TlsContextOptions
from awscrt.mqtt import QoS
from awsiot import mqtt_connection_builder

PLACE, WAY = json.loads(sys.argv[1]), sys.argv[2]
PATIENCE_S = 10
# What is heard is told by another thread.
ONE_AT_A_TIME = threading.Lock()


def tell(**what):
    with ONE_AT_A_TIME:
        print(json.dumps(what), flush=True)


def connection():
    common = {
        "endpoint": PLACE["host"],
        "port": PLACE["port"],
        "ca_filepath": PLACE["authority"],
        "client_id": PLACE["client_id"],
        "clean_session": True,
        "keep_alive_secs": 30,
        "on_connection_interrupted": lambda connection, error, **_: tell(interrupted=str(error)),
    }
    if WAY in ("certificate", "alpn"):
        identity = PLACE["identity"]
        if WAY == "alpn":
            # What `mtls_from_path` does at port 443, which is not to be had here.
            tls = TlsContextOptions.create_client_with_mtls_from_path(identity["certificate"], identity["private_key"])
            tls.alpn_list = ["x-amzn-mqtt-ca"]
            return mqtt_connection_builder._builder(tls, **common)
        return mqtt_connection_builder.mtls_from_path(identity["certificate"], identity["private_key"], **common)
    keys = PLACE["keys"]
    provider = AwsCredentialsProvider.new_static(
        keys["access_key_id"], keys["secret_access_key"], keys.get("session_token")
    )
    return mqtt_connection_builder.websockets_with_default_aws_signing(PLACE["region"], provider, **common)


def heard(topic, payload, dup, qos, retain, **_):
    tell(message=payload.decode(), topic=topic, dup=dup, qos=int(qos), retain=retain)


def main():
    ours = connection()
    try:
        ours.connect().result(PATIENCE_S)
    except Exception as error:
        tell(refused=str(error))
        return
    tell(connected=True)
    subscribed, _ = ours.subscribe(PLACE["filter"], QoS.AT_LEAST_ONCE, heard)
    try:
        tell(granted=int(subscribed.result(PATIENCE_S)["qos"]))
    except Exception as error:
        tell(not_granted=str(error))
    for line in sys.stdin:
        wanted = json.loads(line)
        published, _ = ours.publish(wanted["topic"], wanted["payload"], QoS(wanted["qos"]))
        published.result(PATIENCE_S)
        tell(published=True)
    ours.disconnect().result(PATIENCE_S)


main()
