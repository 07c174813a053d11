"""Poison of every kind, one record in twenty, with kill -9 of workers in it; before that the same without the poison.

Keys, headers, time stamps, codecs, sizes, dates, identifiers, records that end the process that prepares them and ones
that the engine cannot answer: every record has one result, no worker ends for one, and the good ones do not wait for
them.
"""

import time
from dataclasses import replace
from typing import Final

from tests.faults.cluster import Cluster
from tests.faults.feed import Load
from tests.faults.payloads import ORDINARY
from tests.faults.poisoner import FRAGILE
from tests.faults.trial import SETTINGS, Outcome, Plan, Trial, trial
from tests.support.hostile_records import TOPIC_CONFIGS, hostile_records

WORKERS: Final = 2
PARTITIONS: Final = 4
# A quick look runs beside others.
PER_S: Final = 16.0
PER_S_AT_A_GLANCE: Final = 6.0
POISON: Final = 0.05
# A quick look has few records, and is to meet every kind.
POISON_AT_A_GLANCE: Final = 0.2
CLEAN: Final = Load(ORDINARY, label="clean")
# What half of the last records being bad would say is not what is tried here.
ANY: Final = {**SETTINGS, "ECG_REJECTED_SHARE": 1}
SLOWER: Final = 2.0


def hostile(cluster: Cluster, plan: Plan, name: str) -> Outcome:
    """The same rate for the same time with as many kills, first without poison and then with it."""
    share, per_s = (POISON, PER_S) if plan.judges_times else (POISON_AT_A_GLANCE, PER_S_AT_A_GLANCE)
    poisoned_load = Load({**ORDINARY, "hostile_good": share / 2, "hostile_bad": share / 2}, label="poisoned")
    beforehand = replace(plan, amount=replace(plan.amount, records=0))
    with trial(
        cluster,
        beforehand,
        name,
        workers=WORKERS,
        partitions=PARTITIONS,
        load=CLEAN,
        settings=ANY,
        module=("tests.faults.fragile_worker",),
        topic_configs=TOPIC_CONFIGS,
    ) as here:
        here.begin(per_s)
        for load in (CLEAN, poisoned_load):
            here.feed.at_rate(per_s, load)
            _kill_now_and_then(here, plan, per_s)
            here.feed.at_rate(0)
            here.wait_for(here.feed.fed)
        outcome = here.finish(f"{share:.0%} poison of every kind, {here.struck} x SIGKILL to one of {WORKERS} workers")
        latencies = outcome.report["latencies"]
        clean, poisoned = latencies["clean routine"], latencies["poisoned routine"]
        reasons = outcome.report["reasons"]
        outcome.figures |= {"clean": clean, "poisoned": poisoned, "rejected": reasons}
        missing = _reasons(plan) - reasons.keys()
        outcome.require(not missing, f"not every kind of poison was in it, or took effect: {', '.join(missing)}")
        outcome.require(not here.fleet.ended, "a worker ended by itself")
        in_time = poisoned["p99_s"] < SLOWER * clean["p99_s"]
        outcome.require(in_time or not plan.judges_times, f"with the poison good records wait {SLOWER:g} times as long")
        return outcome


def _reasons(plan: Plan) -> set[str]:
    """The codes that must occur. A quick look may end before every kind has had its turn."""
    of_all = (
        {record.rejected for record in hostile_records().values() if record.rejected} if plan.judges_times else set()
    )
    return {reason.value for reason in of_all.union(reason for _, reason in FRAGILE)}


def _kill_now_and_then(here: Trial, plan: Plan, per_s: float) -> None:
    """Spread over the time that so many records take."""
    for nth in range(plan.amount.times + 1):
        time.sleep(plan.amount.records / per_s / (plan.amount.times + 1))
        if nth < plan.amount.times:
            here.strike()
            here.fleet.kill(nth % WORKERS)
