"""Records that lie ready: fed once to a cluster, worked on by one scenario after another, each in its own group."""

import hashlib

from tests.faults.cluster import Cluster
from tests.faults.feed import Feed, Load


class Stock:
    """The topics of one cluster that hold a stated number of records."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ready: set[str] = set()

    def topic(self, records: int, partitions: int, seed: int, load: Load | None) -> str:
        """A topic with so many records, the same for the same seed, made if it is not there yet."""
        what = hashlib.sha256(repr(load).encode()).hexdigest()[:8]
        topic = f"ready-{records}-{partitions}-{seed}-{what}"
        if topic not in self._ready:
            self._cluster.create_topics([topic], partitions)
            feed = Feed(self._cluster.servers, topic, seed, load)
            feed.put(records)
            feed.close()
            if feed.refused:
                raise RuntimeError(f"{feed.refused} records could not be fed")
            self._ready.add(topic)
        return topic
