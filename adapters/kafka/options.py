"""How to reach a Kafka cluster: addresses, security, and how long to wait. What the two sides of a record agree on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from kafka.errors import KafkaConnectionError
from kafka.net.sasl.oauth import AbstractTokenProvider

from adapters.log import MAX_LABEL_BYTES, MAX_VALUE_BYTES, LogError
from adapters.loopback import is_loopback

# The largest value with its key, its headers and what the format adds. Producer, topic and consumer must agree on it,
# or a record could be written that nobody can fetch.
MAX_RECORD_BYTES: Final = MAX_VALUE_BYTES + 2 * MAX_LABEL_BYTES

# What one fetch may bring from one broker: three of the largest records, so that memory stays bounded however many
# partitions are assigned.
MAX_FETCH_BYTES: Final = 64 * 1024 * 1024

# How a client connects, by the library's own setting: to any address, or to this machine only.
ANYWHERE: Final = "direct://"
THIS_MACHINE: Final = "loopback://"

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for what, in seconds. The defaults suit a cluster that loses a broker now and then.

    connect_s      contact with any of the addresses; the first one of a process fails sooner, for somebody waits for it
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


class TokenFile(AbstractTokenProvider):  # type: ignore[misc] # the library ships no types
    """A bearer token in a file that somebody else keeps fresh. It is read anew for every connection."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def token(self) -> str:
        """The token as it is now. A file that cannot be read fails this connection only: the next may find it."""
        try:
            return _secret(self._path, "token")
        except LogError as error:
            raise KafkaConnectionError(str(error)) from None


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """Security as the cluster asks for it. Secrets stay in files and are never kept or shown.

    Certificates and the token are read for each connection, the password for each client. A connection that others
    could read or answer in the broker's place (no TLS, or no check of the host's name) leaves this machine only with
    `allow_plaintext`.

    A `static_member` keeps its partitions while it is away, up to the session timeout: see docs/delivery.md.
    """

    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism | None = None
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    token_file: Path | None = None
    check_hostname: bool = True
    allow_plaintext: bool = False
    static_member: bool = False
    timeouts: Timeouts = field(default_factory=Timeouts)

    def __post_init__(self) -> None:
        self._check_sasl()
        if not self._tls and (self.ca_file or self.certificate_file or self.key_file):
            raise LogError(
                f"{self.security_protocol} uses no certificates; set ECG_KAFKA_SECURITY_PROTOCOL to SSL or "
                "SASL_SSL, or unset the certificates"
            )
        if (self.certificate_file is None) != (self.key_file is None):
            raise LogError("ECG_KAFKA_CERTIFICATE_FILE and ECG_KAFKA_KEY_FILE come together; set or unset both")

    @property
    def _tls(self) -> bool:
        return self.security_protocol.endswith("SSL")

    def _check_sasl(self) -> None:
        password = self.username is not None and self.password_file is not None
        if not self.security_protocol.startswith("SASL"):
            if self.sasl_mechanism or self.username or self.password_file or self.token_file:
                raise LogError(
                    f"{self.security_protocol} uses no SASL mechanism, user name, password or token file; set "
                    "ECG_KAFKA_SECURITY_PROTOCOL to SASL_SSL, or unset them"
                )
        elif self.sasl_mechanism is None:
            raise LogError(f"{self.security_protocol} needs a mechanism; set ECG_KAFKA_SASL_MECHANISM")
        elif self.sasl_mechanism == "OAUTHBEARER":
            if self.token_file is None or self.username or self.password_file:
                raise LogError(
                    "OAUTHBEARER needs a token file, and no user name or password file; set ECG_KAFKA_TOKEN_FILE alone"
                )
        elif not password or self.token_file:
            raise LogError(
                f"{self.sasl_mechanism} needs a user name and a password file, and no token file; set "
                "ECG_KAFKA_USERNAME and ECG_KAFKA_PASSWORD_FILE alone"
            )

    def client_settings(self, servers: list[str]) -> dict[str, Any]:
        """The client library's settings for reaching the cluster. They hold the password: never print them.

        Raises LogError if a file cannot be read, or if the connection must not leave this machine and would.
        """
        trusted = self.allow_plaintext or (self._tls and self.check_hostname)
        if not trusted and not all(is_loopback(server.rpartition(":")[0]) for server in servers):
            flaw = "without a check of the host's name" if self._tls else f"by {self.security_protocol}, unencrypted"
            raise LogError(
                f"refusing to reach Kafka {flaw}: use SSL or SASL_SSL with the check, or set ECG_ALLOW_PLAINTEXT=1 "
                "if nobody else can reach that network"
            )
        return {
            "bootstrap_servers": servers,
            "bootstrap_timeout_ms": _ms(self.timeouts.connect_s),
            "request_timeout_ms": _ms(self.timeouts.request_s),
            # Tried again soon: a pod must not idle for half a minute after its broker is back.
            "reconnect_backoff_max_ms": 1000,
            # A broker on this machine may name others that are not.
            "proxy_url": ANYWHERE if trusted else THIS_MACHINE,
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password_file and _secret(self.password_file, "password"),
            "sasl_oauth_token_provider": self._token_provider(),
            "ssl_check_hostname": self.check_hostname,
            "ssl_cafile": _path(self.ca_file),
            "ssl_certfile": _path(self.certificate_file),
            "ssl_keyfile": _path(self.key_file),
        }

    def _token_provider(self) -> TokenFile | None:
        if self.token_file is None:
            return None
        _secret(self.token_file, "token")  # a file that is not there at the start is a mistake
        return TokenFile(self.token_file)


def _secret(file: Path, what: str) -> str:
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise LogError(
            f"{file} cannot be read: {error.strerror}; check ECG_KAFKA_{what.upper()}_FILE, and who may read it"
        ) from None
    except UnicodeDecodeError:
        raise LogError(f"{file} is no text in UTF-8; check ECG_KAFKA_{what.upper()}_FILE") from None


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _path(file: Path | None) -> str | None:
    return None if file is None else str(file)
