"""The transactional publisher: every wait bounded, and a new producer after every failure.

A Kafka producer that failed is not worth repairing: its library waits without limit, retries behind our back and hides
the reason of an error behind a general one. So any failure, whatever it was, ends the producer; a new one takes the
same transactional id, and the broker aborts what the last one left open.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import (
    AuthorizationError,
    FencedInstanceIdError,
    GroupAuthorizationFailedError,
    InvalidProducerEpochError,
    KafkaError,
    ProducerFencedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
)

from adapters.deadline import Deadline, call_with_deadline
from adapters.kafka.client import RequestTrackingClient, Rights, connect, denied, translate_errors
from adapters.kafka.options import MAX_RECORD_BYTES, Timeouts
from adapters.log import Fenced, LogError, LogUnavailable, Message, PublishFailed, check_messages

LOGGER: Final = logging.getLogger(__name__)

# Records wait for each other up to this long unless flushed, and every batch here is flushed: so the batches are full.
LINGER_MS: Final = 100
BATCH_BYTES: Final = 1024 * 1024

# The next transaction often begins while the broker still ends the last one, and is told to try again.
RETRY_PAUSE_MS: Final = 20

DISPLACED: Final = "another process is this static member now; give each process an ECG_MEMBER of its own"
FENCED: Final = (
    "another process has taken over this member's transactional id; give each process an ECG_MEMBER of its own"
)

REOPEN_PAUSE_S: Final = 0.5
DISCARD_LIMIT_S: Final = 60.0  # a sender thread that waits for a broker notices its end only after the request timeout


def producer_settings(timeouts: Timeouts) -> dict[str, Any]:
    """What every producer here has in common: acknowledged by all replicas, in order, without duplicates."""
    return {
        "acks": "all",
        "enable_idempotence": True,
        "allow_auto_create_topics": False,
        "retry_backoff_ms": RETRY_PAUSE_MS,
        "linger_ms": LINGER_MS,
        "batch_size": BATCH_BYTES,
        "max_request_size": MAX_RECORD_BYTES,
        "max_block_ms": round(timeouts.request_s * 1000),
        "delivery_timeout_ms": round(timeouts.publish_s * 1000),
    }


class TransactionalProducer:
    """Writes messages and moves a group's positions, both or neither. Not thread-safe."""

    def __init__(
        self,
        client_settings: dict[str, Any],
        transactional_id: str,
        timeouts: Timeouts,
        require_topic: Callable[[str], object],
    ) -> None:
        """Take over the transactional id: whoever had it is fenced. Raises LogUnavailable or LogError.

        `require_topic` raises LogError if there is no such topic, which otherwise looks like a broker out of reach.
        """
        self._require_topic = require_topic
        self._known_topics: set[str] = set()
        self._timeouts = timeouts
        self._settings = {
            **client_settings,
            **producer_settings(timeouts),
            "transactional_id": transactional_id,
            "transaction_timeout_ms": round(timeouts.transaction_s * 1000),
        }
        self._producer: Any = None
        self._client: RequestTrackingClient | None = None
        self._abandoned_a_start = False
        self._fenced = False
        self._closed = False
        self._open(Deadline(self._timeouts.transaction_s))

    def publish(self, messages: Sequence[Message], offsets: Mapping[Any, Any], group: Any) -> None:
        """One transaction. `offsets` and `group` are the library's own; `group` is what the broker fences us by.

        Raises PublishFailed, or Fenced if another process has the transactional id, or LogError if we may not publish.
        """
        if self._fenced:
            raise Fenced(FENCED)
        self._check_topics(messages)
        if self._producer is None or self._client is None or self._client.lost_contact:
            self._replace("the last producer is no longer to be trusted")
        producer, started = self._producer, time.monotonic()
        deadline = Deadline(self._timeouts.publish_s)
        try:
            call_with_deadline(
                deadline, "kafka-publish", lambda: _transact(producer, messages, offsets, group, deadline)
            )
        except FencedInstanceIdError:
            self._fenced = True
            self._discard()
            raise Fenced(DISPLACED) from None
        except (ProducerFencedError, InvalidProducerEpochError):
            if not self._may_have_fenced_ourselves(started):
                self._fenced = True
                self._discard()
                raise Fenced(FENCED) from None
            self._replace("fenced, perhaps by ourselves")
            raise PublishFailed("the broker ended the transaction") from None
        except AuthorizationError as error:  # nothing that another try could change
            self._discard()
            raise denied("publishing", error, self._rights(messages, group)) from None
        except Exception as error:  # noqa: BLE001 - whatever it was, the outcome is unknown until a new producer is up
            self._replace(type(error).__name__)
            raise PublishFailed(f"transaction not committed, or not known to be: {type(error).__name__}") from None
        self._abandoned_a_start = False

    def close(self) -> None:
        """End the producer at once. An open transaction is left for the broker, or our successor, to abort."""
        self._closed = True
        self._discard()

    def _check_topics(self, messages: Sequence[Message]) -> None:
        for topic in {message.topic for message in messages} - self._known_topics:
            try:
                self._require_topic(topic)
            except LogUnavailable as error:
                raise PublishFailed(f"nothing was sent: {error}") from None
            self._known_topics.add(topic)

    def _may_have_fenced_ourselves(self, started: float) -> bool:
        """Whether the fence may be our own doing, for the broker's answer is the same.

        It aborts a transaction that is open for too long, as when this process was frozen; and a request to start a
        producer that we gave up on may reach it after the next one's. If neither can be, another process has our id.
        """
        return self._abandoned_a_start or time.monotonic() - started >= self._timeouts.transaction_s

    def _replace(self, cause: str) -> None:
        self._discard()
        if self._closed:
            raise PublishFailed("the publisher was closed")
        LOGGER.warning("replacing the transactional producer: %s", cause)
        try:
            self._open(Deadline(self._timeouts.transaction_s))
        except LogUnavailable as error:
            raise PublishFailed(f"no producer could be started: {error}") from None

    def _open(self, deadline: Deadline) -> None:
        """Start a producer, trying again until the deadline. The broker aborts what the last one left open.

        Whoever calls waits as long as the broker lets a transaction live; by then it has aborted ours by itself.
        """
        while True:
            try:
                with translate_errors("starting a transactional producer", self._rights()):
                    self._start()
                if self._closed:  # meanwhile: whoever comes next may be using the id already
                    raise LogUnavailable("the publisher was closed")
                return
            except LogUnavailable:
                self._abandoned_a_start = True
                self._discard()
                if deadline.expired or self._closed:
                    raise
                time.sleep(REOPEN_PAUSE_S)
            except LogError:
                self._discard()
                raise

    def _start(self) -> None:
        self._producer, self._client = connect(KafkaProducer, self._settings)
        try:
            self._producer.init_transactions()
        except AuthorizationError:
            raise
        except KafkaError:  # of whatever kind: another start of ours may still be under way at the broker
            raise TimeoutError from None

    def _rights(self, messages: Sequence[Message] = (), group: Any = None) -> Rights:
        topics = ", ".join(sorted({message.topic for message in messages}))
        return {
            TopicAuthorizationFailedError: f"Write on topic {topics}",
            GroupAuthorizationFailedError: f"Read on group {group.group_id if group else ''}",
            TransactionalIdAuthorizationFailedError: f"Write on transactional id {self._settings['transactional_id']}",
        }

    def _discard(self) -> None:
        if self._producer is not None:
            discard(self._producer)
        self._producer = self._client = None


