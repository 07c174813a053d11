"""From settings to a receiver of findings."""

from adapters.outbound import MllpReceiver, ReceiverError, TlsFiles, open_receiver
from cli.settings import Settings, SettingsError


def open_configured_receiver(settings: Settings, source: str) -> MllpReceiver:
    """The receiver that the settings name; it connects with the first finding. Raises SettingsError.

    `source` is who named it: a flag, or the setting.
    """
    deliver = settings.deliver
    if deliver.to is None:
        raise SettingsError("no receiver: give --to URL, or set ECG_DELIVER_TO")
    files = deliver.tls if deliver.tls != TlsFiles() else None
    try:
        return open_receiver(deliver.to, deliver.route, deliver.waits, files, allow_plaintext=deliver.allow_plaintext)
    except ReceiverError as error:
        raise SettingsError(f"{source}: {error}") from None
