"""kafka-python, as its documentation has it, against an address with a user and a password."""

import json
import sys

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

address, user, password = sys.argv[1:]


def producer(password, **settings):
    return KafkaProducer(
        bootstrap_servers=address,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username=user,
        sasl_plain_password=password,
        linger_ms=5,
        **settings,
    )


def send(part, **settings):
    to = producer(password, **settings)
    sent = []
    for id in range(1000):
        value = json.dumps({"id": id, "part": part}).encode()
        sent.append(to.send("shared", key=str(id).encode(), value=value, headers=[("h", b"1")]))
    to.flush(timeout=20)
    for each in sent:
        each.get(timeout=20)
    to.close(timeout=20)


send("none", acks="all", enable_idempotence=False)
for compression in ["gzip", "snappy", "lz4", "zstd"]:
    send(compression, compression_type=compression)
send("idempotent", enable_idempotence=True)
send("zero", acks=0, enable_idempotence=False)

try:
    producer("guess", api_version_auto_timeout_ms=2000, max_block_ms=2000).send("shared", b"{}").get(timeout=5)
except (KafkaError, ValueError) as error:
    print("wrong password: refused", type(error).__name__)

try:
    producer(password, max_block_ms=1000).send("orders", b"{}").get(timeout=5)
except KafkaTimeoutError as error:
    print("unknown topic: refused", error)