class KafkaPublisher:
    """Keeps the `Publisher` protocol."""

    def __init__(self, producer: TransactionalProducer) -> None:
        """Publish through this producer, and close it in the end."""
        self._producer = producer

    def publish(self, messages: Sequence[Message]) -> None:
        """Write all of the messages or none, in bounded time."""
        check_messages(messages)
        self._producer.publish(messages, {}, None)

    def close(self) -> None:
        """End the producer at once."""
        self._producer.close()


def _transact(
    producer: Any, messages: Sequence[Message], offsets: Mapping[Any, Any], group: Any, deadline: Deadline
) -> None:
    producer.begin_transaction()
    sent = [send(producer, message) for message in messages]
    producer.flush(timeout=deadline.remaining_s)
    for future in sent:
        future.get(timeout=deadline.remaining_s)
    if offsets:
        producer.send_offsets_to_transaction(dict(offsets), group)
    producer.commit_transaction()


def send(producer: Any, message: Message) -> Any:
    """Hand a message to a producer; the future tells where it lies, or why not."""
    return producer.send(message.topic, value=message.value, key=message.key, headers=list(message.headers))


def discard(producer: Any) -> None:
    """End a producer that may be stuck, without waiting for it.

    The library's own `close` first flushes, and raises if it cannot, with the sender thread still running: at full
    speed, if a broker is away. So the thread is told to end, and what still waits for it is told that it failed.
    """
    producer._sender.force_close()

    def finish() -> None:
        producer._sender.join(DISCARD_LIMIT_S)
        if producer._sender.is_alive():
            LOGGER.error("a discarded producer's thread did not end")
            return
        if producer._transaction_manager is not None:
            producer._transaction_manager.authentication_failed(KafkaError("the producer was discarded"))
        producer.close(timeout=1)

    threading.Thread(target=finish, name="kafka-discard", daemon=True).start()
