"""Ten times the usual load for half a minute, one in twenty of it STAT: those must not wait behind the others.

The engine is what is short, not the processor: the made-up answers take their time, half of what the burst would need.
"""

import time
from typing import Final

from tests.faults.cluster import Cluster
from tests.faults.feed import Load
from tests.faults.trial import SETTINGS, Outcome, Plan, trial

PARTITIONS: Final = 3
BASE_PER_S: Final = 4.0
BASE_S: Final = 15.0
BURST_PER_S: Final = 40.0
BURST_S: Final = 30.0
STAT: Final = 0.05
# 20 answers a second.
ENGINE: Final = {**SETTINGS, "ECG_ECHO_SLOTS": 4, "ECG_ECHO_BATCH_S": 0.2}
SHARE: Final = 5  # a STAT record's wait is at most one part in so many of a routine one's


def burst(cluster: Cluster, plan: Plan, name: str) -> Outcome:
    """Usual load, burst, and then nothing more until all is answered."""
    usual = Load({"asked": 1.0}, STAT, "usual")
    with trial(cluster, plan, name, workers=1, partitions=PARTITIONS, load=usual, settings=ENGINE) as here:
        here.begin(BASE_PER_S)
        time.sleep(BASE_S)
        here.feed.at_rate(BURST_PER_S, Load({"asked": 1.0}, STAT, "burst"))
        time.sleep(BURST_S)
        here.feed.at_rate(0)
        outcome = here.finish(f"{BURST_PER_S:g} instead of {BASE_PER_S:g} records/s for {BURST_S:g} s, 5 % STAT")
        latencies = outcome.report["latencies"]
        stat, routine = latencies["burst stat"], latencies["burst routine"]
        outcome.figures |= {"stat": stat, "routine": routine}
        outcome.require(stat["p99_s"] < routine["p99_s"] / SHARE, "STAT records wait behind routine ones")
        outcome.require(not here.fleet.ended, "a worker ended by itself")
        return outcome
