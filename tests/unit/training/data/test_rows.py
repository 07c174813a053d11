"""A table of places: nothing is made before it is needed, and then what stands there."""

from training.data.example import Example, MadeExamples
from training.data.rows import examples_of, index_dataset


class Counted(MadeExamples):
    """Says which places were made."""

    def __init__(self, count: int) -> None:
        self.made: list[int] = []
        self.stock: list[Example] = [object.__new__(Example) for _ in range(count)]

    def __len__(self) -> int:
        return len(self.stock)

    def make(self, at: int) -> Example:
        self.made.append(at)
        return self.stock[at]


def test_there_is_one_row_an_example_and_none_is_made_for_it() -> None:
    examples = Counted(5)
    table = index_dataset(examples)
    assert table["at"][:] == [0, 1, 2, 3, 4]
    assert len(table) == 5
    assert examples.made == []


def test_a_batch_is_made_of_the_examples_of_its_rows_in_their_order() -> None:
    examples = Counted(5)
    table = index_dataset(examples)
    batch = examples_of([table[3], table[0], table[3]], examples)
    assert [item is examples.stock[at] for item, at in zip(batch, (3, 0, 3), strict=True)] == [True] * 3
    assert examples.made == [3, 0, 3]


def test_no_rows_are_no_examples() -> None:
    assert examples_of([], Counted(2)) == []
    assert len(index_dataset(Counted(0))) == 0
