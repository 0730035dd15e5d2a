"""An S3 server on loopback that checks signatures. Prints its port, the id and the secret of a key that may read and
write the bucket `flags`, and the port; ends when its standard input does, and so with the test that started it."""

import logging
import os
import sys

import boto3
from moto import settings
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()


def client(service):
    return boto3.client(
        service,
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="setup",
        aws_secret_access_key="setup",
    )


iam = client("iam")
iam.create_user(UserName="tests")
key = iam.create_access_key(UserName="tests")["AccessKey"]
allow = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
iam.put_user_policy(UserName="tests", PolicyName="all", PolicyDocument=allow)
client("s3").create_bucket(Bucket="flags")
# From here on every request must be signed.
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0.0
print(port, key["AccessKeyId"], key["SecretAccessKey"], flush=True)
sys.stdin.read()
os._exit(0)
