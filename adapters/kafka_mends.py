"""What a group consumer of kafka-python 3.0.12 does wrong and a worker cannot live with, each mended on its own.

Every mend replaces one function of one consumer, and has a test that fails without it and tells when the library no
longer needs it. `docs/upstream/kafka-python.md` describes each for the library's maintainers.
"""

from typing import Any


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
