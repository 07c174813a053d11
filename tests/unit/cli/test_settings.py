"""Flags rule the environment, the environment rules the file; wrong settings are named without their values."""

from pathlib import Path

import pytest

from cli.settings import Settings, SettingsError


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ECG_LOG", "ECG_GROUP", "ECG_MODEL", "ECG_PROCESSES"):
        monkeypatch.delenv(name, raising=False)


def test_flags_then_environment_then_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ecg.toml"
    file.write_text('group = "file"\nmember = "file"\nprocesses = 3\n')
    monkeypatch.setenv("ECG_MEMBER", "environment")
    monkeypatch.setenv("ECG_GROUP", "environment")
    settings = Settings.load(file, group="flag", model=None)
    assert (settings.group, settings.member, settings.processes) == ("flag", "environment", 3)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"provider": "tpu-secret"}, "provider"),
        ({"site_zone": "Mars/secret"}, "site_zone"),
        ({"site_charset": "klingon-secret"}, "site_charset"),
        ({"processes": 0}, "processes"),
        ({"kafka_pasword_file": "secret"}, "kafka_pasword_file"),
    ],
)
def test_wrong_settings_are_named_and_not_quoted(flags: dict[str, object], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as error:
        Settings.load(**flags)  # type: ignore[arg-type] # that is the point
    assert "secret" not in str(error.value).replace("kafka_pasword_file", "")


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ecg.toml"
    file.write_text("group: yaml\n")
    with pytest.raises(SettingsError, match="settings file"):
        Settings.load(file)
