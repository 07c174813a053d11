"""One scenario's own corner of the cluster: its topics and group, its feed, its workers and its verifier."""

import contextlib
import random
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tests.faults.cluster import Cluster
from tests.faults.feed import Feed, Load
from tests.faults.fleet import Fleet
from tests.faults.stock import Stock
from tests.faults.witness import Witness

# Longer than anything that holds results up for a while: a dead member's session and its open transaction together.
STALLED_S: Final = 180.0
FEWEST_TIMES: Final = 5
URGENT_NUMBERS: Final = 10**9  # from here on

# Transactions that wait a little longer hold more, so that more is at stake in each; and two cores carry more workers.
SETTINGS: Final[Mapping[str, object]] = MappingProxyType(
    {"ECG_ENGINE": "echo", "ECG_PROCESSES": 1, "ECG_PUBLISH_WAIT_S": 0.5}
)


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of it: records put on the topic beforehand, how many times, for how long, how long once at most."""

    records: int = 0
    times: int = 0
    minutes: float = 0.0
    longest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a scenario is told. All that is drawn follows from the seed."""

    amount: Amount
    seed: int
    out: Path
    stock: Stock

    @property
    def judges_times(self) -> bool:
        """Whether this is more than a quick look: one beside others, on any machine, says nothing of seconds."""
        return self.amount.times >= FEWEST_TIMES


@dataclass(slots=True)
class Outcome:
    """What was inflicted, what the verifier found, and what else was measured. It failed if any reason to say so is."""

    inflicted: str
    report: dict[str, Any]
    figures: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def require(self, held: bool, otherwise: str) -> None:
        """What the scenario promises beyond the verifier's verdict."""
        if not held:
            self.failures.append(otherwise)


class Trial:
    """What a scenario works with."""

    def __init__(
        self,
        cluster: Cluster,
        plan: Plan,
        folder: Path,
        feed: Feed,
        fleet: Fleet,
        witness: Witness,
        urgent_feed: Feed | None = None,
    ) -> None:
        """`urgent_feed` feeds a topic that comes before the other one's."""
        self.cluster, self.plan, self.folder = cluster, plan, folder
        self.feed, self.fleet, self.witness = feed, fleet, witness
        self.urgent_feed = urgent_feed
        self.drawn = random.Random(plan.seed)
        self.struck = 0
        self.under_load = 0  # of those, while records waited
        self.stalled = False  # something that was waited for never came

    @property
    def waiting(self) -> int:
        """Records that have no result yet."""
        return self.feed.fed - self.witness.decided

    def strike(self) -> None:
        """Note that a fault strikes now."""
        self.struck += 1
        self.under_load += self.waiting > 0

    def begin(self, per_s: float) -> None:
        """Feed at this rate from now on, and wait until every worker has partitions and nothing waits long."""
        self.feed.at_rate(per_s)
        # One that is told to end before it knows how to just dies, and one that is frozen too early has no work.
        for worker in range(len(self.fleet)):
            self.stalled |= not self.fleet.wait_until_ready(worker)
        self.wait_for(1)
        self.wait_for_all_fed()

    def pause(self, shortest_s: float, longest_s: float) -> None:
        """Wait for a time that the seed decides."""
        time.sleep(self.drawn.uniform(shortest_s, longest_s))

    def wait_until(self, done: Callable[[], bool]) -> bool:
        """Wait until it is so, as long as anything may still come. Raises Crashing."""
        came = self.fleet.wait_until(done, STALLED_S)
        self.stalled |= not came
        return came

    def wait_for(self, results: int, stalled_s: float = STALLED_S) -> bool:
        """Wait for so many results, as long as more keep coming."""
        while (before := self.witness.decided) < results:
            if not self.fleet.wait_until(lambda n=before: self.witness.decided > n, stalled_s):  # type: ignore[misc]
                self.stalled = True
                return False
        return True

    def wait_for_progress(self) -> bool:
        """Wait for a result beyond those there are."""
        return self.wait_for(self.witness.decided + 1)

    def wait_for_all_fed(self) -> bool:
        """Wait until everything that was fed until now has its result."""
        fed, now = self.feed.fed, time.time()
        return self.wait_until(lambda: self.witness.all_decided(fed, now))

    def finish(self, inflicted: str, stalled_s: float = STALLED_S) -> Outcome:
        """Wait until everything has its result, end all, and judge."""
        feeds = [feed for feed in (self.feed, self.urgent_feed) if feed is not None]
        for feed in feeds:
            feed.close()
        self.wait_for(sum(feed.fed for feed in feeds), stalled_s)
        codes = self.fleet.stop()
        outcome = Outcome(inflicted, self.witness.report())
        outcome.require(not self.stalled, "results that were waited for did not come in time")
        outcome.require(outcome.report["ok"], "the verifier's counts are not all 0")
        outcome.require(outcome.report["same_twice"], "two readings of the results differ")
        outcome.require(not any(codes), f"the last workers ended with {codes}")
        refused = sum(feed.refused for feed in feeds)
        outcome.require(not refused, f"{refused} records could not be fed")
        if self.struck:
            outcome.figures["under_load"] = self.under_load
        if self.fleet.ended:
            outcome.figures["ended"] = [
                f"worker {end.worker}, exit {end.exit_code}: {end.last_words}" for end in self.fleet.ended
            ]
        return outcome


