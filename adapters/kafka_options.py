"""How to reach a Kafka cluster: addresses, security, and how long to wait. What the two sides of a record agree on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from adapters.log import LogError
from adapters.log_limits import MAX_LABEL_BYTES, MAX_VALUE_BYTES

# The largest value with its key, its headers and what the format adds. Producer, topic and consumer must agree on it,
# or a record could be written that nobody can fetch.
MAX_RECORD_BYTES: Final = MAX_VALUE_BYTES + 2 * MAX_LABEL_BYTES

# What one fetch may bring from one broker: three of the largest records, so that memory stays bounded however many
# partitions are assigned.
MAX_FETCH_BYTES: Final = 64 * 1024 * 1024

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for what, in seconds. The defaults suit a cluster that loses a broker now and then.

    connect_s      first contact with any of the addresses
    request_s      one request to a broker that has accepted it
    publish_s      one transaction, all of it; longer than a broker's failover (9 s to notice it, some more to move)
    transaction_s  after which the broker aborts a transaction by itself; longer than publish_s, so that a live
                   transaction is never aborted under us, and short, because readers of the topic wait for it if we die
    session_s      after which a member that died without leaving loses its partitions; longer than a broker's failover
    poll_s         after which a member that no longer polls loses them, though its process lives
    unreachable_s  how long `poll` goes on without any answer before it raises LogUnavailable
    """

    connect_s: float = 15.0
    request_s: float = 10.0
    publish_s: float = 20.0
    transaction_s: float = 30.0
    session_s: float = 20.0
    poll_s: float = 30.0
    unreachable_s: float = 120.0

    def __post_init__(self) -> None:
        if self.publish_s >= self.transaction_s:
            raise LogError("the publish timeout must be shorter than the transaction timeout")


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """Security as the cluster asks for it. Secrets stay in files, read at each connection and never kept or shown."""

    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism | None = None
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)

    def __post_init__(self) -> None:
        sasl = self.security_protocol.startswith("SASL")
        if sasl and not (self.sasl_mechanism and self.username and self.password_file):
            raise LogError("SASL needs a mechanism, a user name and a password file")
        if not sasl and (self.sasl_mechanism or self.username or self.password_file):
            raise LogError(f"{self.security_protocol} uses no SASL mechanism, user name or password file")
        if not self.security_protocol.endswith("SSL") and (self.ca_file or self.certificate_file or self.key_file):
            raise LogError(f"{self.security_protocol} uses no certificates")
        if (self.certificate_file is None) != (self.key_file is None):
            raise LogError("a client certificate and its key come together")

    def client_settings(self, servers: list[str]) -> dict[str, Any]:
        """The client library's settings for reaching the cluster. They hold the password: never print them."""
        return {
            "bootstrap_servers": servers,
            "bootstrap_timeout_ms": _ms(self.timeouts.connect_s),
            "request_timeout_ms": _ms(self.timeouts.request_s),
            # Tried again soon: a pod must not idle for half a minute after its broker is back.
            "reconnect_backoff_max_ms": 1000,
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self._password(),
            "ssl_cafile": _path(self.ca_file),
            "ssl_certfile": _path(self.certificate_file),
            "ssl_keyfile": _path(self.key_file),
        }

    def _password(self) -> str | None:
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise LogError(f"the password file cannot be read: {type(error).__name__}") from None


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _path(file: Path | None) -> str | None:
    return None if file is None else str(file)
