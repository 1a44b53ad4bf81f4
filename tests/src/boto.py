"""boto3 for the tests: one JSON call a line in, its answer or its error out. What it is given is sent unchecked, and once."""

import hashlib
import json
import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

CONFIG = Config(parameter_validation=False, retries={"total_max_attempts": 1})
CLIENTS = {}


def client(service, region, access_key, secret_key, token):
    key = (service, region, access_key, secret_key, token)
    if key not in CLIENTS:
        CLIENTS[key] = boto3.client(
            service,
            endpoint_url=os.environ["DOUBLE_URL"],
            region_name=region,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            aws_session_token=token,
            config=CONFIG,
        )
    return CLIENTS[key]


def read(value):
    """A block in JSON is a byte and how often it is repeated."""
    if isinstance(value, dict) and set(value) == {"$byte", "$times"}:
        return bytes([value["$byte"]]) * value["$times"]
    return value


def shown(value):
    if hasattr(value, "read"):
        return hashlib.sha256(value.read()).hexdigest()
    return str(value)


def perform(call):
    try:
        method = getattr(client(call["service"], call["region"], *call["keys"]), call["method"])
        answer = method(**{name: read(value) for name, value in call["named"].items()})
        status = answer.pop("ResponseMetadata")["HTTPStatusCode"]
        return json.dumps({"status": status, "answer": answer}, default=shown)
    except ClientError as error:
        found = error.response
        answer = {
            "status": found["ResponseMetadata"]["HTTPStatusCode"],
            "code": found["Error"]["Code"],
            "reason": found.get("Reason"),
        }
        return json.dumps(answer)
    except BotoCoreError as error:
        return json.dumps({"status": 0, "code": type(error).__name__, "reason": None})


print(json.dumps({}), flush=True)
for line in sys.stdin:
    print(perform(json.loads(line)), flush=True)
