"""Workers with a deliberate bug are killed. The verifier must find what the bug does, or it would find nothing."""

from typing import Final

from tests.faults.cluster import Cluster
from tests.faults.mutant import Bug
from tests.faults.trial import SETTINGS, Outcome, Plan, trial

PARTITIONS: Final = 3
PER_S: Final = 40.0
UP_S: Final = (3.0, 5.0)
# Questions take longer than the other records, so that work is done beyond the first open record at any moment.
ENGINE: Final = {**SETTINGS, "ECG_ECHO_SLOTS": 16, "ECG_ECHO_BATCH_S": 1.0, "ECG_KAFKA_STATIC_MEMBER": 1}
LOST_S: Final = 30.0  # after which what has no result has lost it
COUNTED_AS: Final[dict[Bug, str]] = {"commit-before-publish": "lost", "no-metadata": "duplicated"}


def mutant(cluster: Cluster, plan: Plan, name: str, bug: Bug) -> Outcome:
    """Kill the one worker a few times. It fails if the verifier is content."""
    module = ("tests.faults.mutant", bug)
    with trial(cluster, plan, name, workers=1, partitions=PARTITIONS, module=module, settings=ENGINE) as here:
        here.begin(PER_S)
        for _ in range(plan.amount.times):
            here.pause(*UP_S)
            here.strike()
            here.fleet.kill(0)
            if not here.wait_for_progress():
                break
        found = here.finish(f"{here.struck} x SIGKILL to a worker with the bug {bug}", LOST_S)
        count = found.report[COUNTED_AS[bug]]
        outcome = Outcome(found.inflicted, found.report, found.figures)
        outcome.require(count > 0, f"the verifier found nothing {COUNTED_AS[bug]}")
        return outcome
