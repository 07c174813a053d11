"""Whether a host is this machine, so that nobody on a network can read what is said to it."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a name or an address, without its port, can only be this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
