"""From a URL to a log. The one place that names every implementation."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from adapters.kafka.inspection import KafkaInspection
from adapters.kafka.log import KafkaLog
from adapters.kafka.options import KafkaOptions
from adapters.log import Log, LogError
from adapters.sqlite.log import SqliteLog
from adapters.sqlite.retention import FOR_EVER, OnPruned, Retention, say_nothing

DEFAULT_KAFKA_PORT: Final = 9092
FORMS: Final = "a log's URL is kafka://HOST:PORT[,HOST:PORT...] or sqlite:///PATH"
NO_ADDRESS: Final = "an address is no host, or its port is no number from 1 to 65535"


def check_url(url: str) -> None:
    """Raise LogError, with what is wrong and the forms, unless the URL could be a log's. It is not repeated."""
    flaw = _flaw(url)
    if flaw is not None:
        raise LogError(f"{flaw}; {FORMS}")


def _flaw(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:  # half of an IPv6 address
        return NO_ADDRESS
    if parts.scheme not in ("kafka", "sqlite"):
        return "it begins with neither kafka:// nor sqlite://"
    if "@" in parts.netloc:
        return "it holds a user name or a password, which belong in ECG_KAFKA_USERNAME and ECG_KAFKA_PASSWORD_FILE"
    if parts.query or parts.fragment:
        return "it holds a ? or a #"
    if parts.scheme == "sqlite":
        absolute = not parts.netloc and parts.path.startswith("/") and len(parts.path) > 1
        return None if absolute else "the path after sqlite:// does not begin with /"
    if parts.path not in ("", "/"):
        return "there is something after the last address"
    if not all(map(_is_address, parts.netloc.split(","))):
        return NO_ADDRESS
    return None


def _is_address(server: str) -> bool:
    # No escapes in it: %40 is an @, and what is before that may be a password.
    found = re.fullmatch(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?", server)
    if found is None or not (found[2] is None or 0 < int(found[2]) < 65536):
        return False
    try:
        found[1].encode("idna")  # or the library that resolves it raises what nobody expects of it
    except UnicodeError:
        return False
    return True


def open_log(
    url: str,
    options: KafkaOptions | None = None,
    retention: Retention = FOR_EVER,
    on_pruned: OnPruned = say_nothing,
) -> Log:
    """Open the log at `kafka://host:port[,host:port...]` or `sqlite:///absolute/path`.

    `options` are for Kafka; without them it is reached in the clear. `retention` is for an embedded log, of which
    `on_pruned` is told what was taken out. Raises LogError for a URL that is neither, and LogUnavailable if nobody
    answers there.
    """
    check_url(url)
    parts = urlsplit(url)
    if parts.scheme == "kafka":
        if retention.is_bounded:
            raise LogError(
                "the log is kafka://, where each topic has its own retention; unset ECG_LOG_KEEP_DAYS and "
                "ECG_LOG_KEEP_BYTES"
            )
        return KafkaLog(_servers(parts.netloc), options or KafkaOptions())
    if options is not None:
        raise LogError("the log is sqlite://, which has no use for Kafka's options; unset every ECG_KAFKA_ setting")
    return SqliteLog(Path(unquote(parts.path)), retention=retention, on_pruned=on_pruned)


def embedded_file(url: str) -> Path | None:
    """The file of an embedded log; None if the URL is another log's. Raises LogError as `check_url`."""
    check_url(url)
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "sqlite" else None


def open_inspection(url: str, options: KafkaOptions | None = None) -> KafkaInspection | None:
    """A look at the cluster of a log that `open_log` opens; None for an embedded one, which has nothing to look at."""
    check_url(url)
    parts = urlsplit(url)
    if parts.scheme != "kafka":
        return None
    return KafkaInspection(_servers(parts.netloc), options or KafkaOptions())


def _servers(netloc: str) -> list[str]:
    return [
        server if server.rpartition(":")[2].isdigit() else f"{server}:{DEFAULT_KAFKA_PORT}"
        for server in netloc.split(",")
    ]
