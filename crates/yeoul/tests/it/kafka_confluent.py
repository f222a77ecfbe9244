"""confluent-kafka, as its documentation has it, against an address with a user and a password."""

import json
import sys

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

address, user, password = sys.argv[1:]


def login(password):
    return {
        "bootstrap.servers": address,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanisms": "PLAIN",
        "sasl.username": user,
        "sasl.password": password,
        "linger.ms": 5,
    }


def send(part, settings):
    failed = []

    def delivered(error, message):
        if error is not None:
            failed.append(error)

    producer = Producer(login(password) | settings)
    for id in range(1000):
        value = json.dumps({"id": id, "part": part})
        producer.produce("shared", key=str(id), value=value, headers={"h": "1"}, on_delivery=delivered)
        producer.poll(0)
    assert producer.flush(20) == 0, f"{part}: not all is delivered"
    assert not failed, f"{part}: {failed[:3]}"


for compression in ["none", "gzip", "snappy", "lz4", "zstd"]:
    send(compression, {"compression.type": compression})
send("idempotent", {"enable.idempotence": True})
send("zero", {"acks": 0})

errors = []
stranger = Producer(login("guess") | {"error_cb": errors.append})
for _ in range(100):
    stranger.poll(0.1)
    if any("password is wrong" in str(error) for error in errors):
        print("wrong password: refused")
        break

admin = AdminClient(login(password))
made = admin.create_topics([NewTopic("orders", 1, 1)])["orders"]
try:
    made.result(20)
except KafkaException as error:
    assert "CREATE STREAM" in str(error) and "there are shared" in str(error), error
    print("unknown topic: refused")
