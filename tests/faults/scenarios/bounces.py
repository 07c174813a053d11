"""Workers or brokers are killed, or asked to end, while records wait: one way of it a cell."""

from typing import Final, Literal

from tests.faults.cluster import BROKERS, Cluster
from tests.faults.feed import Load
from tests.faults.payloads import LIGHT
from tests.faults.trial import SETTINGS, Outcome, Plan, Trial, trial

Signal = Literal["SIGKILL", "SIGTERM"]
Victim = Literal["worker", "broker"]

# Most of these records are too short, on purpose.
ANY: Final = {**SETTINGS, "ECG_REJECTED_SHARE": 1}


def cell(cluster: Cluster, plan: Plan, name: str, number: Signal, victim: Victim, partitions: int) -> Outcome:
    """Bounce it a few times, spread over the run."""
    workers = 1 if partitions == 1 else 2
    with trial(cluster, plan, name, workers=workers, partitions=partitions, load=Load(LIGHT), settings=ANY) as here:
        for nth in range(plan.amount.times):
            if not here.wait_for(plan.amount.records * (1 + 2 * nth) // (2 * plan.amount.times + 2)):
                break
            here.strike()
            _bounce(here, number, victim, nth)
        outcome = here.finish(f"{plan.amount.times} x {number} to a {victim}, {partitions} partitions")
        outcome.require(here.under_load == plan.amount.times, "not every bounce came while records waited: feed more")
        outcome.require(not here.fleet.ended, "a worker ended by itself")
        return outcome


def _bounce(here: Trial, number: Signal, victim: Victim, nth: int) -> None:
    if victim == "worker":
        chosen = nth % len(here.fleet)
        here.fleet.wait_until_ready(chosen)
        if number == "SIGKILL":
            here.fleet.kill(chosen)
        else:
            here.fleet.terminate(chosen)
        return
    chosen = nth % BROKERS
    here.cluster.take_down(chosen, hard=number == "SIGKILL")
    here.cluster.bring_back(chosen)
    here.cluster.wait_until_whole()
