"""Whether a host can only be this machine."""

import pytest

from adapters.loopback import is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "ehr", "10.0.0.1", "localhost.example", "0.0.0.0", "::", "[2001:db8::1]"])
def test_another_one_or_nobody_knows(host: str) -> None:
    assert not is_loopback(host)
