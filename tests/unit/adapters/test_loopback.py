"""Which hosts are this machine."""

import pytest

from adapters.loopback import is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_this_machine_is_known_by_its_own_names(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.example", "127.0.0.1.example", "10.0.0.1", "0.0.0.0", "::", "fe80::1", "ehr", "128.0.0.1"]
)
def test_any_other_host_is_another_machine(host: str) -> None:
    assert not is_loopback(host)
