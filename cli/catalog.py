"""Every setting that has a name outside: in a flag, as `ECG_` variable and in the TOML file.

What a setting is (its type and its default) is said by the field that holds it; here stand its name, what it is for,
and what its value has to be beyond its type.
"""

import codecs
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import Field

from adapters.log import LogError
from adapters.open_log import check_url
from adapters.outbound import ReceiverError, check_receiver
from schemas.finding import ALERT_LIFETIME_H

PREFIX: Final = "ECG_"

# Groups whose fields have their own name behind the group's outside: `kafka.username` is `kafka_username`.
_GROUPS: Final = ("kafka", "deliver")


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting's name and where its value is held.

    field_path   the field in `cli.settings.Settings`, through its groups; empty: as the name says
    bounds       of a number, in pydantic's terms
    check        returns the value, or raises ValueError with what it is not
    default      the default in words where it depends on the machine
    url          may hold a password that somebody wrote where none belongs: never repeated if it is wrong
    """

    name: str
    description: str
    field_path: str = ""
    flag: str = ""
    bounds: Any = None
    check: Callable[[Any], Any] | None = None
    default: str = ""
    url: bool = False

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return PREFIX + self.name.upper()

    @property
    def path(self) -> tuple[str, ...]:
        """The fields that lead to its value."""
        if self.field_path:
            return tuple(self.field_path.split("."))
        group, _, rest = self.name.partition("_")
        return (group, rest) if group in _GROUPS else (self.name,)


def _log_url(url: str) -> str:
    try:
        check_url(url)
    except LogError as error:
        raise ValueError(str(error)) from None
    return _in_small_letters(url)


def _receiver_url(url: str) -> str:
    try:
        check_receiver(url)
    except ReceiverError as error:
        raise ValueError(str(error)) from None
    return _in_small_letters(url)


def _in_small_letters(url: str) -> str:
    """A URL that was checked, with the scheme as everything else here writes it, and without spaces around it."""
    scheme, separator, rest = url.strip().partition(":")
    return scheme.lower() + separator + rest


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("is no time zone") from None
    return name


def _codec(name: str) -> str:
    """HL7's delimiters are ASCII in every character set that it may come in."""
    try:
        if b"MSH|^~".decode(name) == "MSH|^~":
            return codecs.lookup(name).name
    except (LookupError, UnicodeError):
        pass
    raise ValueError("is no codec of Python's for text whose delimiters are ASCII") from None


def _digest(text: str) -> str:
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError("is no SHA-256 in 64 small hexadecimal digits")
    return text


_MOST: Final = 2**31 - 1
_WEEK_S: Final = 7 * 24 * 3600.0  # longer than anybody waits; the clocks of all libraries take it

_CENTURY_H: Final = 100 * 365 * 24.0

_ONE: Final[Any] = Field(ge=1, le=_MOST)
_CORES: Final[Any] = Field(ge=1, le=256)
_DAYS: Final[Any] = Field(ge=1, le=36_525)  # a century
_NOT_NEGATIVE: Final[Any] = Field(ge=0, le=_WEEK_S)
_POSITIVE: Final[Any] = Field(gt=0, le=_WEEK_S)

