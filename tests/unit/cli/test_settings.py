"""Flags rule the environment, the environment rules the file; what is wrong is named as the user named it."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from adapters.hl7v2.oru.message import Route
from adapters.kafka.options import KafkaOptions
from adapters.mllp.client import Waits
from adapters.outbound import TlsFiles
from cli.catalog import SETTINGS, in_words
from cli.settings import EngineSettings, Settings, SettingsError, default, purpose, stated_settings
from worker.delivery.retry import RetryPolicy
from worker.stream.limits import Limits

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ECG_")]:
        monkeypatch.delenv(name)


def problems(config: Path | None = None, *, strict: bool = False, **flags: Any) -> list[str]:
    with pytest.raises(SettingsError) as error:
        Settings.load(config, strict=strict, **flags)
    return str(error.value).splitlines()


def test_flags_then_environment_then_file_then_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ecg.toml"
    file.write_text('group = "file"\nmember = "file"\nprocesses = 3\n')
    monkeypatch.setenv("ECG_MEMBER", "environment")
    monkeypatch.setenv("ECG_GROUP", "environment")
    settings = Settings.load(file, group="flag", model=None)
    assert (settings.group, settings.member, settings.processes) == ("flag", "environment", 3)
    assert settings.drain_s == 25
    stated = stated_settings(file, {"group": "flag", "model": None}, strict=True)
    assert {name: (item.origin, item.source) for name, item in stated.items()} == {
        "group": ("flag", "--group"),
        "member": ("environment", "ECG_MEMBER"),
        "processes": ("file", f"processes in {file}"),
    }


def test_without_a_word_every_group_is_the_rooms_own_default() -> None:
    settings = Settings.load()
    assert (settings.kafka, settings.stream, settings.engine) == (KafkaOptions(), Limits(), EngineSettings())
    assert settings.deliver.route == Route()
    assert (settings.deliver.retry, settings.deliver.waits) == (RetryPolicy(), Waits())
    assert settings.deliver.tls == TlsFiles()
    assert settings == Settings()
    assert settings.shown() == {name: default(setting) for name, setting in SETTINGS.items()}


def test_every_field_has_a_name_outside_or_is_the_rooms_own_matter() -> None:
    inside = {
        *(("kafka", "timeouts"), ("stream", "transaction_records"), ("deliver", "waits", "connect_s")),
        ("deliver", "retry", "backoff_s"),
    }
    paths = {setting.path for setting in SETTINGS.values()}
    assert len(paths) == len(SETTINGS)
    groups = {path[:depth] for path in paths for depth in range(len(path))}
    settings = Settings()
    for group in groups:
        held: Any = settings
        for name in group:
            held = getattr(held, name)
        here = {(*group, item.name) for item in fields(held)}
        assert here <= paths | inside | groups
        assert {path for path in paths if path[:-1] == group} <= here


# Those of Kafka depend on one another: below.
@pytest.mark.parametrize("name", [name for name, item in SETTINGS.items() if item.path[0] != "kafka"])
def test_a_value_in_the_environment_arrives_where_it_belongs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = SETTINGS[name]
    special = {
        "log": "sqlite:///log.db",
        "deliver_to": "mllp://receiver:2575",
        "model_digest": "0" * 64,
        "log_keep_bytes": "100000000",
        "site_zone": "Europe/Berlin",
        "site_charset": "latin-1",
        "review_lifetime_h": "24.0",
    }
    choices = purpose(setting).partition("; one of ")[2].split(", ")
    usual = default(setting)
    number = "true" if isinstance(usual, bool) else "1" if isinstance(usual, int | float) else "17"
    value = special.get(name) or (choices[-1] if choices[0] else number)
    monkeypatch.setenv(setting.variable, value)
    shown = Settings.load(strict=True).shown()
    assert in_words(shown.pop(name)) in (value, f"{value}.0", "iso8859-1")
    assert shown == {other: default(item) for other, item in SETTINGS.items() if other != name}


def test_kafkas_settings_arrive_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("ECG_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512")
    monkeypatch.setenv("ECG_KAFKA_USERNAME", "ecg-worker")
    monkeypatch.setenv("ECG_KAFKA_PASSWORD_FILE", "/run/secrets/password")
    monkeypatch.setenv("ECG_ALLOW_PLAINTEXT", "1")
    monkeypatch.setenv("ECG_KAFKA_CHECK_HOSTNAME", "false")
    assert Settings.load().kafka == KafkaOptions(
        "SASL_SSL", "SCRAM-SHA-512", "ecg-worker", Path("/run/secrets/password"), check_hostname=False,
        allow_plaintext=True,
    )  # fmt: skip


def test_an_empty_variable_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ecg.toml"
    file.write_text('group = "file"\n')
    for setting in SETTINGS.values():
        monkeypatch.setenv(setting.variable, "")
    monkeypatch.setenv("ECG_NEVER_HEARD_OF", "")
    settings = Settings.load(file, strict=True)
    assert settings == Settings(group="file")
    assert settings.model is None


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("provider", "gpu", "'gpu' is not one of cpu, cuda"),
        ("processes", "0", "'0' is less than 1"),
        ("processes", "many", "'many' is no whole number"),
        ("stuck_s", "0", "'0' is not more than 0"),
        ("stuck_s", "soon", "'soon' is no number"),
        ("drain_s", "-1", "'-1' is less than 0"),
        ("drain_s", "nan", "'nan' is more than 604800"),
        ("rejected_share", "1.1", "'1.1' is more than 1"),
        ("site_zone", "Mars/Olympus", "'Mars/Olympus' is no time zone"),
        ("site_charset", "klingon", "'klingon' is no codec of Python's for text whose delimiters are ASCII"),
        ("model_digest", "A" * 64, f"'{'A' * 64}' is no SHA-256 in 64 small hexadecimal digits"),
        ("allow_plaintext", "perhaps", "is neither true nor false"),
        ("kafka_sasl_mechanism", "hunter2", "is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER"),
    ],
)
def test_a_wrong_value_is_named_as_it_was_given(
    name: str, value: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ecg.toml"
    file.write_text(f"{name} = {json.dumps(value)}\n")
    assert problems(file) == [f"{name} in {file}: {said}"]
    monkeypatch.setenv(SETTINGS[name].variable, value)
    assert problems(file) == [f"{SETTINGS[name].variable}: {said}"]


@pytest.mark.parametrize(
    "written",
    ["model = 3", "group = true", "log = []", "processes = 'x'", "processes = true", "drain_s = false", "model = ''"],
)
def test_a_value_of_another_type_is_refused(written: str, tmp_path: Path) -> None:
    file = tmp_path / "ecg.toml"
    file.write_text(written)
    (said,) = problems(file)
    assert said.startswith(f"{written.split(maxsplit=1)[0]} in {file}: ")


@pytest.mark.parametrize("value", ["bad\udcff", "zero\0"])
@pytest.mark.parametrize("name", ["group", "model"])
def test_bytes_that_are_no_text_are_refused_before_any_library_meets_them(name: str, value: str) -> None:
    flags: dict[str, Any] = {name: value}
    (said,) = problems(**flags)
    assert said.endswith("holds bytes that are no text")


def test_a_settings_file_may_begin_as_windows_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "ecg.toml"
    file.write_bytes(b"\xef\xbb\xbfgroup = 'wards'\n")
    assert Settings.load(file).group == "wards"


@pytest.mark.parametrize("content", ["a = " + "[" * 5000, "processes = " + "9" * 5000])
def test_a_file_that_no_reader_ends_with_is_no_defect(content: str, tmp_path: Path) -> None:
    file = tmp_path / "ecg.toml"
    file.write_text(content)
    assert len(problems(file)) == 1


def test_a_wrong_flag_is_named_by_the_flag() -> None:
    assert problems(group="", deliver_to="") == ["--group: is empty", "--to: is empty"]


def test_every_problem_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ecg.toml"
    file.write_text("procesess = 2\ndrain_s = -1\n[kafka]\nusername = 'x'\n")
    monkeypatch.setenv("ECG_THREADS", "none")
    monkeypatch.setenv("ECG_MODLE", "/models/ecg-r1")
    monkeypatch.setenv("ECG_QQQQQQ", "1")
    assert problems(file, strict=True) == [
        f"procesess in {file}: no such setting; did you mean processes?",
        f"kafka in {file}: no such setting; `ecg-worker settings` lists them",
        "ECG_MODLE: no such setting; did you mean ECG_MODEL?",
        "ECG_QQQQQQ: no such setting; `ecg-worker settings` lists them",
        "ECG_THREADS: 'none' is no whole number",
        f"drain_s in {file}: -1 is less than 0",
    ]


def test_an_unknown_variable_is_warned_of_by_a_service(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from worker.operations import logs

    logs.configure("WARNING")
    monkeypatch.setenv("ECG_KAFKA_PASSWORD", "hunter2")
    Settings.load()
    line = capsys.readouterr().err
    warned = json.loads(line)
    assert (warned["level"], warned["variable"], warned["nearest"]) == (
        "warning", "ECG_KAFKA_PASSWORD", "ECG_KAFKA_PASSWORD_FILE",
    )  # fmt: skip
    assert "hunter2" not in line


@pytest.mark.parametrize("name", ["ECG_CONFIG", "ECG_TERMINATION_LOG", "ECG_CACHE", "ECG_TEST_KAFKA", "ECGS"])
def test_what_is_ours_and_no_setting_is_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    Settings.load(strict=True)


def test_settings_that_contradict_each_other_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_KAFKA_SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("ECG_KAFKA_USERNAME", "ecg-worker")
    (said,) = problems()
    assert said.startswith("ECG_KAFKA_SASL_MECHANISM, ECG_KAFKA_USERNAME: PLAINTEXT uses no SASL mechanism")


def test_the_echo_engine_takes_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_ENGINE", "echo")
    said = "ECG_ENGINE, --model: the echo engine takes no model; set one or the other"
    assert problems(model=Path("/models/ecg-r1")) == [said]


@pytest.mark.parametrize(
    ("name", "url", "shown"),
    [
        ("log", "kafka://broker:9092", "kafka://broker:9092"),
        ("log", " KAFKA://broker:9092", "kafka://broker:9092"),
        ("log", "sqlite:///data/a@b.db", "sqlite:///data/a@b.db"),
        ("log", "SQLite:///Data/a.db", "sqlite:///Data/a.db"),
        ("deliver_to", "mllp://[::1]:2575", "mllp://[::1]:2575"),
        ("deliver_to", "MLLPS://Receiver:2575", "mllps://Receiver:2575"),
    ],
)
def test_a_url_is_shown_as_it_is_used(name: str, url: str, shown: str) -> None:
    flags: dict[str, Any] = {name: url}
    assert Settings.load(**flags).shown()[name] == shown


def test_a_receiver_that_is_none_is_named_by_whoever_named_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(deliver_to="receiver:2575")[0].startswith("--to: it begins with neither mllp:// nor mllps://")
    monkeypatch.setenv("ECG_DELIVER_TO", "mllp://receiver")
    assert problems()[0].startswith("ECG_DELIVER_TO: its port is missing")


def test_a_log_with_a_password_in_it_is_refused_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_LOG", "kafka://me:hunter2@broker:9092")
    (said,) = problems()
    assert said.startswith("ECG_LOG: ")
    assert "hunter2" not in said


def test_every_variable_of_the_manifests_is_a_setting() -> None:
    lines = [line for file in (ROOT / "deploy").rglob("settings.env") for line in file.read_text().splitlines()]
    names = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    assert len(names) > 10
    assert names <= {setting.variable for setting in SETTINGS.values()}


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
    with pytest.raises(SettingsError, match=r"^--log: it begins with neither .* a log's URL is kafka://HOST:PORT"):
        Settings.load(log="foo")


def test_an_inbound_topic_of_results_is_named_where_it_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "ecg.findings is a topic of results too; a worker would read what it wrote"
    file = tmp_path / "ecg.toml"
    file.write_text('inbound_topics = "ecg.stat,ecg.findings"\n')
    assert problems(file) == [f"inbound_topics in {file}: {said}"]
    monkeypatch.setenv("ECG_INBOUND_TOPICS", "ecg.findings")
    assert problems() == [f"ECG_INBOUND_TOPICS: {said}"]
    monkeypatch.delenv("ECG_INBOUND_TOPICS")
    monkeypatch.setenv("ECG_INBOUND_TOPIC", "ecg.findings")
    assert problems() == [f"ECG_INBOUND_TOPIC: {said}"]
    monkeypatch.delenv("ECG_INBOUND_TOPIC")
    assert problems(findings_topic="ecg.inbound") == [f"inbound_topic: {said.replace('findings', 'inbound')}"]
