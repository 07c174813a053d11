"""The verifier finds what it is there to find, in streams that are made up."""

from dataclasses import replace
from typing import Any

import pytest

from tests.faults.books import Books, Inbound, Report, Result
from tests.faults.kinds import Kind, message_id

RECORDS = 30


def came(books: Books, number: int, kind: Kind = "asked", label: str = "routine") -> None:
    """Record n lies in partition n % 3 and comes n seconds after the first."""
    books.came(Inbound("inbound", number % 3, number // 3, number * 1000, number, kind, label))


def finding(number: int, **other: Any) -> Result:
    """Half a second later."""
    this_run = Result(
        "inbound", number % 3, number // 3, number * 1000 + 500, f"{number + 1:032x}"[::-1], message_id(number)
    )
    return replace(this_run, **other)


def rejection(number: int) -> Result:
    return finding(number, finding_id=None, message_id=None, reason="payload.unknown_format")


def report(*results: Result, poison: int | None = None) -> Report:
    books = Books("inbound")
    for number in range(RECORDS):
        came(books, number, "noise" if number == poison else "asked")
    for result in results:
        books.became(result)
    return books.report()


ALL = [finding(number) for number in range(RECORDS)]


def test_one_finding_or_rejection_each_is_right() -> None:
    good = report(*ALL)
    assert good.ok
    assert (good.records, good.findings, good.rejections, good.lost) == (RECORDS, RECORDS, 0, 0)
    one_rejected = report(*ALL[:4], rejection(4), *ALL[5:], poison=4)
    assert one_rejected.ok
    assert one_rejected.reasons == {"payload.unknown_format": 1}


def test_the_order_of_reading_does_not_matter() -> None:
    books = Books("inbound")
    for number in reversed(range(RECORDS)):
        books.became(finding(number))
        came(books, number)
    assert books.report() == report(*ALL)


@pytest.mark.parametrize(
    ("results", "failure", "count", "example"),
    [
        (ALL[1:], "lost", 1, "inbound/0/0"),
        ([], "lost", RECORDS, "inbound/0/0"),
        ([*ALL, ALL[7]], "duplicated", 1, "inbound/1/2"),
        ([*ALL, rejection(7)], "duplicated", 1, "inbound/1/2"),
        ([*ALL, finding(7, finding_id="f" * 32)], "duplicated", 1, "inbound/1/2"),
        ([*ALL, finding(RECORDS)], "unknown", 1, f"inbound/{RECORDS % 3}/{RECORDS // 3}"),
        ([*ALL, finding(3, topic="elsewhere")], "unknown", 1, None),
        ([*ALL[:9], finding(9, finding_id=ALL[8].finding_id), *ALL[10:]], "same_finding_id", 2, "inbound/0/3"),
        ([*ALL[:9], finding(9, message_id=message_id(8)), *ALL[10:]], "wrong_message", 1, "inbound/0/3"),
        ([*ALL[:9], finding(9, message_id=None), *ALL[10:]], "wrong_message", 1, "inbound/0/3"),
        ([*ALL[:9], finding(9, message_id="2.25.7"), *ALL[10:]], "wrong_message", 1, "inbound/0/3"),
        ([*ALL[:9], rejection(9), *ALL[10:]], "wrong_kind", 1, "inbound/0/3"),
    ],
)
def test_what_is_wrong_is_found(results: list[Result], failure: str, count: int, example: str | None) -> None:
    bad = report(*results)
    assert not bad.ok
    assert getattr(bad, failure) == count
    others = {"lost", "duplicated", "unknown", "same_finding_id", "wrong_message", "wrong_kind"} - {failure}
    found_beside = {other for other in others if getattr(bad, other)}
    assert found_beside <= {"wrong_kind"}  # a good record that is rejected besides is both
    if example:
        assert bad.examples[failure][0] == example


def test_a_finding_of_poison_is_wrong() -> None:
    assert report(*ALL, poison=4).wrong_kind == 1


def test_many_duplicates_stay_duplicates() -> None:
    assert report(*ALL, *([ALL[7]] * 300)).duplicated == 1


def test_two_readings_can_be_compared() -> None:
    books = Books("inbound")
    for number in range(RECORDS):
        came(books, number)
        books.became(finding(number))
    first, again = books.report(), books.without_results()
    assert again.report().lost == RECORDS
    for result in ALL:
        again.became(result)
    assert again.report() == first
    again.became(ALL[0])
    assert again.report().digest != first.digest


def test_what_waits_is_known() -> None:
    books = Books("inbound")
    assert books.waits_since_ms() is None
    for number in range(RECORDS):
        came(books, number)
    for number in range(RECORDS):
        if number != 8:
            books.became(finding(number))
    assert (books.came_in, books.decided, books.repeated) == (RECORDS, RECORDS - 1, 0)
    assert books.waits_since_ms() == 8000
    books.became(finding(8))
    books.became(finding(8))
    assert books.waits_since_ms() is None
    assert (books.decided, books.repeated) == (RECORDS, 1)


def test_gaps_count_only_while_there_is_work() -> None:
    # A second passes between records, and half a second is waited for each result.
    assert report(*ALL).gap_s == 0.5
    late = [finding(number, timestamp_ms=max(number * 1000 + 500, 20_000)) for number in range(RECORDS)]
    assert report(*late).gap_s == 0.5, "nobody was at work before the first result"
    stalled = [
        finding(n, timestamp_ms=n * 1000 + 500 if n < 10 else max(20_000, n * 1000 + 500)) for n in range(RECORDS)
    ]
    assert report(*stalled).gap_s == 10.0, "from when record 10 came"


def test_latencies_are_counted_by_label() -> None:
    books = Books("inbound")
    for number in range(RECORDS):
        stat = number % 10 == 0
        came(books, number, label="stat" if stat else "routine")
        books.became(finding(number, timestamp_ms=number * 1000 + (100 if stat else 2000)))
    latencies = books.report().latencies
    assert (latencies["stat"].count, latencies["stat"].p99_s) == (3, 0.1)
    assert (latencies["routine"].count, latencies["routine"].p50_s) == (27, 2.0)
