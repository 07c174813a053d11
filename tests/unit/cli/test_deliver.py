"""What `deliver` says of a receiver that it does not take."""

import pytest

from cli.commands.deliver import deliver
from cli.commands.deliveries import redrive
from cli.settings import SettingsError

ELSEWHERE = "mllp://receiver.example:2575"


def test_whoever_named_a_receiver_in_plain_text_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"^--to: patients' identifiers would go to another machine"):
        deliver(to=ELSEWHERE)
    monkeypatch.setenv("ECG_DELIVER_TO", ELSEWHERE)
    with pytest.raises(SettingsError, match=r"^deliver_to: patients' identifiers would go to another machine"):
        deliver()


def test_where_none_is_named_the_commands_own_flag_is() -> None:
    with pytest.raises(SettingsError, match=r"^no receiver: give --to URL"):
        deliver()
    with pytest.raises(SettingsError, match=r"^no receiver: give --receiver URL"):
        redrive()
