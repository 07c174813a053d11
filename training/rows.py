"""Examples as the trainers want their datasets: rows that are dictionaries."""

from collections.abc import Sequence

from torch.utils.data import Dataset

from training.example import Example, Examples


class Rows(Dataset[dict[str, Example]]):
    """One row an example, made when it is asked for."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, at: int) -> dict[str, Example]:
        return {"example": self._examples[at]}


def examples_of(rows: Sequence[dict[str, Example]]) -> list[Example]:
    """The examples of a batch of rows."""
    return [row["example"] for row in rows]
