"""Where `ecg-worker` begins, before its imports, which take a second: a container can be ended from its start."""

import os
import signal

_TERMINATED_CODE = 128 + signal.SIGTERM  # as a shell says it


def main() -> None:
    """Run the command line."""
    if os.getpid() == 1:
        # A signal without a handler is lost on the first process of a container: the kernel gives it no default.
        # Services set their own once they have read their settings.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(_TERMINATED_CODE))
    from cli import app

    app.main()
