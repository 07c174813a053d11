"""What `deliveries redrive` says of a receiver that stands where an interval ends."""

import pytest
import typer

from cli.commands.deliveries import redrive


@pytest.mark.parametrize("typed", ["mllp://user:hunter2@host:2575", "mllps://host:2575", "fhir+https://host/fhir"])
def test_a_receiver_in_place_of_an_end_is_told_where_it_belongs_and_not_repeated(typed: str) -> None:
    with pytest.raises(typer.BadParameter) as wrong:
        redrive(end=typed)
    assert (wrong.value.param_hint, wrong.value.message) == (
        "--to",
        "is the end of the interval; the receiver is --receiver",
    )
