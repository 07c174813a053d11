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
    file.write_text('member = "a"\ngroup: yaml\n')
    with pytest.raises(SettingsError) as refused:
        Settings.load(file)
    assert str(refused.value).startswith(f"{file} is no TOML: ")
    assert "at line 2, column 6" in str(refused.value)


def test_a_settings_file_that_cannot_be_read_is_named_with_the_cause(tmp_path: Path) -> None:
    file = tmp_path / "latin.toml"
    file.write_bytes(b'group = "caf\xe9"\n')
    for unreadable, cause in (
        (tmp_path, "Is a directory"),
        (tmp_path / "no", "No such file"),
        (file, "not written in"),
    ):
        with pytest.raises(SettingsError) as refused:
            Settings.load(unreadable)
        assert str(unreadable) in str(refused.value)
        assert cause in str(refused.value)


def test_a_log_that_is_no_url_is_refused_with_the_forms() -> None:
    with pytest.raises(SettingsError, match=r"^log: it begins with neither .* a log's URL is kafka://HOST:PORT"):
        Settings.load(log="foo")
