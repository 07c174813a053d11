"""Whether a connection stays on this machine, where nobody else can read it."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether the host, a name or an address, is this machine under one of its own names."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
