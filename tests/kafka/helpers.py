"""What the Kafka tests need beyond the Log protocol: the library itself, and threads to be counted."""

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from kafka import KafkaProducer

from adapters.kafka.options import KafkaOptions, Timeouts

# Short enough for a test to wait for each of them.
IMPATIENT = KafkaOptions(
    timeouts=Timeouts(connect_s=2, request_s=2, publish_s=3, transaction_s=5, session_s=1.5, poll_s=3, unreachable_s=8)
)

# Short, but longer than a broker takes to come back on a loaded machine.
BRISK = KafkaOptions(timeouts=Timeouts(connect_s=5, request_s=5, publish_s=10, transaction_s=15, session_s=6))


def unique(name: str) -> str:
    return f"{name}-{uuid4().hex[:8]}"


def raw_producer(url: str, transactional_id: str | None = None) -> Any:
    """A producer of the library's own, for what our publisher never does."""
    producer = KafkaProducer(bootstrap_servers=url.removeprefix("kafka://"), transactional_id=transactional_id)
    if transactional_id:
        producer.init_transactions()
    return producer


def wait_for(condition: Callable[[], bool], limit_s: float = 15) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def kafka_threads() -> list[str]:
    """The names of threads that the library or our use of it has started."""
    return [thread.name for thread in threading.enumerate() if "kafka" in thread.name]


def certificate(folder: Path, name: str, address: str = "127.0.0.1") -> Path:
    """A key and a certificate for this machine, signed by itself, in one PEM file; the certificate alone beside it."""
    key, signed, both = folder / f"{name}.key", folder / f"{name}.crt", folder / f"{name}.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    names = ["-addext", f"subjectAltName=IP:{address}"]
    subprocess.run([*make, *names, "-keyout", key, "-out", signed], check=True, capture_output=True, timeout=60)
    both.write_text(key.read_text() + signed.read_text())
    return both
