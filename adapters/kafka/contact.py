"""Why a cluster cannot be reached, in words: the client library only says that it could not.

Each address is tried as the library would: its name, a connection, a TLS handshake. Who is let in (the password, the
client's certificate) is told by what the library itself came across. None of this sends or shows a secret.
"""

import errno
import functools
import os
import socket
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final

from kafka.errors import (
    IllegalSaslStateError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
)
from kafka.net.transport import KafkaSSLTransport

from adapters.deadline import Deadline, run_in_thread
from adapters.log import LogUnavailable

PROBE_LIMIT_S: Final = 3.0
LISTEN_S: Final = 1.0
# How long the first contact is tried: a broker that is just being started is not refused at once.
REACH_LIMIT_S: Final = 2.0
REACH_PAUSE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an address cannot be reached, with what to do. `lasting` if another try will end in the same way."""

    text: str
    lasting: bool = False


SILENT: Final = Cause(f"no answer within {PROBE_LIMIT_S:.0f} s; is the address right, or a firewall in between?")
REFUSED: Final = "connection refused; is a broker listening there? Check ECG_LOG"
NO_TLS: Final = (
    "no TLS there; is this the port of a listener without it? Check the port in ECG_LOG and "
    "ECG_KAFKA_SECURITY_PROTOCOL"
)  # fmt: skip
NO_KAFKA: Final = (
    "it takes connections and ends them; does the listener ask for TLS or a password? Check the port in ECG_LOG and "
    "ECG_KAFKA_SECURITY_PROTOCOL"
)  # fmt: skip


def reach(settings: Mapping[str, Any]) -> None:
    """Return once one of the addresses can be reached. Raises LogUnavailable with the reason, if none can."""
    deadline = Deadline(REACH_LIMIT_S)
    while True:
        causes = _probe_all(settings)
        if None in causes.values():
            return
        lasting = all(cause.lasting for cause in causes.values() if cause)
        if lasting or deadline.remaining_s < REACH_PAUSE_S:
            raise LogUnavailable(_sentence(causes))
        time.sleep(REACH_PAUSE_S)


def why_out_of_reach(settings: Mapping[str, Any], failures: Iterable[BaseException]) -> str:
    """What keeps the library from talking to a cluster, given what it came across."""
    said = next((text for failure in failures if (text := refusal(failure, settings))), None)
    if said is not None:
        return f"kafka://{','.join(settings['bootstrap_servers'])}: {said}"
    causes = _probe_all(settings, listen=True)
    ended = Cause(_ended(settings))
    return _sentence({server: cause or ended for server, cause in causes.items()})


def _ended(settings: Mapping[str, Any]) -> str:
    """What to say of a listener that takes connections and ends them without a word that reached us in time."""
    mechanism = settings.get("sasl_mechanism")
    if mechanism is None:
        return NO_KAFKA
    return (
        f"it takes connections and ends them; does it offer {mechanism}? Check the port in ECG_LOG, "
        "ECG_KAFKA_SECURITY_PROTOCOL and ECG_KAFKA_SASL_MECHANISM"
    )


def refusal(failure: BaseException, settings: Mapping[str, Any] | None = None) -> str | None:
    """What a failed connection says of who we are; None if it says nothing of that."""
    mechanism = (settings or {}).get("sasl_mechanism") or "SASL"
    if isinstance(failure, SaslAuthenticationFailedError):
        if mechanism == "OAUTHBEARER":
            return "the token was refused; check the content of ECG_KAFKA_TOKEN_FILE"
        return (
            f"the user name or the password was refused ({mechanism}); check ECG_KAFKA_USERNAME and the content of "
            "ECG_KAFKA_PASSWORD_FILE"
        )
    if isinstance(failure, UnsupportedSaslMechanismError):
        return f"the broker does not offer {mechanism}; check ECG_KAFKA_SASL_MECHANISM"
    if isinstance(failure, IllegalSaslStateError):
        return "the listener asks for no password; check the port in ECG_LOG and ECG_KAFKA_SECURITY_PROTOCOL"
    if isinstance(failure, UnsupportedVersionError):
        return "the broker is too old; 2.5 or later is needed"
    return None


def _sentence(causes: Mapping[str, Cause | None]) -> str:
    """One sentence for each cause, with all the addresses that it holds for."""
    servers: dict[str, list[str]] = {}
    for server, cause in causes.items():
        if cause is not None:
            servers.setdefault(cause.text, []).append(server)
    return ". ".join(f"kafka://{','.join(item)}: {text}" for text, item in servers.items())


def _probe_all(settings: Mapping[str, Any], *, listen: bool = False) -> dict[str, Cause | None]:
    """What is wrong with each address, all tried at the same time, within `PROBE_LIMIT_S`.

    To `listen` takes a moment: under TLS 1.3 a server judges a client's certificate after the handshake.
    """
    servers: Sequence[str] = settings["bootstrap_servers"]
    tls = settings["security_protocol"].endswith("SSL")
    if tls and (unusable := _unusable_files(settings)):
        return dict.fromkeys(servers, Cause(unusable, lasting=True))
    deadline = Deadline(PROBE_LIMIT_S)
    # In threads that may be left behind: nothing bounds how long a name is looked up.
    probes = {
        server: run_in_thread("contact", functools.partial(_probe, server, settings, tls, listen)) for server in servers
    }
    return {server: _outcome(probe, deadline) for server, probe in probes.items()}


def _outcome(probe: "Future[Cause | None]", deadline: Deadline) -> Cause | None:
    try:
        return probe.result(timeout=deadline.remaining_s)
    except TimeoutError:
        return SILENT


def _unusable_files(settings: Mapping[str, Any]) -> str | None:
    try:
        _tls_context(settings)
    except OSError as error:  # TLS errors are among them
        files = [settings[name] for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile") if settings[name]]
        missing = [file for file in files if not os.access(file, os.R_OK)]
        return f"the TLS files cannot be used: {', '.join(missing or files)}: {error.strerror or _tls_reason(error)}"
    return None


def _tls_context(settings: Mapping[str, Any]) -> ssl.SSLContext:
    names = ("ssl_check_hostname", "ssl_cafile", "ssl_certfile", "ssl_keyfile")
    stated = {**KafkaSSLTransport.DEFAULT_CONFIG, **{name: settings[name] for name in names}}
    context: ssl.SSLContext = KafkaSSLTransport._build_ssl_context(stated)
    return context


def _probe(server: str, settings: Mapping[str, Any], tls: bool, listen: bool) -> Cause | None:
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    try:
        connection = socket.create_connection((host, int(port)), timeout=PROBE_LIMIT_S)
    except OSError as error:
        return _no_connection(error)
    if not tls:
        connection.close()
        return None
    context = _tls_context(settings)
    with closing(connection):
        try:
            with context.wrap_socket(connection, server_hostname=host) as wrapped:
                if listen:
                    _hear_an_alert(wrapped)
        except OSError as error:
            return _no_handshake(error)
    return None


def _hear_an_alert(connection: ssl.SSLSocket) -> None:
    """Raise the SSLError that a server sends soon after a handshake, if it does."""
    connection.settimeout(LISTEN_S)
    with suppress(TimeoutError, ConnectionError):
        connection.recv(1)


def _no_connection(error: OSError) -> Cause:
    if isinstance(error, socket.gaierror):
        return Cause(f"the name cannot be resolved ({error.strerror}); check ECG_LOG, and the DNS of this machine")
    if isinstance(error, ConnectionRefusedError):
        return Cause(REFUSED)
    if isinstance(error, TimeoutError):
        return SILENT
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return Cause("no route to it; check ECG_LOG, and the network between")
    return Cause(f"no connection ({error.strerror or type(error).__name__}); check ECG_LOG, and the network between")


def _no_handshake(error: OSError) -> Cause:
    if isinstance(error, ssl.SSLCertVerificationError):
        if "hostname" in error.verify_message.lower() or "ip address" in error.verify_message.lower():
            return Cause(
                f"its certificate is for another name ({error.verify_message.rstrip('.')}); write in ECG_LOG a name "
                "that it holds",
                lasting=True,
            )
        return Cause(
            f"its certificate is not trusted ({error.verify_message}); set ECG_KAFKA_CA_FILE to the certificate of the "
            "authority that signed it",
            lasting=True,
        )
    if isinstance(error, TimeoutError):
        return Cause(f"no answer to a TLS handshake within {PROBE_LIMIT_S:.0f} s; {NO_TLS}")
    if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
        return Cause(
            f"it refused the TLS handshake ({_tls_reason(error)}); check ECG_KAFKA_CERTIFICATE_FILE and "
            "ECG_KAFKA_KEY_FILE: does it want a client certificate?",
            lasting=True,
        )
    return Cause(NO_TLS, lasting=True)


def _tls_reason(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else type(error).__name__
