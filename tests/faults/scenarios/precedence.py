"""A backlog of routine records lies there after an outage; then STAT ECGs come, on a topic of their own.

The engine is what is short. Each STAT result has to be there within seconds, though the worker reads ahead a small part
of the backlog only; and the backlog has to move on all the while.
"""

import time
from typing import Final

from tests.faults.cluster import Cluster
from tests.faults.feed import Load
from tests.faults.trial import SETTINGS, Outcome, Plan, trial

PARTITIONS: Final = 3
PER_S: Final = 2.0
FOR_S: Final = 20.0
TARGET_S: Final = 5.0
BACKLOG: Final = Load({"asked": 0.3, "leads_off": 0.7}, label="backlog")
STAT: Final = Load({"stat": 1.0}, label="urgent")
# 20 answers a second. A quick look has a backlog of fewer records than a worker reads ahead by default.
ENGINE: Final = {**SETTINGS, "ECG_ECHO_SLOTS": 4, "ECG_ECHO_BATCH_S": 0.2, "ECG_READ_AHEAD_RECORDS": 300}


def precedence(cluster: Cluster, plan: Plan, name: str) -> Outcome:
    """STAT records at a steady rate while the worker is behind with everything else."""
    with trial(
        cluster, plan, name, workers=1, partitions=PARTITIONS, load=BACKLOG, settings=ENGINE, urgent=STAT
    ) as here:
        assert here.urgent_feed is not None
        here.wait_for(100)  # it is at work, and has read ahead what it may
        before = here.witness.decided
        here.urgent_feed.at_rate(PER_S)
        time.sleep(FOR_S)
        here.urgent_feed.at_rate(0)
        meanwhile, waited = here.witness.decided - before - here.urgent_feed.fed, here.waiting
        outcome = here.finish(f"{plan.amount.records:,} routine records of backlog, then {PER_S:g} STAT ECGs/s")
        stat = outcome.report["latencies"]["urgent stat"]
        outcome.figures |= {"stat": stat, "backlog_done_meanwhile_per_s": round(meanwhile / FOR_S, 1)}
        outcome.require(waited > 0, "the backlog was over before the STAT ECGs were: feed more")
        outcome.require(stat["max_s"] <= TARGET_S, f"a STAT ECG waited longer than {TARGET_S:g} s")
        outcome.require(meanwhile > 0, "the backlog stood still")
        outcome.require(not here.fleet.ended, "a worker ended by itself")
        return outcome
