"""Inflicts faults on workers and brokers, and says whether every record still became exactly one result.

    python -m tests.faults NAME...   scenarios in full, or less of them with --records, --times, --minutes, --longest
    python -m tests.faults quick     a little of everything
    python -m tests.faults all       everything in full but the soak: `standing`, then `falling`
    python -m tests.faults standing  where the brokers stay up
    python -m tests.faults falling   where they do not
    python -m tests.faults cells     the eight cells of kill and terminate
    python -m tests.faults table     what is in the out folder, as Markdown

Whatever is run at once runs on one cluster, of three brokers unless told otherwise.

Exits 0 if every promise held, 1 if not. Runs on loopback only.
"""

import argparse
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.faults.catalogue import BROKERS_FALL, GROUPS, SCENARIOS
from tests.faults.cluster import Cluster, running_cluster
from tests.faults.row import Row, command, table
from tests.faults.stock import Stock
from tests.faults.trial import Amount, Outcome, Plan

OUT: Final = Path("build/faults")


def run(name: str, cluster: Cluster, plan: Plan) -> bool:
    """Run a scenario, keep its row, tell it. A failed one leaves the logs of its workers."""
    began = time.monotonic()
    try:
        outcome = SCENARIOS[name].run(cluster, plan, name)
    except Exception as error:  # noqa: BLE001 - the other scenarios are still worth running
        traceback.print_exc()
        outcome = Outcome("", {}, failures=[f"it broke off: {type(error).__name__}: {error}"])
    row = Row.of(name, outcome, command(name, plan.amount, len(cluster.nodes), plan.seed), plan.seed, began)
    row.keep(plan.out)
    logs = plan.out / f"{name}-logs"
    if row.ok:
        shutil.rmtree(logs, ignore_errors=True)
    tell(row.line() + ("" if row.ok else f"\n       logs: {logs}\n       again: {row.command}"))
    return row.ok


def run_lanes(amounts: Mapping[str, Amount], brokers: int, seed: int, out: Path) -> bool:
    """On one cluster: first what leaves its brokers alone, in lanes beside each other; then one thing at a time."""
    lanes: dict[int, list[str]] = {}
    for name in amounts:
        lanes.setdefault(SCENARIOS[name].lane, []).append(name)
    falling = lanes.pop(BROKERS_FALL, [])

    with running_cluster(brokers) as cluster:
        stock = Stock(cluster)

        def run_lane(names: list[str]) -> bool:
            passed = [run(name, cluster, Plan(amounts[name], seed, out, stock)) for name in names]
            return all(passed)

        passed: list[bool] = []
        # Daemons, so that this process can end when it is told to.
        threads = [
            threading.Thread(target=lambda names=names: passed.append(run_lane(names)), daemon=True)
            for names in lanes.values()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return all([*passed, len(passed) == len(lanes), run_lane(falling)])


def tell(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run as `python -m tests.faults`."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", choices=["quick", "table", *GROUPS, *SCENARIOS], metavar="NAME")
    parser.add_argument("--records", type=int, help="records put on the topic beforehand")
    parser.add_argument("--times", type=int, help="how often the fault strikes")
    parser.add_argument("--minutes", type=float, help="how long a soak lasts")
    parser.add_argument("--longest", type=float, dest="longest_s", help="the longest network fault, in seconds")
    parser.add_argument("--brokers", type=int, choices=[1, 3], default=3, help="1 for what leaves brokers alone")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: any")
    parser.add_argument("--out", type=Path, default=OUT, help=f"default: {OUT}")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if "table" in given.names:
        tell(table(given.out, list(SCENARIOS)).rstrip())
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that brokers and workers end with it in any case
    tell(f"seed {given.seed}")
    sys.exit(not run_lanes(_amounts(given), given.brokers, given.seed, given.out))


def _amounts(given: argparse.Namespace) -> dict[str, Amount]:
    """How much of what."""
    if "quick" in given.names:
        return {name: scenario.quick for name, scenario in SCENARIOS.items() if scenario.quick is not None}
    names = dict.fromkeys(name for stated in given.names for name in GROUPS.get(stated, [stated]))
    return {name: _less(SCENARIOS[name].full, given) for name in names}


def _less(full: Amount, given: argparse.Namespace) -> Amount:
    """The full amount, with what was asked for instead where that means anything."""
    asked = {option: vars(given)[option] for option in ("records", "times", "minutes", "longest_s")}
    return replace(full, **{option: value for option, value in asked.items() if value and getattr(full, option)})


if __name__ == "__main__":
    main()
