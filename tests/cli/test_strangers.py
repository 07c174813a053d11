"""What a stranger did to the commands: signals at awkward moments, a full disk, topics that are one, odd files."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from adapters.log import MAX_VALUE_BYTES
from tests.cli.command import command, environment, lines, real_file, run

MODEL = Path(__file__).parents[2] / "deploy" / "models" / "ecg-r1-demo"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_model_loads_ends_it_at_once_and_without_joining(
    number: signal.Signals, tmp_path: Path
) -> None:
    settings = environment(ECG_LOG=f"sqlite://{tmp_path}/log.db", ECG_MODEL=MODEL)
    with subprocess.Popen(command("run"), env=settings, stderr=subprocess.PIPE, text=True) as loading:
        assert loading.stderr is not None
        begun = [json.loads(loading.stderr.readline())["event"] for _ in range(2)]
        began = time.monotonic()
        loading.send_signal(number)
        said = loading.stderr.read()
    assert loading.returncode == 0
    assert begun == ["there was no log, a new one is made", "loading the model"]
    assert [json.loads(line)["event"] for line in said.splitlines()] == ["stopping before anything was begun"]
    assert time.monotonic() - began < 30, "it did not wait for the model"


def test_a_reader_that_left_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command("settings", "--json"),
        env=environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_said_in_a_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("settings", "--json"), env=environment(), stdout=full, stderr=subprocess.PIPE, text=True,
            check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("ecg-worker: standard output cannot be written: No space left")
    assert len(done.stderr.splitlines()) == 1


def test_json_lines_are_utf_8_in_any_locale(tmp_path: Path) -> None:
    file = tmp_path / "zł.dcm"
    file.write_bytes(real_file().read_bytes())
    done = run("measure", file, PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert lines(done)[0]["file"] == str(file)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ECG_INBOUND_TOPIC": "x", "ECG_FINDINGS_TOPIC": "x"}, "x is a topic of results too"),
        ({"ECG_BATCH_WAIT_S": "inf"}, "ECG_BATCH_WAIT_S: 'inf' is more than 604800"),
        ({"ECG_SITE_CHARSET": "rot13"}, "ECG_SITE_CHARSET: 'rot13' is no codec"),
        ({"ECG_SITE_CHARSET": "utf-16"}, "ECG_SITE_CHARSET: 'utf-16' is no codec"),
        ({"ECG_CONFIG": "/nonexistent/site.toml"}, "/nonexistent/site.toml"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(settings: dict[str, str], said: str, tmp_path: Path) -> None:
    ending = tmp_path / "why"
    done = run("run", ECG_ENGINE="echo", ECG_TERMINATION_LOG=ending, **settings)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert said in line
    assert ending.read_text() == line.removeprefix("ecg-worker: ")


@pytest.mark.parametrize("arguments", [("read", "ecg.inbound"), ("rejections", "list")])
def test_an_offset_that_no_log_has_is_wrong_use(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*arguments, "--from", 10**20, ECG_LOG=f"sqlite://{tmp_path}/log.db")
    assert done.returncode == 2
    assert "is no offset" in done.stderr


def test_one_file_that_is_too_large_is_named_and_the_others_go(tmp_path: Path) -> None:
    (tmp_path / "big.hl7").write_bytes(b"MSH|^~\\&|" + b"x" * MAX_VALUE_BYTES)
    (tmp_path / "good.dcm").write_bytes(real_file().read_bytes())
    done = run("submit", tmp_path, ECG_LOG=f"sqlite://{tmp_path}/log.db")
    assert done.returncode == 1
    assert [line["file"] for line in lines(done)] == ["good.dcm"]
    assert f"{tmp_path}/big.hl7: left out: " in done.stderr
    assert str(MAX_VALUE_BYTES) in done.stderr


def test_a_value_that_is_nested_too_deep_can_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "deep").write_bytes(b"[" * 100_000)
    log = f"sqlite://{tmp_path}/log.db"
    assert run("submit", tmp_path / "deep", ECG_LOG=log).returncode == 0
    plain = run("read", "ecg.inbound", ECG_LOG=log)
    assert plain.returncode == 1
    assert "read it with --envelope" in plain.stderr
    (shown,) = lines(run("read", "ecg.inbound", "--envelope", ECG_LOG=log))
    assert shown["value_base64"].startswith("W1tb")
