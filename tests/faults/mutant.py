"""`ecg-worker` with one deliberate bug in it, for showing that the verifier would find it.

commit-before-publish  positions are committed in a transaction of their own, before the results: what a worker does
                       that commits offsets by itself. Killed between the two, it has lost the results.
no-metadata            a position forgets what is done after it. Killed, it does that work again.

Run as `python -m tests.faults.mutant BUG run`.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, Literal, get_args

from adapters.kafka.member import KafkaMember
from adapters.log import Message, Position, TopicPartition
from cli.app import main
from worker.stream.ledger import PartitionLedger

Bug = Literal["commit-before-publish", "no-metadata"]
BUGS: Final[tuple[Bug, ...]] = get_args(Bug)
BETWEEN_S: Final = 3.0  # most of the time, so that a kill hits


def _commit_before_publish() -> None:
    whole = KafkaMember.publish

    def publish(member: KafkaMember, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        whole(member, (), positions)
        time.sleep(BETWEEN_S)
        whole(member, messages, {})

    KafkaMember.publish = publish  # type: ignore[method-assign, assignment]


def _no_metadata() -> None:
    whole = PartitionLedger.position

    def position(ledger: PartitionLedger) -> Position:
        return replace(whole(ledger), metadata="")

    PartitionLedger.position = position  # type: ignore[method-assign, assignment]


_PUT_IN: Final[Mapping[str, Callable[[], None]]] = MappingProxyType(
    {"commit-before-publish": _commit_before_publish, "no-metadata": _no_metadata}
)

if __name__ == "__main__":
    _PUT_IN[sys.argv.pop(1)]()
    main()
