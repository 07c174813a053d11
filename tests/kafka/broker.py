"""A real Apache Kafka broker for tests, from Maven's jars: no Docker, one KRaft node on loopback ports.

The jars are fetched once into a cache outside the repository. A broker can be killed, frozen and restarted on its data,
and dies with the process that started it.
"""

import base64
import contextlib
import fcntl
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import pytest

DEPLOY: Final = Path(__file__).parents[2] / "deploy" / "kafka"
READY: Final = "Kafka Server started"
FAILED: Final = re.compile("Exiting Kafka|Fatal error during")
PORTS: Final = (20_000, 32_000)
USER: Final = "ecg"
PASSWORD: Final = "broker-test-password"
START_LIMIT_S: Final = 120.0  # a loaded machine
FETCH_LIMIT_S: Final = 600.0  # 43 MB, over a slow line

# Starts the rest of its arguments, prints the pid, and kills it when its own standard input closes: which it does when
# the test process ends, however it ends.
WATCH: Final = '"$@" </dev/null >>"$BROKER_LOG" 2>&1 & child=$!; echo $child; read -r _; kill -9 $child 2>/dev/null'

# Small: few partitions of the internal topics, few threads, no wait before the first rebalance.
COMMON: Final = """\
process.roles=broker,controller
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
offsets.topic.num.partitions=2
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=1
"""

# The broker session is short because a killed node's registration must lapse before the same node may register again.
PROPERTIES: Final = """\
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},SASL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL://127.0.0.1:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs={folder}/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
default.replication.factor=1
min.insync.replicas=1
broker.heartbeat.interval.ms=200
broker.session.timeout.ms=2000
"""

