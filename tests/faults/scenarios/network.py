"""The network between workers and brokers fails, in every way that it can, for seconds to a minute and a half."""

import random
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final

from tests.faults.cluster import Cluster
from tests.faults.figures import spread
from tests.faults.proxy import FAULTS, Fault, Proxies, Route
from tests.faults.trial import Outcome, Plan, trial

WORKERS: Final = 2
PARTITIONS: Final = 9
PER_S: Final = 5.0
SHORTEST_S: Final = 5.0
PAUSE_S: Final = (2.0, 5.0)


def network(cluster: Cluster, plan: Plan, name: str) -> Outcome:
    """Cut, heal, wait until the workers have caught up, and again. Feed and verifier have a way of their own."""
    resumed_s: list[float] = []
    counts: dict[Fault, int] = dict.fromkeys(FAULTS, 0)
    routes = [Route(*ports) for ports in zip(cluster.proxy_ports, cluster.behind_ports, strict=True)]
    with (
        closing(Proxies(routes)) as proxies,
        trial(cluster, plan, name, workers=WORKERS, partitions=PARTITIONS, url=cluster.proxied_url) as here,
    ):
        here.begin(PER_S)
        for fault in _drawn_faults(here.drawn, plan.amount.times):
            here.pause(*PAUSE_S)
            struck = here.drawn.choice([*([port] for port in cluster.proxy_ports), cluster.proxy_ports])
            here.strike()
            proxies.inflict(fault, frozenset(struck))
            here.pause(SHORTEST_S, plan.amount.longest_s)
            proxies.inflict("none", frozenset())
            healed_at = time.monotonic()
            counts[fault] += 1
            if not here.wait_for_progress():
                break
            resumed_s.append(time.monotonic() - healed_at)
            if not here.wait_for_all_fed():
                break
        outcome = here.finish(f"{here.struck} network faults of {SHORTEST_S:g} to {plan.amount.longest_s:g} s")
        outcome.figures |= {"result_after_s": spread(resumed_s), "faults": counts, "resets_at_end_txn": proxies.resets}
        outcome.require(len(resumed_s) == plan.amount.times, "after a fault no more results came")
        outcome.require(not here.fleet.ended, "a worker ended by itself")
        return outcome


def _drawn_faults(drawn: random.Random, count: int) -> Iterator[Fault]:
    """Every kind before any kind again, each time in another order."""
    while count > 0:
        kinds = drawn.sample(FAULTS, len(FAULTS))
        yield from kinds[:count]
        count -= len(kinds)