@contextlib.contextmanager
def trial(
    cluster: Cluster,
    plan: Plan,
    name: str,
    *,
    workers: int,
    partitions: int,
    url: str = "",
    load: Load | None = None,
    settings: Mapping[str, object] = SETTINGS,
    module: tuple[str, ...] = ("cli.app",),
    urgent: Load | None = None,
    topic_configs: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Trial]:
    """Topics and a group that nobody else has, and what runs on them; all of it gone afterwards but the logs.

    With `urgent` there is a second inbound topic, which comes before the first, and a feed of its own. With
    `topic_configs` records may be anything, and the feed says on a manifest where each lies.
    """
    run_id = f"{name}-{uuid.uuid4().hex[:8]}"
    inbound, findings, rejections = topics = [f"{run_id}.{what}" for what in ("inbound", "findings", "rejections")]
    if plan.amount.records:
        inbound = plan.stock.topic(plan.amount.records, partitions, plan.seed, load)
        topics.remove(f"{run_id}.inbound")
    folder = plan.out / f"{name}-logs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    inbounds = [f"{run_id}.urgent", inbound] if urgent else [inbound]
    topics += inbounds[:-1]
    variables = {
        "ECG_LOG": url or cluster.url, "ECG_GROUP": run_id, "ECG_INBOUND_TOPIC": inbound,
        "ECG_INBOUND_TOPICS": ",".join(inbounds), "ECG_FINDINGS_TOPIC": findings, "ECG_REJECTIONS_TOPIC": rejections,
    }  # fmt: skip
    with contextlib.ExitStack() as parts:
        parts.enter_context(_topics(cluster, topics, partitions, topic_configs))
        manifest = f"{run_id}.manifest" if topic_configs else ""
        if manifest:
            parts.enter_context(_topics(cluster, [manifest], 1))
        witness = Witness(cluster.servers, inbounds, findings, rejections, folder / "verifier.log", manifest)
        parts.callback(witness.close)
        feed = Feed(cluster.servers, inbound, plan.seed, load, fed=plan.amount.records, manifest=manifest)
        fleet = Fleet(workers, folder, {**settings, **variables}, module)
        parts.callback(fleet.close)
        more = Feed(cluster.servers, inbounds[0], plan.seed, urgent, first_number=URGENT_NUMBERS) if urgent else None
        yield Trial(cluster, plan, folder, feed, fleet, witness, more)


@contextlib.contextmanager
def _topics(
    cluster: Cluster, topics: list[str], partitions: int, configs: Mapping[str, str] = MappingProxyType({})
) -> Iterator[None]:
    """The topics, for as long as they are needed: they are the size of the run."""
    cluster.create_topics(topics, partitions, configs)
    yield
    cluster.delete_topics(topics)
