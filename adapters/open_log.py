"""From a URL to a log. The one place that names every implementation."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from adapters.kafka.inspection import KafkaInspection
from adapters.kafka.log import KafkaLog
from adapters.kafka.options import KafkaOptions
from adapters.log import Log, LogError
from adapters.sqlite.log import SqliteLog

DEFAULT_KAFKA_PORT = 9092


def open_log(url: str, options: KafkaOptions | None = None) -> Log:
    """Open the log at `kafka://host:port[,host:port...]` or `sqlite:///absolute/path`.

    `options` are for Kafka; without them it is reached in the clear. Raises LogError for a URL that is neither, and
    LogUnavailable if nobody answers there.
    """
    parts = urlsplit(url)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise LogError("a log's URL holds an address only; user names and passwords belong in the options")
    if parts.scheme == "kafka" and parts.netloc and parts.path in ("", "/"):
        return KafkaLog([_with_port(server) for server in parts.netloc.split(",")], options or KafkaOptions())
    if parts.scheme == "sqlite" and not parts.netloc and parts.path.startswith("/") and options is None:
        return SqliteLog(Path(unquote(parts.path)))
    raise LogError("a log's URL is kafka://host:port[,host:port...], or sqlite:///path without Kafka's options")


def open_inspection(url: str, options: KafkaOptions | None = None) -> KafkaInspection | None:
    """A look at the cluster of a log that `open_log` opens; None for an embedded one, which has nothing to look at."""
    parts = urlsplit(url)
    if parts.scheme != "kafka":
        return None
    return KafkaInspection([_with_port(server) for server in parts.netloc.split(",")], options or KafkaOptions())


def _with_port(server: str) -> str:
    if not server:
        raise LogError("an empty address in the log's URL")
    return server if server.rpartition(":")[2].isdigit() else f"{server}:{DEFAULT_KAFKA_PORT}"
