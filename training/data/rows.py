"""Examples as the trainers want their datasets: a table. It holds places only; an example is made when it is needed."""

from collections.abc import Sequence
from typing import Any

import datasets

from training.data.example import Example, Examples


def index_dataset(examples: Examples) -> Any:
    """A `datasets.Dataset` with one row an example."""
    return datasets.Dataset.from_dict({"at": range(len(examples))})


def examples_of(chosen: Sequence[dict[str, int]], examples: Examples) -> list[Example]:
    """The examples of a batch of rows."""
    return [examples[row["at"]] for row in chosen]
