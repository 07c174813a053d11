"""Real brokers, each killable on its own. Three keep every topic three times and need two of them to write."""

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tests.kafka.broker import Node, free_ports, random_id

BROKERS: Final = 3
LOOK_EVERY_S: Final = 0.2
WHOLE_LIMIT_S: Final = 180.0
TOPIC_LIMIT_MS: Final = 30_000

# A broker's own way in, and one that it tells clients to reach through a proxy. How long a dead broker goes unnoticed
# (broker.session.timeout.ms) is Kafka's default, 9 s.
PROPERTIES: Final = """\
node.id={node}
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.bootstrap.servers={quorum}
log.dirs={folder}/data
offsets.topic.replication.factor={brokers}
transaction.state.log.replication.factor={brokers}
transaction.state.log.min.isr={needed}
default.replication.factor={brokers}
min.insync.replicas={needed}
log.retention.hours=-1
"""


class Cluster:
    """Nodes on loopback. `url` reaches them directly, `proxied_url` through whatever listens on `proxy_ports`."""

    def __init__(self, folder: Path, brokers: int = BROKERS) -> None:
        ports = free_ports(4 * brokers)
        self.ports, self.behind_ports, self.proxy_ports, controllers = (
            ports[at : at + brokers] for at in range(0, len(ports), brokers)
        )
        self._down: set[int] = set()
        self.url = "kafka://" + ",".join(self.servers)
        self.proxied_url = "kafka://" + ",".join(f"127.0.0.1:{port}" for port in self.proxy_ports)
        directories = [random_id() for _ in range(brokers)]
        voters = ",".join(
            f"{node}@127.0.0.1:{port}:{directory}"
            for node, (port, directory) in enumerate(zip(controllers, directories, strict=True), 1)
        )
        cluster_id, quorum = random_id(), ",".join(f"127.0.0.1:{port}" for port in controllers)

        def node(at: int) -> Node:
            home = folder / str(at + 1)
            home.mkdir()
            properties = PROPERTIES.format(
                node=at + 1, port=self.ports[at], behind=self.behind_ports[at], proxy=self.proxy_ports[at],
                controller=controllers[at], quorum=quorum, folder=home, brokers=brokers, needed=brokers // 2 + 1,
            )  # fmt: skip
            return Node(home, properties, "--initial-controllers", voters, "-t", cluster_id)

        with ThreadPoolExecutor(brokers) as pool:
            self.nodes = list(pool.map(node, range(brokers)))

    @property
    def servers(self) -> list[str]:
        """The addresses of those brokers that are up."""
        return [f"127.0.0.1:{port}" for at, port in enumerate(self.ports) if at not in self._down]

    def start(self) -> None:
        """Start all nodes: none is ready before there is a quorum."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(Node.start, self.nodes))

    def take_down(self, at: int, *, hard: bool) -> None:
        """Kill a node, or ask it to end and wait for that."""
        self._down.add(at)
        (self.nodes[at].kill if hard else self.nodes[at].terminate)()

    def bring_back(self, at: int) -> None:
        """Start a node again on its data."""
        self.nodes[at].start()
        self._down.discard(at)

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.kill()

    def create_topics(
        self, topics: list[str], partitions: int, configs: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Create topics, and wait until every broker can lead them."""
        like_this = {"num_partitions": partitions, "replication_factor": -1, "configs": dict(configs)}
        wanted = dict.fromkeys(topics, like_this)
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.servers)) as admin:
            admin.create_topics(wanted, timeout_ms=TOPIC_LIMIT_MS)
            admin.wait_for_topics(topics)
        self.wait_until_whole()

    def delete_topics(self, topics: list[str]) -> None:
        """Delete topics: they are the size of what was run on them."""
        self.wait_until_whole()
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=self.servers)) as admin:
            admin.delete_topics(topics, timeout_ms=TOPIC_LIMIT_MS)

    def serves(self, replicas: int = 2) -> bool:
        """Whether every partition, Kafka's own included, can be written to with so many replicas in sync."""
        try:
            admin = KafkaAdminClient(bootstrap_servers=self.servers, bootstrap_timeout_ms=2000, request_timeout_ms=2000)
        except KafkaError:
            return False
        with contextlib.closing(admin):
            try:
                partitions = [item for topic in admin.describe_topics() for item in topic["partitions"]]
            except KafkaError:
                return False
        down = {at + 1 for at in self._down}  # a broker that just died still stands in the cluster's metadata
        return all(takes_writes(item, down, replicas) for item in partitions)

    def wait_until_whole(self) -> None:
        """Wait until every partition has all its replicas in sync."""
        end = time.monotonic() + WHOLE_LIMIT_S
        while not self.serves(replicas=BROKERS):
            if time.monotonic() > end:
                raise TimeoutError("the cluster did not become whole")
            time.sleep(LOOK_EVERY_S)


def takes_writes(partition: Mapping[str, Any], down: set[int], replicas: int) -> bool:
    """Whether a partition, as the cluster describes it, has a leader that is up and so many replicas in sync.

    None of them may be down: a write waits for all that count as in sync, and a dead broker does for some seconds.
    """
    in_sync = set(partition["isr_nodes"])
    leads = partition["leader_id"] > 0 and partition["leader_id"] not in down
    return leads and in_sync.isdisjoint(down) and len(in_sync) >= min(replicas, len(partition["replica_nodes"]))


@contextlib.contextmanager
def running_cluster(brokers: int = BROKERS) -> Iterator[Cluster]:
    """A started cluster in a folder of its own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ecg-faults-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder), brokers)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


class Watch:
    """Notes when the cluster can serve again. Begun as soon as something was done to it."""

    def __init__(self, cluster: Cluster) -> None:
        self.serves_at: float | None = None
        self._cluster = cluster
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            if self._cluster.serves():
                self.serves_at = time.time()
                return

    def close(self) -> None:
        """Stop looking."""
        self._over.set()
        self._thread.join()
