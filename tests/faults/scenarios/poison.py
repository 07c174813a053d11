"""One record in a hundred cannot be read. It is rejected, and nobody stumbles."""

from typing import Final

from tests.faults.cluster import Cluster
from tests.faults.feed import Load
from tests.faults.payloads import WITH_POISON
from tests.faults.trial import Outcome, Plan, trial

WORKERS: Final = 2
PARTITIONS: Final = 9


def poison(cluster: Cluster, plan: Plan, name: str) -> Outcome:
    """Nothing else is done to anybody."""
    with trial(cluster, plan, name, workers=WORKERS, partitions=PARTITIONS, load=Load(WITH_POISON)) as here:
        outcome = here.finish("1 % poison")
        outcome.require(outcome.report["rejections"] > 0, "there was no poison in it: feed more")
        outcome.require(not here.fleet.ended, "a worker ended by itself")
        return outcome
