"""Hours of ordinary work: nothing may be lost or repeated, and nothing may grow.

Memory and open files are noted as it goes, so that a run that is cut off leaves its figures.
"""

import json
import time
from typing import Any, Final

from tests.faults import procfs
from tests.faults.cluster import Cluster
from tests.faults.feed import Load
from tests.faults.figures import slope_per_hour
from tests.faults.payloads import WITH_POISON
from tests.faults.trial import Outcome, Plan, Trial, trial

WORKERS: Final = 2
PARTITIONS: Final = 9
PER_S: Final = 5.0
SAMPLE_EVERY_S: Final = 10.0
WARM_S: Final = 600.0
# A worker that grows by this much for a year still fits its memory.
MOST_MB_PER_HOUR: Final = 1.0
MOST_MORE_FILES: Final = 10


def soak(cluster: Cluster, plan: Plan, name: str) -> Outcome:
    """Feed at a steady rate for so many minutes."""
    with trial(cluster, plan, name, workers=WORKERS, partitions=PARTITIONS, load=Load(WITH_POISON)) as here:
        here.begin(PER_S)
        samples = _sampled(here, plan.amount.minutes * 60)
        outcome = here.finish(f"{plan.amount.minutes:g} minutes at {PER_S:g} records/s, 1 % poison")
        outcome.figures |= _figures(samples)
        slopes = outcome.figures["rss_mb_per_hour"]
        # Half an hour says nothing of a slope.
        judged = plan.amount.minutes * 60 >= 4 * WARM_S
        outcome.require(not judged or max(slopes) <= MOST_MB_PER_HOUR, "memory grows")
        outcome.require(
            all(last - first <= MOST_MORE_FILES for first, last, _ in outcome.figures["open_files_first_last_max"]),
            "open files grow",
        )
        outcome.require(not here.fleet.ended, "a worker ended by itself")
        return outcome


def _sampled(here: Trial, duration_s: float) -> list[dict[str, Any]]:
    """Memory (of a worker and its children together) and open files of every worker, as time goes by."""
    samples: list[dict[str, Any]] = []
    began = time.monotonic()
    with (here.plan.out / "soak-samples.jsonl").open("w") as file:
        while (at_s := time.monotonic() - began) < duration_s:
            families = [[pid, *procfs.children(pid)] for pid in map(here.fleet.pid, range(WORKERS))]
            sample = {
                "at_s": round(at_s, 1),
                "fed": here.feed.fed,
                "waiting": here.waiting,
                "repeated": here.witness.repeated,
                "rss_mb": [round(sum(map(procfs.rss_mb, family)), 1) for family in families],
                "open_files": [sum(map(procfs.open_files, family)) for family in families],
            }
            file.write(json.dumps(sample) + "\n")
            file.flush()
            samples.append(sample)
            time.sleep(SAMPLE_EVERY_S)
    return samples


def _figures(samples: list[dict[str, Any]]) -> dict[str, Any]:
    warm = [sample for sample in samples if sample["at_s"] >= min(WARM_S, samples[-1]["at_s"] / 2)]
    at_s = [sample["at_s"] for sample in warm]
    files = [[sample["open_files"][worker] for sample in warm] for worker in range(WORKERS)]
    memory = [[sample["rss_mb"][worker] for sample in warm] for worker in range(WORKERS)]
    return {
        "rss_mb_per_hour": [slope_per_hour(at_s, item) for item in memory],
        "rss_mb_last": [item[-1] for item in memory],
        "open_files_first_last_max": [(item[0], item[-1], max(item)) for item in files],
    }
