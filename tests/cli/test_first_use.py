"""What somebody meets who has the commands for the first time: help, version, completion, and paths typed wrongly."""

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from cli import app as worker
from cli.training import app as training
from tests.cli.command import environment, real_file

Main = Callable[[], None]
COMMANDS = [("ecg-worker", worker.main), ("ecg-train", training.main)]
MODULES = [("ecg-worker", "cli.app"), ("ecg-train", "cli.training.app")]
MODEL = Path(__file__).parents[2] / "deploy" / "models" / "ecg-r1-demo"


def ended(monkeypatch: pytest.MonkeyPatch, main: Main, *arguments: object) -> int:
    """The exit code of a command that ends before it does any work."""
    monkeypatch.setattr("sys.argv", list(map(str, arguments)))
    with pytest.raises(SystemExit) as exit_code:
        main()
    return int(exit_code.value.code or 0)


@pytest.mark.parametrize(("name", "main"), COMMANDS)
def test_version(name: str, main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, main, name, "--version") == 0
    assert capsys.readouterr().out == f"ecg-r1-worker {version('ecg-r1-worker')}\n"


def in_a_process(name: str, module: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run as the installed command of this name does; exit code 3 if it imported what takes long to import."""
    code = f"""
import sys
from {module} import main
sys.argv = {[name, *arguments]}
try:
    main()
except SystemExit as end:
    sys.exit(end.code or (3 if {{"torch", "transformers"}} & sys.modules.keys() else 0))
"""
    return subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment(**settings)
    )


@pytest.mark.parametrize(("name", "module"), MODULES)
@pytest.mark.parametrize("asked", ["--version", "--help"])
def test_help_and_version_wait_for_no_torch(name: str, module: str, asked: str) -> None:
    done = in_a_process(name, module, asked)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "module", "typed", "offered"), [(*MODULES[0], "exp", "explain"), (*MODULES[1], "s", "sft")]
)
def test_the_shell_completes_commands_at_once(name: str, module: str, typed: str, offered: str) -> None:
    variable = f"_{name.upper().replace('-', '_')}_COMPLETE"
    shell = {"COMP_WORDS": f"{name} {typed}", "COMP_CWORD": "1"}
    done = in_a_process(name, module, **{variable: "complete_bash"}, **shell)
    assert done.returncode == 0, done.stderr
    assert offered in done.stdout.split()


@pytest.mark.parametrize(
    ("command", "verbatim"), [("evaluate", "simulated:A:4:2000"), ("pretrain", "simulated:A:1:24000:varied")]
)
def test_an_example_stands_in_the_help_as_it_has_to_be_typed(
    command: str, verbatim: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, training.main, "ecg-train", command, "--help") == 0
    assert verbatim in capsys.readouterr().out


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (worker.main, ("replay", "--from", 0, "--to", 1, "--model", MODEL, "--report")),
        (worker.main, ("render", real_file(), "-o")),
        (worker.main, ("demo", "-o")),
        (worker.main, ("simulate", "-o")),
        (training.main, ("evaluate", "--model", f"m={MODEL}", "--data", "d=simulated:A:1:1", "-o")),
        (training.main, ("sft", "--model", MODEL, "--data", "simulated:A:1:1", "--run")),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)
def test_where_the_output_goes_is_tried_before_the_work(
    main: Main,
    arguments: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ECG_LOG", f"sqlite://{tmp_path}/log.db")
    out = tmp_path / "file" / "within" / "out.png"
    assert ended(monkeypatch, main, "command", *arguments, out) == 2
    said = capsys.readouterr()
    last = said.err.splitlines()[-1]
    assert str(out.parent) in last
    assert "Not a directory" in last
    assert str(arguments[-1]).removeprefix("-")[0] in last
    assert not (tmp_path / "log.db").exists(), "the log was opened first"


def test_trying_a_path_leaves_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cli import output

    report = tmp_path / "new" / "report.json"
    output.try_file(report, "--report")
    assert list(tmp_path.rglob("*")) == [report.parent]
    report.write_text("kept")
    output.try_file(report, "--report")
    assert report.read_text() == "kept"
