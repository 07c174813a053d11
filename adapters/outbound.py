"""From a URL to a receiver of findings. The one place that names every outbound form."""

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from adapters.hl7v2.oru.message import Route, build_oru, control_id, event_of
from adapters.loopback import is_loopback
from adapters.mllp.client import MllpClient, Waits
from adapters.mllp.framing import framed
from schemas.delivery import Unsendable
from schemas.errors import WorkerError
from schemas.finding import Finding

_FORM: Final = "a receiver's URL is mllp://HOST:PORT, or mllps://HOST:PORT for TLS"


class ReceiverError(WorkerError):
    """The receiver's URL or its TLS files are of no use; the message says which, without their content."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: whom to trust (default: whom this machine trusts), and who we are if the receiver asks."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class MllpReceiver:
    """An HL7 v2 receiver. `deliver` is not thread-safe; `close` may come from another and ends it."""

    def __init__(self, client: MllpClient, route: Route) -> None:
        self._client, self._route = client, route

    def deliver(self, finding: Finding, late_h: int | None = None) -> None:
        """One try; return if the receiver has taken the finding over. Raises Unanswered, Refused or Unsendable.

        With `late_h`, whole hours since the recording, it is sent as a review.
        """
        try:
            message = build_oru(finding, self._route, late_h)
            name = control_id(finding.finding_id, event_of(late_h))
            framed(message)
        except Exception as error:  # what is in one finding must not stop those behind it
            raise Unsendable(type(error).__name__) from error
        self._client.send(message, name)

    def close(self) -> None:
        """End the connection, and a delivery that is under way."""
        self._client.close()


def check_receiver(url: str) -> SplitResult:
    """The parts of a receiver's URL. Raises ReceiverError, with what is wrong and the forms; it is not repeated."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")
    except UnicodeError:
        raise ReceiverError(f"its host could be no name in the DNS; {_FORM}") from None
    except ValueError:
        raise ReceiverError(f"its port is no number from 1 to 65535; {_FORM}") from None
    if parts.scheme not in ("mllp", "mllps"):
        raise ReceiverError(f"it begins with neither mllp:// nor mllps://; {_FORM}")
    if not host or not port:
        raise ReceiverError(f"its {'port' if host else 'host'} is missing; {_FORM}")
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ReceiverError(f"it holds more than a host and a port; {_FORM}")
    if not re.fullmatch(r"[\w.:-]+", host):  # no escapes in it: %40 is an @, and what is before that a password
        raise ReceiverError(f"its host could be no name in the DNS; {_FORM}")
    return parts


def open_receiver(
    url: str, route: Route, waits: Waits, tls: TlsFiles | None = None, *, allow_plaintext: bool = False
) -> MllpReceiver:
    """The receiver at `mllp://HOST:PORT` or, over TLS, `mllps://HOST:PORT`. Connects with the first finding.

    Raises ReceiverError.
    """
    parts = check_receiver(url)
    host = str(parts.hostname)
    if parts.scheme == "mllp" and tls is not None:
        raise ReceiverError("TLS files are given, but the receiver's URL is mllp://; write mllps://, or unset them")
    if parts.scheme == "mllp" and not (allow_plaintext or is_loopback(host)):
        raise ReceiverError(
            "patients' identifiers would go to another machine unencrypted; write mllps:// for TLS, or set "
            "ECG_DELIVER_ALLOW_PLAINTEXT=1 if nobody else can reach that network"
        )
    context = _context(tls or TlsFiles()) if parts.scheme == "mllps" else None
    return MllpReceiver(MllpClient(host, parts.port or 0, waits, context), route)


def _context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or later, with the receiver's name checked."""
    try:
        context = ssl.create_default_context(cafile=files.ca)
    except (OSError, ValueError) as error:
        raise _unusable(error, "ECG_DELIVER_CA_FILE", files.ca) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.certificate is not None:
        try:
            context.load_cert_chain(files.certificate, files.key)
        except (OSError, ValueError) as error:
            names = "ECG_DELIVER_CERTIFICATE_FILE and ECG_DELIVER_KEY_FILE"
            raise _unusable(error, names, files.certificate, files.key) from None
    return context


def _unusable(error: Exception, setting: str, *files: Path | None) -> ReceiverError:
    """Which TLS file cannot be used, and why, without anything of its content."""
    named = [file for file in files if file is not None]
    missing = [file for file in named if not os.access(file, os.R_OK)]
    reason = str(getattr(error, "reason", None) or "no PEM, or not a pair").lower().replace("_", " ")
    cause = reason if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None) or reason
    return ReceiverError(f"{', '.join(map(str, missing or named))} cannot be used: {cause}; check {setting}")
