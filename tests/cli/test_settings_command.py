"""`ecg-worker settings` says what can be set, what it is and who said so, with nothing but itself."""

from pathlib import Path

import pytest

from cli.catalog import SETTINGS
from tests.cli.command import lines, run


def test_every_origin_is_told(tmp_path: Path) -> None:
    file = tmp_path / "ecg.toml"
    file.write_text('group = "file"\nmember = "file"\nprocesses = 3\n')
    done = run("settings", "--json", "--group", "flag", "--config", file, ECG_MEMBER="environment", ECG_MODEL="",
               ECG_DELIVER_TO="mllp://receiver:2575")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    shown_by_name = {line["name"]: line for line in lines(done)}
    assert list(shown_by_name) == list(SETTINGS)
    assert shown_by_name["group"] == {
        "name": "group", "variable": "ECG_GROUP", "key": "group", "flag": "--group", "default": "ecg-r1-worker",
        "value": "flag", "origin": "flag", "description": "consumer group of `run`",
    }  # fmt: skip
    assert (shown_by_name["member"]["value"], shown_by_name["member"]["origin"]) == ("environment", "environment")
    assert (shown_by_name["processes"]["value"], shown_by_name["processes"]["origin"]) == (3, "file")
    assert (shown_by_name["model"]["value"], shown_by_name["model"]["origin"]) == (None, "default")
    assert (shown_by_name["max_in_flight"]["value"], shown_by_name["max_in_flight"]["origin"]) == (64, "default")
    assert shown_by_name["deliver_to"]["value"] == "mllp://receiver:2575"


def test_for_a_person_it_is_a_table() -> None:
    done = run("settings", ECG_GROUP="[red]x[/red]")
    assert (done.returncode, done.stderr) == (0, "")
    for setting in SETTINGS.values():
        assert setting.name in done.stdout
        assert setting.variable in done.stdout
    assert "[red]x[/red]" in done.stdout


def test_the_settings_file_can_be_named_by_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "ecg.toml"
    file.write_text("processes = 3\n")
    shown_by_name = {line["name"]: line["origin"] for line in lines(run("settings", "--json", ECG_CONFIG=file))}
    assert shown_by_name["processes"] == "file"
    assert run("settings", "--json", ECG_CONFIG="").returncode == 0


@pytest.mark.parametrize("command", ["settings", "check"])
def test_an_unknown_variable_is_refused_with_the_nearest_name(command: str) -> None:
    done = run(command, ECG_MODLE="x", ECG_PROVIDER="gpu")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "ecg-worker: ECG_MODLE: no such setting; did you mean ECG_MODEL?",
        "ecg-worker: ECG_PROVIDER: 'gpu' is not one of cpu, cuda",
    ]


def test_a_service_warns_of_it_and_goes_on(tmp_path: Path) -> None:
    done = run("read", "ecg.findings", ECG_MODLE="x", ECG_LOG=f"sqlite://{tmp_path}/log.db")
    assert (done.returncode, done.stdout) == (0, "")
    assert '"nearest": "ECG_MODEL"' in done.stderr


def test_an_unknown_key_of_the_file_is_refused_by_all(tmp_path: Path) -> None:
    file = tmp_path / "ecg.toml"
    file.write_text("procesess = 3\n")
    done = run("read", "ecg.findings", "--config", file, ECG_LOG=f"sqlite://{tmp_path}/log.db")
    assert done.returncode == 2
    assert done.stderr == f"ecg-worker: procesess in {file}: no such setting; did you mean processes?\n"
