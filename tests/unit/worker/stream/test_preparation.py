"""The pool of processes: bounded in time, dead when one of its processes is, gone when its parent is."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from schemas.rejection import Reason, Rejection
from tests.support import results
from tests.support.preparing import behave, record
from worker.operations.gc_policy import COLLECT_EVERY
from worker.picture.layout import make_layout
from worker.prepared import PreparedEcg
from worker.stream import preparation
from worker.stream.preparation import PreparationFailed, PreparationPool

WHOLE = results.prepared(record(b"x"))


@pytest.fixture(scope="module")
def pool() -> Iterator[PreparationPool]:
    """One for all tests that leave it whole."""
    with closing(PreparationPool(1, behave, make_layout(), time_limit_s=1.0)) as running:
        yield running


def test_records_are_prepared_and_failures_are_rejections_that_say_nothing_of_the_record(pool: PreparationPool) -> None:
    prepared = [pool.submit(record(value)) for value in (b"ok", b"fail", b"loop", b"ok")]
    first, failed, slow, last = (future.result(60) for future in prepared)
    assert isinstance(first, PreparedEcg)
    assert isinstance(last, PreparedEcg)
    assert first.ecg_digest == last.ecg_digest
    assert isinstance(failed, Rejection)
    assert (failed.reason, failed.detail) == (Reason.INTERNAL, "ValueError")
    assert isinstance(slow, Rejection)
    assert (slow.reason, slow.stage) == (Reason.PAYLOAD_TOO_SLOW, "decode")


def test_what_records_leave_behind_is_collected_soon(pool: PreparationPool) -> None:
    prepared = [pool.submit(record(b"circle")) for _ in range(5 * COLLECT_EVERY)]
    left = [int(result.detail or 0) for future in prepared if isinstance(result := future.result(60), Rejection)]
    assert len(left) == len(prepared)
    assert max(left) <= COLLECT_EVERY + 2


def test_a_parser_that_takes_every_exception_for_its_own_does_not_take_the_alarm(pool: PreparationPool) -> None:
    rejected = pool.submit(record(b"swallow")).result(60)
    assert isinstance(rejected, Rejection)
    assert rejected.reason == Reason.PAYLOAD_TOO_SLOW


def test_a_process_that_idles_for_longer_than_its_limit_lives_on(pool: PreparationPool) -> None:
    first = pool.submit(record(b"ok")).result(60)
    (process,) = pool._pool._processes
    time.sleep(1.5)
    second = pool.submit(record(b"ok")).result(60)
    assert isinstance(first, PreparedEcg)
    assert isinstance(second, PreparedEcg)
    assert [*pool._pool._processes] == [process]


@pytest.mark.parametrize("ring_at", ["after the work", "before it is armed", "while it is disarmed"])
def test_an_alarm_between_the_stages_does_not_get_out(monkeypatch: pytest.MonkeyPatch, ring_at: str) -> None:
    """The alarm rings where nothing of `prepare` is running: around it, or while the timer is taken back."""

    def ring(*_: object) -> None:
        preparation._out_of_time(0, None)

    def timer(_: int, seconds: float) -> None:
        if (ring_at == "while it is disarmed") == (seconds == 0) and ring_at != "after the work":
            ring()

    monkeypatch.setattr(signal, "setitimer", timer)
    monkeypatch.setattr(preparation, "prepare", lambda *_: ring() if ring_at == "after the work" else WHOLE)
    prepared = preparation._prepare_in_time(record(b"x"), behave, make_layout(), 1.0)
    if ring_at == "while it is disarmed":
        assert prepared is WHOLE, "an alarm that comes late is none"
    else:
        assert isinstance(prepared, Rejection)
        assert (prepared.reason, prepared.stage) == (Reason.PAYLOAD_TOO_SLOW, "assemble")


@pytest.mark.slow
def test_a_record_that_ends_its_process_is_rejected_and_the_others_are_prepared() -> None:
    before = REGISTRY.get_sample_value("ecg_preparation_deaths_total") or 0.0
    with closing(PreparationPool(1, behave, make_layout())) as pool:
        outcomes = [pool.submit(record(value)) for value in (b"ok", b"die", b"ok", b"fail", b"die", b"ok")]
        prepared = [future.result(60) for future in outcomes]
        afterwards = pool.submit(record(b"ok")).result(60)
    reasons = [result.reason if isinstance(result, Rejection) else None for result in prepared]
    assert reasons == [None, Reason.PAYLOAD_FATAL, None, Reason.INTERNAL, Reason.PAYLOAD_FATAL, None]
    assert isinstance(afterwards, PreparedEcg)
    assert (REGISTRY.get_sample_value("ecg_preparation_deaths_total") or 0.0) > before


@pytest.mark.slow
def test_a_process_that_somebody_killed_costs_no_record() -> None:
    with closing(PreparationPool(1, behave, make_layout(), time_limit_s=30.0)) as pool:
        pool.submit(record(b"ok")).result(60)
        (process,) = pool._pool._processes
        under_way = pool.submit(record(b"slow"))
        time.sleep(0.2)
        os.kill(process, signal.SIGKILL)
        assert isinstance(under_way.result(60), PreparedEcg)
        assert isinstance(pool.submit(record(b"ok")).result(60), PreparedEcg)


@pytest.mark.slow
def test_memory_is_refused_before_the_machine_has_none(pool: PreparationPool) -> None:
    refused = pool.submit(record(b"hungry")).result(60)
    assert isinstance(refused, Rejection)
    assert (refused.reason, refused.detail) == (Reason.INTERNAL, "MemoryError")


@pytest.mark.slow
def test_a_machine_that_gives_no_process_is_not_taken_for_a_bad_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "_set_up_process", os.abort)
    with closing(PreparationPool(1, behave, make_layout())) as broken, pytest.raises(PreparationFailed, match="fewer"):
        broken.submit(record(b"ok")).result(60)


def test_a_pool_that_breaks_while_a_record_is_submitted_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer Pythons tell what was in hand under the lock that `submit` takes: neither may wait for the other."""

    class Breaking:
        def __init__(self) -> None:
            self.in_hand: Future[object] | None = None
            self.told = False

        def submit(self, *_: object) -> Future[object]:
            if self.in_hand is None:
                self.in_hand = Future()
                return self.in_hand
            teller = threading.Thread(target=self.in_hand.set_exception, args=(BrokenProcessPool(),), daemon=True)
            teller.start()
            teller.join(5.0)
            self.told = not teller.is_alive()
            raise BrokenProcessPool

    first, later = Breaking(), Breaking()
    pools = iter([first, later])
    monkeypatch.setattr(preparation, "_new_pool", lambda _: next(pools))
    monkeypatch.setattr(PreparationPool, "_try_alone", lambda _: None)
    pool = PreparationPool(1, behave, make_layout())
    pool.submit(record(b"ok"))
    pool.submit(record(b"ok"))
    assert first.told
    assert later.in_hand is not None