# The production's ways in, instead of the one without TLS: the last of two equal names counts. `{folder}` holds
# broker.pem, key and certificate of this machine; clients.crt signs those of clients.
TLS: Final = """\
listeners=PLAINTEXT://127.0.0.1:{port},TLS://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},TLS://127.0.0.1:{sasl}
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
"""
TLS_WITH_PASSWORD: Final = (
    TLS
    + """\
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,TLS:SASL_SSL,CONTROLLER:PLAINTEXT
listener.name.tls.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""
)
TLS_WITH_CLIENT_CERTIFICATE: Final = (
    TLS
    + """\
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,TLS:SSL,CONTROLLER:PLAINTEXT
listener.name.tls.ssl.client.auth=required
ssl.truststore.type=PEM
ssl.truststore.location={folder}/clients.crt
"""
)
# Kafka's own validator for trials: it takes tokens that nobody signed, but looks at their owner and their time.
TLS_WITH_TOKEN: Final = (
    TLS
    + """\
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,TLS:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=OAUTHBEARER
listener.name.tls.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.tls.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule \
required unsecuredLoginStringClaim_sub="broker";
"""
)

# Whoever comes without a password, from this machine, may do everything; the user of the other listener what it is
# granted.
ACLS: Final = """\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""

# Brokers before 3.6 took records into a transaction that its coordinator knew nothing of.
UNVERIFIED: Final = "transaction.partition.verification.enable=false\n"


class BrokerUnavailable(Exception):
    """No broker can be started on this machine; the text says why."""


def skip_or_fail(reason: str) -> NoReturn:
    """On a developer's machine a missing broker skips tests; where CI is set it must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"Kafka tests must run here, but {reason}")
    pytest.skip(f"{reason}; or set ECG_TEST_KAFKA=host:port")


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        raise BrokerUnavailable("no java on the path; Kafka needs Java 17 or later")
    banner = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=60).stderr
    version = re.search(r'version "(\d+)', banner)
    if version is None or int(version[1]) < 17:
        raise BrokerUnavailable("java is older than 17")
    return java


def _jars() -> Path:
    """The folder of jars, filled once for each version of the pom, by one process at a time, all or nothing."""
    cache = (
        os.environ.get("ECG_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecg-worker"
    )
    digest = hashlib.sha256((DEPLOY / "pom.xml").read_bytes()).hexdigest()[:16]
    jars = Path(cache).resolve() / "kafka" / digest
    jars.parent.mkdir(parents=True, exist_ok=True)
    with jars.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.is_dir():
            maven = shutil.which("mvn")
            if maven is None:
                raise BrokerUnavailable("no mvn on the path; Maven fetches Kafka's jars")
            with tempfile.TemporaryDirectory(dir=jars.parent) as scratch:
                shutil.copy(DEPLOY / "pom.xml", scratch)
                fetch = [maven, "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]
                done = subprocess.run(
                    [*fetch, f"-DoutputDirectory={scratch}/jars"],
                    cwd=scratch, capture_output=True, text=True, check=False, timeout=FETCH_LIMIT_S,
                )  # fmt: skip
                if done.returncode != 0:
                    raise BrokerUnavailable(f"Maven could not fetch Kafka's jars: {done.stdout[-500:]}")
                Path(scratch, "jars").rename(jars)
    return jars


def java_class_path() -> str:
    """What `java -cp` needs for a program that uses Kafka's client."""
    return f"{_jars()}/*"


def free_ports(count: int) -> list[int]:
    """Ports below those that outgoing connections get, or one of them could take a port before the broker does."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randint(*PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports += {port} - set(ports)
    return ports


def random_id() -> str:
    """A base64 UUID that does not begin with '-', which the tools would take for an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


class Node:
    """One process of Kafka in a folder of its own: to be formatted once, then started and ended at will."""

    def __init__(self, folder: Path, properties: str, *formatting: str) -> None:
        self._java, self._jars, self._folder = _java(), _jars(), folder
        self._process: subprocess.Popen[str] | None = None
        self._pid = 0
        self._config = folder / "server.properties"
        self._config.write_text(COMMON + properties)
        command = [
            *self._command("-Xmx128m", "kafka.tools.StorageTool", "format", *formatting),
            "-c",
            str(self._config),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=START_LIMIT_S)
        if done.returncode != 0:
            raise RuntimeError(f"kafka: {done.stdout[-500:]}{done.stderr[-500:]}")

    def _command(self, *arguments: str) -> list[str]:
        heap, *rest = arguments
        options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{self._jars}/*"]
        return [self._java, heap, *options, f"-Dlog4j2.configurationFile={DEPLOY}/log4j2.properties", *rest]

    def start(self) -> None:
        """Start the node and wait until it serves."""
        log = self._folder / f"broker-{time.monotonic_ns()}.log"
        log.touch()
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", WATCH, "sh", *self._command("-Xmx512m", "kafka.Kafka", str(self._config))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "BROKER_LOG": str(log)},
        )
        assert self._process.stdout is not None
        self._pid = int(self._process.stdout.readline())
        end = time.monotonic() + START_LIMIT_S
        while READY not in (output := log.read_text(errors="replace")):
            if FAILED.search(output) or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"kafka did not start: {output[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End the node as a power cut would."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._process.communicate()  # closes its input: the watching shell ends too
        self._process = None

    def terminate(self) -> None:
        """Ask the node to end, and wait until it has handed its partitions over and is gone."""
        os.kill(self._pid, signal.SIGTERM)
        end = time.monotonic() + START_LIMIT_S
        while Path(f"/proc/{self._pid}/stat").exists() and not self._is_zombie() and time.monotonic() < end:
            time.sleep(0.05)
        self.kill()

    def _is_zombie(self) -> bool:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return True

    def restart(self) -> None:
        """Start the node again on the data it had."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop the node in its tracks: connections stay open, nothing is answered."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen node go on."""
        os.kill(self._pid, signal.SIGCONT)


class Broker(Node):
    """A cluster of one node.

    Its second way in asks for SCRAM-SHA-512 as USER with PASSWORD, unless the `extra` properties say otherwise.
    """

    def __init__(self, folder: Path, extra: str = "") -> None:
        port, sasl, controller = free_ports(3)
        self.address = f"127.0.0.1:{port}"
        self.sasl_address = f"127.0.0.1:{sasl}"
        properties = (PROPERTIES + extra).format(port=port, sasl=sasl, controller=controller, folder=folder)
        user = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
        super().__init__(folder, properties, "--standalone", "-t", random_id(), "--add-scram", user)


@contextlib.contextmanager
def running_broker(extra: str = "", folder: Path | None = None) -> Iterator[Broker]:
    """A started broker in a folder of its own, gone afterwards. `folder` is one that holds what `extra` refers to."""
    with tempfile.TemporaryDirectory(prefix="ecg-kafka-", ignore_cleanup_errors=True) as scratch:
        broker = Broker(folder or Path(scratch), extra)
        try:
            broker.start()
            yield broker
        finally:
            broker.kill()
