"""Records as no well-behaved sender writes them: any key, header, time, codec and size, around good and bad payloads.

What must come of each stands beside it. The log's own client would not write some of them, so they are sent by a plain
producer, each as a batch of its own.
"""

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Self

import cramjam
import kafka.codec
from kafka import KafkaProducer

from schemas.ecg import Ecg
from schemas.rejection import Reason
from simulator.edits import invert_t_waves, real_ecg, resample
from simulator.writers.dicom import write_dicom
from simulator.writers.hl7v2 import write_hl7v2

LARGEST_SENT: Final = 32 * 1024 * 1024
TOPIC_CONFIGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "max.message.bytes": str(LARGEST_SENT),
        "message.timestamp.after.max.ms": str(2**63 - 1),
        "message.timestamp.before.max.ms": str(2**63 - 1),
    }
)
MICROSECONDS: Final = 1_764_268_000_000 * 1000
"""A time stamp in the wrong unit: as milliseconds it lies tens of thousands of years ahead."""


@dataclass(frozen=True, slots=True)
class HostileRecord:
    """A record, and the code of its rejection: None if it must become a finding."""

    value: bytes | None
    rejected: Reason | None = None
    key: bytes | None = b"4711"
    header: bytes | None = None
    timestamp_ms: int | None = None
    codec: str | None = None


class NoText(str):
    """A header's name that is no text, for a client that would encode it."""

    raw: bytes

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """The name that is these bytes."""
        name = cls("no text")
        name.raw = raw
        return name

    def encode(self, *_: object) -> bytes:
        """What the client writes."""
        return self.raw


@cache
def hostile_records() -> Mapping[str, HostileRecord]:
    """One of each kind, by what is wrong with it."""
    ecg = resample(invert_t_waves(real_ecg(), ("V2", "V3", "V4"), depth_mv=0.4), 250)
    good, dicom = write_hl7v2(ecg, variant="na"), write_dicom(ecg)
    unknown, large = Reason.PAYLOAD_UNKNOWN_FORMAT, Reason.PAYLOAD_TOO_LARGE
    return MappingProxyType(
        {
            "key of 70 KB": HostileRecord(b"junk", unknown, key=b"k" * 70_000),
            "key of 70 KB, good": HostileRecord(good, key=b"k" * 70_000),
            "no key": HostileRecord(dicom, key=None),
            "binary key": HostileRecord(b"junk", unknown, key=bytes(range(256))),
            "header name that is no text": HostileRecord(good, header=b"\xff\xfeid"),
            "header name that is no text, junk": HostileRecord(b"junk", unknown, header=b"\xff\xfeid"),
            "time in microseconds": HostileRecord(good, timestamp_ms=MICROSECONDS),
            "time in microseconds, junk": HostileRecord(b"junk", unknown, timestamp_ms=MICROSECONDS),
            "last time there is": HostileRecord(dicom, timestamp_ms=2**63 - 1),
            "gzip": HostileRecord(good, codec="gzip"),
            "snappy": HostileRecord(good, codec="snappy"),
            "lz4": HostileRecord(good, codec="lz4"),
            "zstd": HostileRecord(good, codec="zstd"),
            "no value": HostileRecord(None, Reason.PAYLOAD_EMPTY),
            "empty value": HostileRecord(b"", Reason.PAYLOAD_EMPTY),
            "17 MB": HostileRecord(bytes(17 * 1024 * 1024), large),
            "17 MB, deflated": HostileRecord(bytes(17 * 1024 * 1024), large, codec="gzip"),
            "100 MB in 100 KB": HostileRecord(bytes(100 * 1024 * 1024), Reason.LOG_UNREADABLE_BATCH, codec="gzip"),
            "date of no date": HostileRecord(_dated(good, b"99991231235959+0000"), Reason.ECG_NO_TIME),
            "date before all dates": HostileRecord(_dated(good, b"00010101000000+1400"), Reason.ECG_NO_TIME),
            "character sets of 15 MB": HostileRecord(
                _named(good, b"~" * 15_000_000), Reason.HL7_TOO_COMPLEX, codec="gzip"
            ),
            "identifier of 3 MB": HostileRecord(
                _owned(ecg, "\x01" * 3_000_000), Reason.ECG_FIELD_TOO_LONG, codec="gzip"
            ),
            "identifier with control characters": HostileRecord(_owned(ecg, "47\x0711"), Reason.ECG_FIELD_UNPRINTABLE),
            "cut off": HostileRecord(dicom[: len(dicom) // 2], Reason.DICOM_MALFORMED),
        }
    )


class _Snappy:
    """What the plain producer wants of a library that we do not have."""

    @staticmethod
    def compress(data: bytes) -> bytes:
        return bytes(cramjam.snappy.compress_raw(data))


def sender(servers: list[str], codec: str | None) -> Any:
    """A producer that sends each record at once, in a batch of its own, without a look at it."""
    kafka.codec.snappy = _Snappy
    return KafkaProducer(
        bootstrap_servers=servers, compression_type=codec, acks="all", linger_ms=0, batch_size=0,
        max_request_size=256 * 1024 * 1024, allow_auto_create_topics=False,
    )  # fmt: skip


def send(producer: Any, topic: str, record: HostileRecord, **headers: bytes) -> Any:
    """Hand a record to such a producer, with headers besides its own; the future tells where it lies."""
    sent: list[tuple[str, bytes]] = list(headers.items())
    if record.header is not None:
        sent.append((NoText.of(record.header), b"1"))
    return producer.send(topic, value=record.value, key=record.key, headers=sent, timestamp_ms=record.timestamp_ms)


def _dated(message: bytes, moment: bytes) -> bytes:
    """The message with another time in OBR-7."""
    head, obr, rest = message.partition(b"\rOBR|")
    line, _, tail = rest.partition(b"\r")
    fields = line.split(b"|")
    fields[6] = moment
    return head + obr + b"|".join(fields) + b"\r" + tail


def _named(message: bytes, charsets: bytes) -> bytes:
    """The message with something else in MSH-18."""
    header, _, rest = message.partition(b"\r")
    fields = header.split(b"|")
    fields[17:18] = [charsets]
    return b"|".join(fields) + b"\r" + rest


def _owned(ecg: Ecg, identifier: str) -> bytes:
    """A DICOM object with this patient's identifier, which the library warns of, and writes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return write_dicom(dataclasses.replace(ecg, patient=dataclasses.replace(ecg.patient, id=identifier)))
