"""A worker is frozen until the group and its own transaction have given it up, and then goes on as if nothing was."""

from typing import Final

from adapters.kafka.options import Timeouts
from tests.faults.cluster import Cluster
from tests.faults.trial import Outcome, Plan, trial

WORKERS: Final = 2
PARTITIONS: Final = 9
PER_S: Final = 6.0
UP_S: Final = (1.0, 4.0)
GIVEN_UP_S: Final = max(Timeouts().session_s, Timeouts().transaction_s)
BEYOND_S: Final = (1.0, 8.0)


def zombies(cluster: Cluster, plan: Plan, name: str) -> Outcome:
    """Freeze one of two in the middle of its work, thaw it when the other has its partitions."""
    with trial(cluster, plan, name, workers=WORKERS, partitions=PARTITIONS) as here:
        here.begin(PER_S)
        for nth in range(plan.amount.times):
            here.pause(*UP_S)
            chosen = nth % WORKERS
            here.strike()
            here.fleet.freeze(chosen)
            here.pause(GIVEN_UP_S + BEYOND_S[0], GIVEN_UP_S + BEYOND_S[1])
            caught_up = here.wait_for_all_fed()
            here.fleet.thaw(chosen)
            if not (caught_up and here.wait_for_all_fed()):
                break
        return here.finish(f"{here.struck} x SIGSTOP for over {GIVEN_UP_S:g} s to one of {WORKERS} workers")
