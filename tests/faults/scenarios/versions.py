"""The version before this one and this one in one group: rolled forward, back, and forward again, as roll-outs go.

What the one commits the other has to understand: positions and what is done beyond them, above all.
"""

from typing import Final

from tests.faults import previous
from tests.faults.cluster import Cluster
from tests.faults.trial import SETTINGS, Outcome, Plan, trial

WORKERS: Final = 2
PARTITIONS: Final = 6
PER_S: Final = 10.0
SETTLED_S: Final = (1.0, 2.0)
# What the version before says of ECG_INBOUND_TOPICS, which it does not know.
STRANGE: Final = "a variable is no setting of this version"
# Questions take longer than the other records, so that work is done beyond the first open record at any moment.
ENGINE: Final = {**SETTINGS, "ECG_ECHO_SLOTS": 16, "ECG_ECHO_BATCH_S": 1.0}


def versions(cluster: Cluster, plan: Plan, name: str) -> Outcome:
    """Each worker in turn to the other version, by SIGTERM and by SIGKILL in turn."""
    if not previous.is_here():
        return Outcome(f"left out: no commit {previous.COMMIT} in this clone", {})
    with trial(cluster, plan, name, workers=WORKERS, partitions=PARTITIONS, settings=ENGINE) as here:
        here.begin(PER_S)
        for turn in range(plan.amount.times):
            folder = previous.unpacked() if turn % 2 == 0 else previous.ROOT
            for worker in range(WORKERS):
                here.fleet.run_from(worker, folder)
                here.strike()
                if (turn + worker) % 2:
                    here.fleet.kill(worker)
                else:
                    here.fleet.terminate(worker)
                # The one that was killed ran the other version, so this is not yet true of it.
                came = here.wait_until(
                    lambda worker=worker, old=folder != previous.ROOT: (  # type: ignore[misc]
                        here.fleet.logged(worker, "assignment changed") and here.fleet.logged(worker, STRANGE) == old
                    )
                )
                if not came or not here.wait_for_progress():
                    return here.finish("a worker that came back got no partitions, or is of the wrong version")
                here.pause(*SETTLED_S)
        outcome = here.finish(f"{plan.amount.times} x all workers to the version before this one, or back")
        outcome.figures["before"] = previous.COMMIT
        outcome.require(here.struck == plan.amount.times * WORKERS, "not every worker was rolled every time")
        outcome.require(not here.fleet.ended, "a worker ended by itself")
        return outcome
