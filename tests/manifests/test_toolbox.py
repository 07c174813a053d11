"""Tools are made once and whole, and a check that cannot be done is never taken for one that was good."""

from pathlib import Path

import pytest

from deploy.checks.report import report
from deploy.checks.toolbox import CheckFailed, cached, need, run


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_CACHE", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)


def test_a_tool_is_made_once_for_what_is_wanted() -> None:
    made: list[Path] = []
    first, second = (cached("tool", b"1.0", made.append) for _ in range(2))
    assert first == second
    assert cached("tool", b"1.1", made.append) != first
    assert len(made) == 2


def test_what_was_begun_and_not_finished_is_made_again() -> None:
    def interrupted(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("tool", b"1.0", interrupted)
    whole = cached("tool", b"1.0", lambda folder: (folder / "whole").touch())
    assert sorted(path.name for path in whole.iterdir()) == [".complete", "whole"]


def test_a_failing_program_tells_what_it_said() -> None:
    with pytest.raises(CheckFailed, match=r"(?s)sh ended with 3.*out.*err"):
        run(["sh", "-c", "echo out; echo err >&2; exit 3"])


def test_a_program_that_does_not_end_is_a_failure() -> None:
    with pytest.raises(CheckFailed, match="did not end"):
        run(["sh", "-c", "read -r _ </dev/zero"], limit_s=0.1)


def test_what_is_left_out_is_said_and_fails_only_in_ci(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking() -> str:
        return need("no-such-program")

    assert report("something", lacking)
    assert capsys.readouterr().out == "left out  something: no no-such-program on the path\n"
    monkeypatch.setenv("CI", "true")
    assert not report("something", lacking)


def test_a_failed_check_is_not_good() -> None:
    def failing() -> str:
        raise CheckFailed("why")

    assert not report("something", failing)
