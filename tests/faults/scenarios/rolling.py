"""A new version is rolled out: one worker after the other ends and begins again, while records keep coming."""

from typing import Final

from tests.faults.cluster import Cluster
from tests.faults.figures import spread
from tests.faults.trial import Outcome, Plan, trial

WORKERS: Final = 3
PARTITIONS: Final = 9
PER_S: Final = 10.0
LONGEST_GAP_S: Final = 10.0
SETTLED_S: Final = (1.0, 2.0)


def rolling(cluster: Cluster, plan: Plan, name: str) -> Outcome:
    """Each worker in turn, the next one when the last one has partitions again."""
    exits_s: list[float] = []
    codes: set[int] = set()
    returned = 0
    with trial(cluster, plan, name, workers=WORKERS, partitions=PARTITIONS) as here:
        here.begin(PER_S)
        for turn in range(plan.amount.times * WORKERS):
            worker = turn % WORKERS
            here.strike()
            seconds, code = here.fleet.terminate(worker)
            exits_s.append(seconds)
            codes.add(code)
            if not here.fleet.wait_until_ready(worker):
                break
            returned += 1
            here.pause(*SETTLED_S)
        outcome = here.finish(f"{plan.amount.times} rolling restarts of {WORKERS} workers")
        outcome.figures["exit_s"] = spread(exits_s)
        outcome.require(returned == plan.amount.times * WORKERS, "a worker that came back got no partitions")
        outcome.require(codes == {0}, f"exit codes {sorted(codes)}")
        in_time = outcome.report["gap_s"] <= LONGEST_GAP_S
        outcome.require(in_time or not plan.judges_times, f"no result for longer than {LONGEST_GAP_S:g} s")
        outcome.require(not here.fleet.ended, "a worker ended by itself")
        return outcome
