"""boto3 (Apache-2.0) as it comes from PyPI at an AWS account of which only the addresses were changed.

    python account.py ACCOUNT ACTION

ACCOUNT is JSON: `region`, `endpoints` (`kinesisvideo`, `sts`, `iot`), `authority` (a file), `keys`, `channel`, `role`.
Prints one JSON value.
"""

import datetime
import json
import sys

import boto3
import botocore.auth
from botocore.config import Config
from botocore.exceptions import ClientError

ACCOUNT = json.loads(sys.argv[1])
CHANNEL = ACCOUNT["channel"]
WHOLE_CHANNEL = {"ChannelName": CHANNEL}


def client(service, keys=ACCOUNT["keys"], endpoint=None):
    return boto3.client(
        service,
        region_name=ACCOUNT["region"],
        endpoint_url=endpoint or ACCOUNT["endpoints"][service],
        verify=ACCOUNT["authority"],
        aws_access_key_id=keys["access_key_id"],
        aws_secret_access_key=keys["secret_access_key"],
        aws_session_token=keys.get("session_token"),
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5),
    )


def arn(video):
    return video.describe_signaling_channel(**WHOLE_CHANNEL)["ChannelInfo"]["ChannelARN"]


def places(video, role):
    wanted = {"Protocols": ["WSS", "HTTPS"], "Role": role}
    told = video.get_signaling_channel_endpoint(
        ChannelARN=arn(video), SingleMasterChannelEndpointConfiguration=wanted
    )
    return {place["Protocol"]: place["ResourceEndpoint"] for place in told["ResourceEndpointList"]}


def ice(keys, endpoint, channel_arn, **more):
    signaling = client("kinesis-video-signaling", keys, endpoint)
    return signaling.get_ice_server_config(ChannelARN=channel_arn, **more)["IceServerList"]


def look(keys=ACCOUNT["keys"]):
    """All that a viewer or a master asks for before it connects."""
    video = client("kinesisvideo", keys)
    by_name = video.describe_signaling_channel(**WHOLE_CHANNEL)["ChannelInfo"]
    by_arn = video.describe_signaling_channel(ChannelARN=by_name["ChannelARN"])["ChannelInfo"]
    # Two pages at least, where there are two channels.
    pages = video.get_paginator("list_signaling_channels").paginate(PaginationConfig={"PageSize": 1})
    listed = [info["ChannelName"] for page in pages for info in page["ChannelInfoList"]]
    begins = {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": CHANNEL}
    found = video.list_signaling_channels(ChannelNameCondition=begins)["ChannelInfoList"]
    roles = {role: places(video, role) for role in ("MASTER", "VIEWER")}
    servers = ice(keys, roles["VIEWER"]["HTTPS"], by_name["ChannelARN"], ClientId="viewer-boto", Service="TURN")
    master_servers = ice(keys, roles["MASTER"]["HTTPS"], by_name["ChannelARN"])
    return {
        "same": by_name == by_arn,
        "channel": {
            "name": by_name["ChannelName"],
            "arn": by_name["ChannelARN"],
            "type": by_name["ChannelType"],
            "status": by_name["ChannelStatus"],
            "ttl_s": by_name["SingleMasterConfiguration"]["MessageTtlSeconds"],
            "created": by_name["CreationTime"].timestamp(),
        },
        "listed": listed,
        "found": [info["ChannelName"] for info in found],
        "places": roles,
        "ice": [{"uris": s["Uris"], "ttl_s": s["Ttl"], "whole": bool(s["Username"] and s["Password"])} for s in servers],
        "ice_of_master": len(master_servers),
    }


def assume_role():
    """What is asked with the temporary credentials of a role."""
    given = client("sts").assume_role(RoleArn=ACCOUNT["role"], RoleSessionName="peer")["Credentials"]
    keys = {
        "access_key_id": given["AccessKeyId"],
        "secret_access_key": given["SecretAccessKey"],
        "session_token": given["SessionToken"],
    }
    left = given["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
    return {"lives_s": left.total_seconds(), "channel": look(keys)["channel"]["name"], "keys": keys}


def iot():
    return client("iot").describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]


def refusal(ask):
    try:
        ask()
    except ClientError as error:
        of_its_own = type(error).__name__
        told = error.response
        return {
            "code": told["Error"]["Code"],
            "status": told["ResponseMetadata"]["HTTPStatusCode"],
            "exception": of_its_own,
            "said": bool(told["Error"]["Message"]),
        }
    return None


def skewed(ask, minutes):
    """As a machine whose clock is wrong."""
    right = botocore.auth.get_current_datetime
    botocore.auth.get_current_datetime = lambda *a, **k: right(*a, **k) + datetime.timedelta(minutes=minutes)
    try:
        return refusal(ask)
    finally:
        botocore.auth.get_current_datetime = right


def refused():
    """What goes wrong, as botocore understands it."""
    keys, video = ACCOUNT["keys"], client("kinesisvideo")
    channel_arn = arn(video)
    elsewhere = channel_arn.replace(CHANNEL, "nowhere")
    describe = lambda **changed: lambda: client("kinesisvideo", {**keys, **changed}).describe_signaling_channel(**WHOLE_CHANNEL)
    https = places(video, "VIEWER")["HTTPS"]
    return {
        "wrong secret": refusal(describe(secret_access_key="x" * 40)),
        "unknown key": refusal(describe(access_key_id="AKIAUNKNOWNUNKNOWN00")),
        "wrong token": refusal(describe(session_token="made up")),
        "late clock": skewed(describe(), -20),
        "early clock": skewed(describe(), 20),
        "slightly late clock": skewed(describe(), -4),
        "no such name": refusal(lambda: video.describe_signaling_channel(ChannelName="nowhere")),
        "no such arn": refusal(lambda: video.describe_signaling_channel(ChannelARN=elsewhere)),
        "bad name": refusal(lambda: video.describe_signaling_channel(ChannelName="front door")),
        "nothing said": refusal(lambda: video.describe_signaling_channel()),
        "bad arn": refusal(lambda: video.describe_signaling_channel(ChannelARN="arn:aws:kinesisvideo:x")),
        "bad client": refusal(lambda: ice(keys, https, channel_arn, ClientId="AWS_me")),
        "no such channel's servers": refusal(lambda: ice(keys, https, elsewhere)),
    }


def denied():
    """With keys that may do nothing but describe."""
    video = client("kinesisvideo")
    return {
        "describe": refusal(lambda: video.describe_signaling_channel(**WHOLE_CHANNEL)),
        "list": refusal(video.list_signaling_channels),
    }


print(json.dumps(globals()[sys.argv[2]]()))
