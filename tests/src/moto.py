"""An S3 and EC2 server for the tests, and boto3 to look at what it holds: one JSON object a line in, one out."""

import hashlib
import json
import os
import sys

# Images are those that a test puts there; regions may be called anything.
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
os.environ["MOTO_ALLOW_NONEXISTENT_REGION"] = "true"

import boto3
import requests
from botocore.config import Config
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import ThreadedMotoServer


# A signature of version 2 says nothing of service and region, but one with four slashes (it is base64) is read as if it did.
infer_service_region_host = DomainDispatcherApplication.infer_service_region_host


def infer_from_version_4(self, environ, path):
    if environ.get("HTTP_AUTHORIZATION", "").startswith("AWS "):
        return None
    return infer_service_region_host(self, environ, path)


DomainDispatcherApplication.infer_service_region_host = infer_from_version_4

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
URL = f"http://{host}:{port}"
S3 = boto3.client(
    "s3",
    endpoint_url=URL,
    region_name="us-east-1",
    aws_access_key_id="x",
    aws_secret_access_key="y",
    config=Config(s3={"addressing_style": "path"}),
)


def reset():
    requests.post(f"{URL}/moto-api/reset", timeout=30).raise_for_status()


def bucket(name, region=None):
    place = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region else {}
    S3.create_bucket(Bucket=name, **place)


def put(name, key, path=None, text=None):
    if path is not None:
        with open(path, "rb") as file:
            body = file.read()
    else:
        body = text.encode()
    S3.put_object(Bucket=name, Key=key, Body=body)


def many(name, pattern, count):
    for index in range(count):
        S3.put_object(Bucket=name, Key=pattern % index, Body=b"x")


def state():
    found = {}
    for entry in S3.list_buckets()["Buckets"]:
        name = entry["Name"]
        keys = []
        for page in S3.get_paginator("list_objects_v2").paginate(Bucket=name):
            for item in page.get("Contents", []):
                etag = item["ETag"].strip('"')
                keys.append(f"{item['Key']} ({item['Size']} bytes, etag {etag})")
        location = S3.get_bucket_location(Bucket=name)["LocationConstraint"]
        found[name] = {"location": location, "keys": keys}
    return found


def look(name, key):
    answer = S3.get_object(Bucket=name, Key=key)
    body = answer["Body"].read()
    grants = [
        [grant["Grantee"].get("URI") or grant["Grantee"].get("ID"), grant["Permission"]]
        for grant in S3.get_object_acl(Bucket=name, Key=key)["Grants"]
    ]
    return {
        "size": len(body),
        "sha1": hashlib.sha1(body).hexdigest(),
        "type": answer["ContentType"],
        "grants": grants,
    }


def ownership(name):
    rules = S3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"]
    return [rule["ObjectOwnership"] for rule in rules]


def images(region, found):
    """Puts images into a region: each an ID, a location, an owner, a type."""
    backend = ec2_backends["123456789012"][region]
    for image, location, owner, kind in found:
        backend.amis[image] = Ami(
            backend,
            image,
            owner_id=owner,
            owner_alias="amazon" if owner == "amazon" else None,
            public=True,
            image_type=kind,
            image_location=location,
        )


print(json.dumps({"host": host, "port": port}), flush=True)
for line in sys.stdin:
    call = json.loads(line)
    answer = globals()[call["call"]](*call.get("words", []), **call.get("named", {}))
    print(json.dumps(answer), flush=True)
