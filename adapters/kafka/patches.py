"""What a group consumer of kafka-python 3.0.12 does wrong and a worker cannot live with, each patched on its own.

Each replaces one function of one consumer, and has a test that fails without it (tests/kafka/). What a maintainer of
the library wants to know of it is in `docs/upstream/kafka-python.md`.
"""

from collections.abc import Callable
from typing import Any

from kafka.errors import FencedInstanceIdError
from kafka.structs import MemberState


def bring_back_parked_records(consumer: Any) -> None:
    """A partition that was paused while some of its records lay here, and then resumed, brings them.

    The library parks such records, and gives them back only when it has no others in hand. But the last ones that it
    handed out stay "in hand" when they are used up, until another partition brings some. If none does, the parked
    records never come, nothing further of that partition is fetched, and it is silent for ever.
    """
    fetcher = consumer._fetcher
    fetched_records = fetcher.fetched_records

    def fetched_records_and_parked_ones(*arguments: Any, **settings: Any) -> Any:
        if not fetcher._next_partition_records:  # none, or used up
            fetcher._next_partition_records = None
        return fetched_records(*arguments, **settings)

    fetcher.fetched_records = fetched_records_and_parked_ones


def keep_finished_joins(consumer: Any) -> None:
    """A join that ends between two polls counts.

    The library leaves a join under way when `poll` runs out of time, but if it has ended by the next poll it joins
    anew, and makes everyone in the group join anew: for ever, if polls are short. Here the next poll finds the join not
    quite ended, and its result then.

    A leader that joined because a topic had changed is worse off: once it has assigned the partitions it sees no more
    need to join, never looks at the result, and stays without partitions and heartbeats for ever. Here the need lasts
    until the join has succeeded.
    """
    coordinator = consumer._coordinator
    join_group = coordinator.join_group_async

    async def result_of(finished: Any) -> Any:
        return await finished

    async def join_group_or_resume(timeout_ms: float | None = None) -> Any:
        if coordinator.need_rejoin():
            coordinator.request_rejoin()
        join = coordinator._join_task
        if join is not None and join.is_done and coordinator.state == MemberState.REBALANCING:
            coordinator._join_task = coordinator._manager.call_soon(result_of, join)
        return await join_group(timeout_ms=timeout_ms)

    coordinator.join_group_async = join_group_or_resume


class _ForgetfulDict(dict[Any, Any]):
    """Keeps nothing."""

    def __setitem__(self, key: Any, value: Any) -> None: ...


def ask_anew_for_committed_positions(consumer: Any) -> None:
    """Whoever asks where the group stands gets the answer to that question, and not to an earlier one.

    The library keeps a request whose caller ran out of time, for the next who asks about the same partitions. However
    late that is, he gets the old answer: a partition that comes to a member is read from where the group stood when the
    member asked before, and every record since then has two results.
    """
    consumer._coordinator._offset_fetch_futures = _ForgetfulDict()


def notify_when_fenced(consumer: Any, on_fenced: Callable[[], None]) -> None:
    """A static member learns that another process has its name.

    The broker answers the next heartbeat of the first process with FENCED_INSTANCE_ID. The library logs that, sends no
    more heartbeats, and lets `poll` read on as if the partitions were still its own.
    """
    coordinator = consumer._coordinator
    send_heartbeat = coordinator._send_heartbeat_request

    async def send_heartbeat_and_notify() -> None:
        try:
            await send_heartbeat()
        except FencedInstanceIdError:
            on_fenced()
            raise

    coordinator._send_heartbeat_request = send_heartbeat_and_notify


def read_on_during_rebalances(consumer: Any) -> None:
    """A member goes on reading the partitions it has while the group waits for somebody else.

    The library's poll brings nothing while a join is under way. If a member dies and is started again, its join lasts
    until the dead one's session ends, and so long nobody in the group would read anything. In a cooperative group what
    a member has stays its own until it is told otherwise, and the broker refuses whoever publishes too late.
    """
    coordinator = consumer._coordinator
    poll = coordinator.poll

    def poll_and_read_on(timeout_ms: float | None = None) -> bool:
        return bool(poll(timeout_ms=timeout_ms) or consumer.assignment())

    coordinator.poll = poll_and_read_on
