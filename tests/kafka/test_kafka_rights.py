"""The worker lives with the rights that docs/delivery.md lists, and says which one is missing. A real authorizer."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType

from adapters.kafka.inspection import KafkaInspection
from adapters.kafka.options import KafkaOptions
from adapters.log import LogError, Message, Position
from adapters.open_log import open_log
from tests.contract.worker import joined, poll_until, read_all
from tests.kafka.broker import ACLS, PASSWORD, USER, Broker, BrokerUnavailable, running_broker, skip_or_fail
from tests.kafka.helpers import unique

pytestmark = pytest.mark.kafka

RIGHTS = ("Read on topic inbound", "Read on group", "Write on topic findings", "Write on topic rejections",
          "Write on transactional id")  # fmt: skip


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    try:
        with running_broker(ACLS) as running:
            yield running
    except BrokerUnavailable as error:
        skip_or_fail(str(error))


@dataclass(frozen=True)
class Site:
    """Topics and a group of a test's own, with a user who has some rights on them."""

    broker: Broker
    password_file: Path
    inbound: str = field(default_factory=lambda: unique("inbound"))
    findings: str = field(default_factory=lambda: unique("findings"))
    rejections: str = field(default_factory=lambda: unique("rejections"))
    group: str = field(default_factory=lambda: unique("group"))

    @property
    def admin_url(self) -> str:
        return f"kafka://{self.broker.address}"

    @property
    def url(self) -> str:
        return f"kafka://{self.broker.sasl_address}"

    @property
    def options(self) -> KafkaOptions:
        return KafkaOptions("SASL_PLAINTEXT", "SCRAM-SHA-512", USER, self.password_file)

    def acls(self) -> dict[str, Any]:
        read, write = ACLOperation.READ, ACLOperation.WRITE
        prefixed = ACLResourcePatternType.PREFIXED
        patterns = {
            "Read on topic inbound": (read, ResourcePattern(ResourceType.TOPIC, self.inbound)),
            "Read on group": (read, ResourcePattern(ResourceType.GROUP, self.group)),
            "Write on topic findings": (write, ResourcePattern(ResourceType.TOPIC, self.findings)),
            "Write on topic rejections": (write, ResourcePattern(ResourceType.TOPIC, self.rejections)),
            "Write on transactional id": (
                write, ResourcePattern(ResourceType.TRANSACTIONAL_ID, f"{self.group}-", prefixed),
            ),
        }  # fmt: skip
        return {
            name: ACL(f"User:{USER}", "*", operation, ACLPermissionType.ALLOW, pattern)
            for name, (operation, pattern) in patterns.items()
        }

    def granted(self, *, without: str | None = None) -> "Site":
        with closing(KafkaAdminClient(bootstrap_servers=self.broker.address)) as admin:
            made = admin.create_acls([acl for name, acl in self.acls().items() if name != without])
            assert not made["failed"]
        with closing(open_log(self.admin_url)) as log:
            log.create_topics({self.inbound: 1, self.findings: 1, self.rejections: 1})
            log.append([Message(self.inbound, b"k", b"ecg")])
        return self

    def work(self) -> None:
        """What `run` does: join, read, publish to both topics with the positions."""
        with closing(open_log(self.url, self.options)) as log, joined(log, self.group, self.inbound) as worker:
            poll_until(lambda: len(worker.records) == 1, worker)
            (record,) = worker.records
            worker.member.publish(
                [Message(self.findings, b"k", b"finding"), Message(self.rejections, b"k", b"rejection")],
                {record.topic_partition: Position(record.offset + 1)},
            )


@pytest.fixture
def site(broker: Broker, tmp_path: Path) -> Site:
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD)
    return Site(broker, password_file)


def missing(site: Site) -> tuple[str, ...]:
    with closing(KafkaInspection([site.broker.sasl_address], site.options)) as inspection:
        return inspection.missing_rights(
            [site.inbound], [site.findings, site.rejections], site.group, f"{site.group}-worker-0"
        )


def test_five_rights_are_enough(site: Site) -> None:
    site.granted().work()
    with closing(open_log(site.admin_url)) as log:
        assert [record.value for record in read_all(log, site.findings)] == [b"finding"]
    assert missing(site) == ()


@pytest.mark.parametrize("without", RIGHTS)
def test_a_right_that_is_missing_is_named(site: Site, without: str) -> None:
    site.granted(without=without)
    with pytest.raises(LogError, match="not allowed; grant") as refused:
        site.work()
    # A topic without any right is first asked about, so that Describe is what is refused.
    resource = without.partition(" on ")[2]
    named = str(refused.value).rpartition("grant ")[2]
    assert named.removeprefix("Describe").removeprefix("Read").removeprefix("Write").startswith(f" on {resource}")

    (on_progress,) = missing(site)
    assert on_progress.startswith(without)


def test_who_may_not_see_how_topics_are_set_is_told_which_right_shows_it(site: Site) -> None:
    nowhere = unique("nowhere")  # who has no right there is told no more of a topic that is not there
    site.granted()
    with closing(KafkaInspection([site.broker.sasl_address], site.options)) as inspection:
        report = inspection.topics({site.inbound: 7.0, nowhere: 7.0})
    assert (report.seen, report.faults) == ((), ())
    (said,) = report.warnings
    assert said.endswith(
        f"grant Describe and DescribeConfigs on topic {nowhere}; DescribeConfigs on topic {site.inbound}"
    )


def test_somebody_without_any_right_is_told_all_of_them(site: Site) -> None:
    with closing(open_log(site.admin_url)) as log:
        log.create_topics({site.inbound: 1, site.findings: 1, site.rejections: 1})
    assert [item.startswith(right) for item, right in zip(sorted(missing(site)), sorted(RIGHTS), strict=True)] == 5 * [
        True
    ]
