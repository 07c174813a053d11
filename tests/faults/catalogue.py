"""Every scenario by its name, with how much of it is all of it, and how much is a quick look."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol

from tests.faults.cluster import Cluster
from tests.faults.mutant import BUGS, Bug
from tests.faults.scenarios.bounces import Signal, Victim, cell
from tests.faults.scenarios.broker_kills import broker_kills
from tests.faults.scenarios.burst import burst
from tests.faults.scenarios.drain import drain
from tests.faults.scenarios.hostile import hostile
from tests.faults.scenarios.mutants import mutant
from tests.faults.scenarios.network import network
from tests.faults.scenarios.poison import poison
from tests.faults.scenarios.precedence import precedence
from tests.faults.scenarios.rolling import rolling
from tests.faults.scenarios.soak import soak
from tests.faults.scenarios.versions import versions
from tests.faults.scenarios.worker_kills import worker_kills
from tests.faults.scenarios.zombies import zombies
from tests.faults.trial import Amount, Outcome, Plan

BROKERS_FALL: Final = 0


class Run(Protocol):
    """Inflict it on a cluster."""

    def __call__(self, cluster: Cluster, plan: Plan, name: str) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table. Lanes run beside each other on one cluster; where BROKERS_FALL, there is no other lane."""

    run: Run
    full: Amount
    quick: Amount | None = None
    lane: int = BROKERS_FALL


def _cell(number: Signal, victim: Victim, partitions: int, *, quick: bool = False) -> Scenario:
    return Scenario(
        partial(cell, number=number, victim=victim, partitions=partitions),
        full=Amount(records=100_000, times=3),
        quick=Amount(records=600, times=1) if quick else None,
        lane=4 if victim == "worker" else BROKERS_FALL,
    )


CELLS: Final[Mapping[str, Scenario]] = MappingProxyType(
    {
        "sigkill-worker-1": _cell("SIGKILL", "worker", 1),
        "sigkill-worker-9": _cell("SIGKILL", "worker", 9, quick=True),
        "sigterm-worker-1": _cell("SIGTERM", "worker", 1, quick=True),
        "sigterm-worker-9": _cell("SIGTERM", "worker", 9),
        "sigkill-broker-1": _cell("SIGKILL", "broker", 1),
        "sigkill-broker-9": _cell("SIGKILL", "broker", 9, quick=True),
        "sigterm-broker-1": _cell("SIGTERM", "broker", 1, quick=True),
        "sigterm-broker-9": _cell("SIGTERM", "broker", 9),
    }
)

SOAK: Final = "soak"


def _mutant(bug: Bug) -> Scenario:
    return Scenario(partial(mutant, bug=bug), Amount(times=5), Amount(times=3), lane=3)


SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType(
    {
        **CELLS,
        "worker-kills": Scenario(partial(worker_kills, static=False), Amount(times=100), Amount(times=1), lane=2),
        "worker-kills-static": Scenario(partial(worker_kills, static=True), Amount(times=100), Amount(times=2), lane=3),
        "broker-kills": Scenario(broker_kills, Amount(times=20), Amount(times=2)),
        "network": Scenario(network, Amount(times=50, longest_s=90), Amount(times=5, longest_s=8), lane=1),
        "zombies": Scenario(zombies, Amount(times=20), Amount(times=1), lane=3),
        "poison": Scenario(poison, Amount(records=20_000), Amount(records=1000), lane=4),
        "hostile": Scenario(hostile, Amount(records=20_000, times=5), Amount(records=240, times=1), lane=5),
        "precedence": Scenario(precedence, Amount(records=20_000), Amount(records=3000), lane=2),
        "rolling": Scenario(rolling, Amount(times=5), Amount(times=1), lane=3),
        "versions": Scenario(versions, Amount(times=10), Amount(times=2), lane=1),
        "burst": Scenario(burst, Amount(), Amount(), lane=2),
        "drain": Scenario(drain, Amount(times=100), Amount(times=3), lane=3),
        **{bug: _mutant(bug) for bug in BUGS},
        SOAK: Scenario(soak, Amount(minutes=240), lane=6),
    }
)

_ALL: Final = [name for name in SCENARIOS if name != SOAK]
GROUPS: Final[Mapping[str, list[str]]] = MappingProxyType(
    {
        "all": _ALL,
        "standing": [name for name in _ALL if SCENARIOS[name].lane != BROKERS_FALL],
        "falling": [name for name in _ALL if SCENARIOS[name].lane == BROKERS_FALL],
        "cells": list(CELLS),
    }
)
