"""kill -9 of brokers, each started again a few seconds later: how soon do results come when the cluster can serve?"""

import time
from contextlib import closing
from typing import Final

from tests.faults import procfs
from tests.faults.cluster import BROKERS, Cluster, Watch
from tests.faults.figures import spread
from tests.faults.trial import Outcome, Plan, Trial, trial

WORKERS: Final = 2
PARTITIONS: Final = 9
PER_S: Final = 10.0
DOWN_S: Final = (2.0, 10.0)
UP_S: Final = (1.0, 5.0)
TARGET_S: Final = 5.0
# Every producer that was given up leaves threads behind for as long as its last request may take.
THREADS_SETTLE_S: Final = 90.0
SPARE_THREADS: Final = 2


def broker_kills(cluster: Cluster, plan: Plan, name: str) -> Outcome:
    """Kill one of three at a time. The workers stay up through all of it, and lose no thread on the way."""
    recoveries_s: list[float] = []
    with trial(cluster, plan, name, workers=WORKERS, partitions=PARTITIONS) as here:
        here.begin(PER_S)
        pids = [here.fleet.pid(worker) for worker in range(WORKERS)]
        threads = [procfs.threads(pid) for pid in pids]
        for _ in range(plan.amount.times):
            here.pause(*UP_S)
            here.strike()
            recovery_s = _bounce(here)
            if recovery_s is None or not here.wait_for_all_fed():
                break
            recoveries_s.append(round(recovery_s, 2))
        settled = here.fleet.wait_until(
            lambda: all(procfs.threads(pid) <= count + SPARE_THREADS for pid, count in zip(pids, threads, strict=True)),
            THREADS_SETTLE_S,
        )
        threads_after = [procfs.threads(pid) for pid in pids]
        outcome = here.finish(f"{here.struck} x SIGKILL to one of {BROKERS} brokers")
        outcome.figures |= {
            "result_after_s": spread(recoveries_s),
            "all_s": recoveries_s,
            "threads": {"before": threads, "after": threads_after},
        }
        outcome.require(len(recoveries_s) == plan.amount.times, "after a kill no more results came")
        in_time = max(recoveries_s, default=0) <= TARGET_S
        outcome.require(in_time or not plan.judges_times, f"a recovery took longer than {TARGET_S} s")
        outcome.require(settled, "a worker has more threads than before")
        outcome.require(not here.fleet.ended, "a worker ended by itself")
        return outcome


def _bounce(here: Trial) -> float | None:
    """Seconds from when the cluster can serve again to the next result; None if one of them never comes."""
    chosen = here.drawn.randrange(BROKERS)
    here.cluster.take_down(chosen, hard=True)
    with closing(Watch(here.cluster)) as watch:
        here.pause(*DOWN_S)
        here.cluster.bring_back(chosen)
        here.cluster.wait_until_whole()
    if (serves_at := watch.serves_at) is None:
        serves_at = time.time()
    if not here.wait_until(lambda: here.witness.first_after(serves_at) is not None):
        return None
    first = here.witness.first_after(serves_at)
    assert first is not None
    return first - serves_at
