"""From settings to a receiver of findings."""

from adapters.outbound import MllpReceiver, ReceiverError, TlsFiles, open_receiver
from cli.settings import Settings, SettingsError


def open_configured_receiver(settings: Settings, flag: str, stated: str | None) -> MllpReceiver:
    """The receiver that the settings name; it connects with the first finding. Raises SettingsError.

    `flag` is the command's for it, and `stated` what was given with it, if anything: whoever named it is named.
    """
    deliver = settings.deliver
    if deliver.to is None:
        raise SettingsError(f"no receiver: give {flag} URL, or set ECG_DELIVER_TO")
    files = deliver.tls if deliver.tls != TlsFiles() else None
    try:
        return open_receiver(deliver.to, deliver.route, deliver.waits, files, allow_plaintext=deliver.allow_plaintext)
    except ReceiverError as error:
        raise SettingsError(f"{flag if stated else 'deliver_to'}: {error}") from None
