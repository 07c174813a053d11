"""kill -9 of workers, over and over, while records keep coming."""

import time
from typing import Final

from tests.faults.cluster import Cluster
from tests.faults.figures import spread
from tests.faults.trial import SETTINGS, Outcome, Plan, trial

WORKERS: Final = 3
PARTITIONS: Final = 9
PER_S: Final = 6.0
AFTERMATH_S: Final = 1.0
UP_S: Final = (0.5, 5.0)  # from the last kill's recovery to the next kill


def worker_kills(cluster: Cluster, plan: Plan, name: str, *, static: bool) -> Outcome:
    """Kill one of three; go on when the group has caught up. A static member gets its partitions back at once."""
    recoveries_s: list[float] = []
    settings = {**SETTINGS, "ECG_KAFKA_STATIC_MEMBER": int(static)}
    with trial(cluster, plan, name, workers=WORKERS, partitions=PARTITIONS, settings=settings) as here:
        here.begin(PER_S)
        for _ in range(plan.amount.times):
            here.pause(*UP_S)
            here.strike()
            here.fleet.kill(here.drawn.randrange(WORKERS))
            struck_at = time.monotonic()
            time.sleep(AFTERMATH_S)
            # What came for the dead worker's partitions has its result: somebody serves them again.
            if not here.wait_for_all_fed():
                break
            recoveries_s.append(time.monotonic() - struck_at)
        outcome = here.finish(f"{here.struck} x SIGKILL to one of {WORKERS} workers{', static members' * static}")
        outcome.figures["caught_up_s"] = spread(recoveries_s)
        outcome.require(not here.fleet.ended, "a worker ended by itself")
        return outcome