CATALOG: Final[Mapping[str, tuple[Setting, ...]]] = {
    "Log, model and group": (
        Setting("log", "where records are: kafka://HOST:PORT[,HOST:PORT] or sqlite:///PATH", flag="--log",
                url=True, check=_log_url, default="sqlite:// and log.db in the user's data folder"),
        Setting("model", "model directory", flag="--model"),
        Setting("model_digest", "digest of the one bundle that may be served; not set: any", check=_digest),
        Setting("group", "consumer group of `run`", flag="--group"),
        Setting("member", "stable name of this process within its group", default="the machine's host name"),
        Setting("inbound_topic", "ECGs come in here"),
        Setting("inbound_topics", "several topics that ECGs come in on, the most urgent first, with commas between; "
                "inbound_topic is the last of them unless it has a place here"),
        Setting("findings_topic", "findings go here"),
        Setting("rejections_topic", "what cannot be read goes here, with a code"),
        Setting("audit_topic", "`replay` writes here"),
        Setting("audit_keep_days", "how long a past result can be asked for: `check` wants every topic to keep its "
                "records for so many days, and `check --create-topics` makes them so", bounds=_DAYS),
        Setting("log_keep_days", "an embedded log lets go of what every group has read after so many days; not set: "
                "never", flag="--keep-days", bounds=Field(ge=1, le=36_525)),
        Setting("log_keep_bytes", "bytes that the file of an embedded log stays below: the oldest records go first; "
                "not set: it grows", flag="--keep-bytes", bounds=Field(ge=100_000_000)),
    ),
    "Site": (
        Setting("site_zone", "time zone of local times in messages", check=_time_zone),
        Setting("site_charset", "Python codec of HL7 text without MSH-18", check=_codec),
    ),
    "Engine": (
        Setting("engine", "echo: made-up answers without a model, to try out the way of records; none raises a flag",
                "engine.kind"),
        Setting("provider", "where the model runs", "engine.provider"),
        Setting("dtype", "number type of the language model", "engine.dtype"),
        Setting("threads", "CPU threads of the engine; not set: all cores", "engine.threads", bounds=_CORES),
        Setting("batch_wait_s", "how long the oldest question waits for a fuller batch", "engine.batch_wait_s",
                bounds=_NOT_NEGATIVE),
        Setting("engine_failures", "a worker ends if the engine fails so often with no answer in between",
                "engine.failures", bounds=_ONE),
        Setting("echo_slots", "questions that the echo engine answers as one batch", "engine.echo_slots", bounds=_ONE),
        Setting("echo_batch_s", "time that the echo engine takes for a batch", "engine.echo_batch_s",
                bounds=_NOT_NEGATIVE),
        Setting("echo_question_s", "and for each question in it", "engine.echo_question_s", bounds=_NOT_NEGATIVE),
    ),
    "The worker's loop": (
        Setting("processes", "processes that decode, measure and render", bounds=_CORES),
        Setting("max_in_flight", "records begun and not finished", "stream.in_flight", bounds=_ONE),
        Setting("read_ahead_records", "records read and not committed, among which STAT ones are found",
                "stream.read_ahead", bounds=_ONE),
        Setting("read_ahead_bytes", "their payloads together", "stream.read_ahead_bytes", bounds=_ONE),
        Setting("publish_records", "results that make a transaction due; one STAT result does",
                "stream.publish_records", bounds=_ONE),
        Setting("publish_wait_s", "age of the oldest result that makes a transaction due", "stream.publish_wait_s",
                bounds=_NOT_NEGATIVE),
        Setting("urgent_units", "units whose ECGs go before others, with commas between: PV1-3 of HL7 v2, or "
                "station, department or place of DICOM; ED is also whoever has patient class E"),
        Setting("routine_share", "of the records begun while STAT ones wait, how much is others at least",
                "stream.routine_share", bounds=Field(gt=0, le=1)),
        Setting("rejected_share", "a worker reads on slowly if more of its last results were rejections; 1: never",
                "stream.rejected_share", bounds=Field(gt=0, le=1)),
        Setting("rejected_pace_s", "how long lies between two records, but for STAT ones, while it does",
                "stream.rejected_pace_s", bounds=_POSITIVE),
        Setting("stuck_s",
                "a worker ends if a partition, a transaction or a preparation stands still for so long",
                "stream.stuck_s", bounds=_POSITIVE),
    ),
    "The process": (
        Setting("drain_s", "how long SIGTERM may take, from the signal to the exit", bounds=_NOT_NEGATIVE),
        Setting("health_port", "probes and metrics are served here; 0: any free port; not set: nowhere",
                bounds=Field(ge=0, le=65535)),
        Setting("log_level", "what `run` and `deliver` log"),
    ),
    "Delivery": (
        Setting("deliver_to", "where flagged findings go: mllps://HOST:PORT, or mllp://HOST:PORT without TLS",
                flag="--to", url=True, check=_receiver_url),
        Setting("deliver_group", "consumer group of `deliver`", flag="--group"),
        Setting("delivery_rejections_topic", "what a receiver did not take over goes here", "deliver.rejections_topic"),
        Setting("deliver_sending_facility", "MSH-4", "deliver.route.sending_facility"),
        Setting("deliver_receiving_application", "MSH-5", "deliver.route.receiving_application"),
        Setting("deliver_receiving_facility", "MSH-6", "deliver.route.receiving_facility"),
        Setting("deliver_processing_id", "MSH-11; T for any model not trained", "deliver.route.processing_id"),
        Setting("deliver_ack_s", "how long an acknowledgement is waited for", "deliver.waits.ack_s", bounds=_POSITIVE),
        Setting("deliver_sends", "how often one finding is sent at most to a receiver that is there",
                "deliver.retry.max_sends", bounds=_ONE),
        Setting("deliver_longest_pause_s", "a receiver that is away is tried this often, after shorter pauses",
                "deliver.retry.longest_pause_s", bounds=_POSITIVE),
        Setting("deliver_ca_file", "whom mllps:// trusts; not set: whom this machine trusts", "deliver.tls.ca"),
        Setting("deliver_certificate_file", "who we are if the receiver asks", "deliver.tls.certificate"),
        Setting("deliver_key_file", "the certificate's key", "deliver.tls.key"),
        Setting("deliver_allow_plaintext", "send to other machines without TLS"),
        Setting("alert_lifetime_h", "age of an ECG up to which it is sent as an alert, then as a review",
                "deliver.lifetimes.alert_h", bounds=Field(gt=0, le=ALERT_LIFETIME_H)),
        Setting("review_lifetime_h", "age up to which it is sent as a review, then not at all",
                "deliver.lifetimes.review_h", bounds=Field(gt=0, le=_CENTURY_H)),
    ),
    "Kafka": (
        Setting("kafka_security_protocol", "how brokers are reached"),
        Setting("kafka_sasl_mechanism", "how we log in, with SASL_PLAINTEXT and SASL_SSL"),
        Setting("kafka_username", "user name for PLAIN and SCRAM"),
        Setting("kafka_password_file", "file with the password for them, read for each client"),
        Setting("kafka_token_file", "file with the bearer token for OAUTHBEARER, read for each connection"),
        Setting("kafka_ca_file", "whom TLS trusts"),
        Setting("kafka_certificate_file", "client certificate, if brokers ask for one"),
        Setting("kafka_key_file", "the certificate's key"),
        Setting("kafka_check_hostname", "whether the brokers' certificates must name their hosts"),
        Setting("allow_plaintext", "reach brokers on other machines without TLS, or without the check of their names",
                "kafka.allow_plaintext"),
        Setting("kafka_static_member", "keep partitions through a restart (group.instance.id)"),
    ),
}  # fmt: skip

SETTINGS: Final[Mapping[str, Setting]] = {item.name: item for rows in CATALOG.values() for item in rows}


def in_words(value: Any) -> str:
    """A setting's value as it would be written, or what its absence is called."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) or "empty"
