"""Workers are asked to end while they have work in hand: how long does it take, and is anything done twice?"""

from typing import Final

from tests.faults.cluster import Cluster
from tests.faults.figures import spread
from tests.faults.trial import SETTINGS, Outcome, Plan, trial

WORKERS: Final = 2
PARTITIONS: Final = 9
PER_S: Final = 10.0
UP_S: Final = (0.5, 2.0)
TARGET_P99_S: Final = 30.0
# Slow enough for questions to be open at any moment: twice as fast as they come in.
ENGINE: Final = {**SETTINGS, "ECG_ECHO_SLOTS": 4, "ECG_ECHO_BATCH_S": 0.5}


def drain(cluster: Cluster, plan: Plan, name: str) -> Outcome:
    """SIGTERM to one and the other, while records keep coming."""
    exits_s: list[float] = []
    codes: set[int] = set()
    with trial(cluster, plan, name, workers=WORKERS, partitions=PARTITIONS, settings=ENGINE) as here:
        here.begin(PER_S)
        for nth in range(plan.amount.times):
            if not here.fleet.wait_until_ready(nth % WORKERS):
                break
            here.strike()
            seconds, code = here.fleet.terminate(nth % WORKERS)
            exits_s.append(seconds)
            codes.add(code)
            if not here.wait_for_all_fed():
                break
            here.pause(*UP_S)
        outcome = here.finish(f"{here.struck} x SIGTERM to one of {WORKERS} workers")
        outcome.figures["exit_s"] = spread(exits_s)
        outcome.require(here.struck == plan.amount.times, "a worker that came back got no partitions")
        outcome.require(codes == {0}, f"exit codes {sorted(codes)}")
        outcome.require(spread(exits_s)["p99"] < TARGET_P99_S, f"p99 of the exits is over {TARGET_P99_S} s")
        outcome.require(not here.fleet.ended, "a worker ended by itself")
        return outcome