PARENT = """
import sys, time
from tests.support.preparing import behave, record
from worker.picture.layout import make_layout
from worker.stream.preparation import PreparationFailed, PreparationPool
if __name__ == "__main__":
    pool = PreparationPool(1, behave, make_layout())
    pool.submit(record(b"fail")).result(60)
    print(*pool._pool._processes, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_no_process_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.kill()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and "State:\tZ" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.05)


CLOSES_ON_A_SUSPECT = """
from tests.support.preparing import behave, record
from worker.picture.layout import make_layout
from worker.stream.preparation import PreparationFailed, PreparationPool
import time
if __name__ == "__main__":
    pool = PreparationPool(1, behave, make_layout(), time_limit_s=100)
    pool.submit(record(b"die"))
    pool.submit(record(b"loop"))
    while pool._pool_for_one is None:
        time.sleep(0.05)
    time.sleep(0.5)
    pool.close()
"""


@pytest.mark.slow
def test_a_process_ends_that_closes_its_pool_while_a_suspect_is_tried(tmp_path: Path) -> None:
    script = tmp_path / "closes.py"
    script.write_text(CLOSES_ON_A_SUSPECT)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])}
    assert subprocess.run([sys.executable, script], env=environment, timeout=60, check=False).returncode == 0


ENDS = """
import sys
from concurrent.futures import wait, FIRST_COMPLETED
from tests.support.preparing import behave, record
from worker.picture.layout import make_layout
from worker.stream.preparation import PreparationFailed, PreparationPool
if __name__ == "__main__":
    for _ in range(4):
        pool = PreparationPool(1, behave, make_layout())
        wait([pool.submit(record(b"ok")) for _ in range(pool.room)], return_when=FIRST_COMPLETED)
        pool.close()
"""


@pytest.mark.slow
def test_a_process_ends_that_closes_its_pool_in_the_middle_of_work(tmp_path: Path) -> None:
    script = tmp_path / "ends.py"
    script.write_text(ENDS)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])}
    assert subprocess.run([sys.executable, script], env=environment, timeout=120, check=False).returncode == 0
