"""From settings to a receiver of findings."""

from adapters.outbound import MllpReceiver, ReceiverError, TlsFiles, open_receiver
from cli.settings import Settings, SettingsError


def open_configured_receiver(settings: Settings) -> MllpReceiver:
    """The receiver that the settings name; it connects with the first finding. Raises SettingsError."""
    deliver = settings.deliver
    if deliver.to is None:
        raise SettingsError("no receiver: give its URL, or set ECG_DELIVER_TO")
    files = deliver.tls if deliver.tls != TlsFiles() else None
    try:
        return open_receiver(deliver.to, deliver.route, deliver.waits, files, allow_plaintext=deliver.allow_plaintext)
    except ReceiverError as error:
        raise SettingsError(str(error)) from None  # of TLS files, and names them: the URL was looked at before
