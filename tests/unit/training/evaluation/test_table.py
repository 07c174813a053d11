"""The table that is quoted: every number in its place, with its interval, beside what it may be compared with."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.measured import measured
from training.data.example import Example
from training.evaluation import answers as asking
from training.evaluation import scores, table
from training.evaluation.answers import Asked
from training.evaluation.judgement import Judgement
from training.evaluation.scores import SCORES, Score
from training.evaluation.table import BASELINE, Evaluation, Row
from training.evaluation.text_baseline import TextBaseline
from worker.model.bundle import ModelBundle
from worker.model.facts import PromptFacts
from worker.model.manifest import TemperatureCalibration

NAN = float("nan")
TRUTH = (True, True, False, False)
HEAD = (
    "| model | data | n | accuracy | sensitivity | specificity | ppv | auroc | lead f1 | grounded | calibration error"
    " | form kept unconstrained |"
)


def judgements(said: Sequence[bool], truth: Sequence[bool] = TRUTH) -> list[Judgement]:
    return [
        Judgement(at, f"x{at}", ischemic, yes, 0.9 if yes else 0.1, "", (), (), True)
        for at, (yes, ischemic) in enumerate(zip(said, truth, strict=True))
    ]


def row(model: str = "ours", data: str = "A", control: str | None = None, **more: Any) -> Row:
    """A row whose n-th score is 0.n0n, from 0.00n to 0.9n0."""
    numbers = {name: Score(0.1 * n + 0.001 * n, 0.001 * n, 0.9 + 0.01 * n) for n, name in enumerate(SCORES)}
    said = more.pop("said", TRUTH)
    return Row(model, data, control, scores.table(judgements(said)), {**numbers, **more.pop("scores", {})}, **more)


def evaluation(directory: Path = Path("unused"), *rows: Row) -> Evaluation:
    return Evaluation(directory, 1, lambda _doing, _count: lambda _more: None, list(rows))


def lines(*rows: Row) -> list[str]:
    return evaluation(Path("unused"), *rows).markdown().splitlines()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def example(at: int, *, ischemic: bool = True, text: str = "chest pain") -> Example:
    return Example(
        f"x{at}",
        np.zeros((4, 4, 3), np.uint8),
        PromptFacts(60.0, "male", (text,)),
        ischemic,
        measured({}),
        entity="lad",
    )


def test_each_score_stands_under_its_own_name_with_its_interval() -> None:
    head, rule, line = lines(row())
    assert head == HEAD
    assert rule == "|" + " --- |" * 12
    assert dict(zip(cells(head), cells(line), strict=True)) == {
        "model": "ours", "data": "A", "n": "4",
        "accuracy": "0.000 (0.000–0.900)", "sensitivity": "0.101 (0.001–0.910)", "specificity": "0.202 (0.002–0.920)",
        "ppv": "0.303 (0.003–0.930)", "auroc": "0.404 (0.004–0.940)", "lead f1": "0.505 (0.005–0.950)",
        "grounded": "0.707 (0.007–0.970)", "calibration error": "0.909 (0.009–0.990)", "form kept unconstrained": "",
    }  # fmt: skip


def test_what_cannot_be_said_is_left_empty_and_shifts_nothing() -> None:
    line = cells(lines(row(scores={"ppv": Score(NAN, NAN, NAN)}))[2])
    assert line[5:8] == ["0.202 (0.002–0.920)", "", "0.404 (0.004–0.940)"]


def test_a_control_is_named_beside_its_model() -> None:
    assert cells(lines(row(control="blank picture"))[2])[0] == "ours, blank picture"


@pytest.mark.parametrize(("form", "written"), [(None, ""), (0.875, "87.5 %"), (1.0, "100.0 %"), (0.0, "0.0 %")])
def test_the_form_that_is_kept_is_a_percentage(form: float | None, written: str) -> None:
    assert cells(lines(row(format=form))[2])[-1] == written


def test_the_text_alone_reasons_about_nothing() -> None:
    line = dict(zip(cells(HEAD), cells(lines(row(BASELINE))[2]), strict=True))
    assert (line["lead f1"], line["grounded"]) == ("", "")
    assert all(line[name] for name in ("accuracy", "auroc", "calibration error"))


def test_rows_come_in_the_order_in_which_they_were_judged() -> None:
    written_lines = lines(row("b"), row("a"), row("a", control="blank picture"), row(BASELINE))
    assert [cells(line)[0] for line in written_lines[2:6]] == ["b", "a", "a, blank picture", BASELINE]


def test_a_difference_is_what_the_later_model_has_over_the_earlier_one() -> None:
    wrong = row("worse", said=[not right for right in TRUTH])
    *_, title, _, line = lines(wrong, row("better"))
    assert title == "Differences in percentage points, same examples:"
    assert line == ("- better less worse, A: accuracy +100.0 (+100.0 to +100.0), AUROC +100.0 (+100.0 to +100.0)")
    assert lines(row("better"), wrong)[-1].startswith("- worse less better, A: accuracy -100.0 (-100.0 to -100.0)")


def test_a_difference_has_the_interval_of_its_own_resamples() -> None:
    half = row("half", said=(True, False, False, False))
    line = lines(half, row("whole"))[-1]
    gain = scores.difference(row().table, half.table, "accuracy")
    assert f"accuracy +25.0 ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})" in line
    assert gain.low < gain.value < gain.high


def test_each_kind_of_gain_stands_under_its_own_name() -> None:
    one_in_four = (True, False, False, False)
    silent = replace(row("silent"), table=scores.table(judgements([False] * 4, one_in_four)))
    right = replace(row("right"), table=scores.table(judgements(one_in_four, one_in_four)))
    line = lines(silent, right)[-1]
    assert "accuracy +25.0 (" in line
    assert "AUROC +50.0 (" in line


def test_only_whole_answers_of_models_to_the_same_data_are_compared() -> None:
    written_lines = lines(row("one"), row("one", control="blank picture"), row(BASELINE), row("two", data="B"))
    assert not any("less" in line for line in written_lines)
    assert len(written_lines) == 6


def test_every_pair_of_models_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "RESAMPLES", 20)
    written_lines = [
        line.split(":")[0] for line in lines(row("a"), row("b"), row("c"), row("a", "B"), row("b", "B"))[10:]
    ]
    assert written_lines == ["- b less a, A", "- c less a, A", "- c less b, A", "- b less a, B"]


def test_the_files_say_what_the_table_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, list[str], str, str]] = []
    columns: list[scores.Table] = []

    def draw(kind: str) -> Callable[..., None]:
        def note(models: dict[str, Any], label: str, out: Path) -> None:
            drawn.append((kind, list(models), label, out.name))
            columns.append(models["ours"][0] if kind == "roc" else models["ours"])

        return note

    monkeypatch.setattr(table, "draw_roc", draw("roc"))
    monkeypatch.setattr(table, "draw_reliability", draw("reliability"))
    judged = evaluation(tmp_path, row(format=0.5), row(control="blank picture"), row(BASELINE), row(data="B"))
    judged.write(tmp_path)
    assert (tmp_path / "table.md").read_text() == judged.markdown() + "\n"
    first, control, baseline, other = json.loads((tmp_path / "table.json").read_text())
    assert (first["model"], first["data"], first["control"], first["n"], first["format"]) == ("ours", "A", None, 4, 0.5)
    assert first["auroc"] == pytest.approx({"value": 0.404, "low": 0.004, "high": 0.94})
    assert set(SCORES) < set(first)
    assert (control["control"], baseline["model"], other["data"]) == ("blank picture", BASELINE, "B")
    whole, other_data = judged.rows[0].table, judged.rows[3].table
    assert [each is wanted for each, wanted in zip(columns, [whole] * 2 + [other_data] * 2, strict=True)] == [True] * 4
    assert drawn == [
        ("roc", ["ours", BASELINE], "A", "roc-A.png"),
        ("reliability", ["ours"], "A", "reliability-A.png"),
        ("roc", ["ours"], "B", "roc-B.png"),
        ("reliability", ["ours"], "B", "reliability-B.png"),
    ]


class Listed(list[Example]):
    """Examples with a digest, as those of a data set."""

    digest = "0123456789abcdef" * 4


def data(examples: Iterable[Example]) -> Any:
    return Listed(examples)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """What models were asked; they answer every question with yes."""
    before: list[Asked] = []

    def ask(question: Asked, processes: int, written_lines: Callable[[int], None]) -> list[Judgement]:
        before.append(question)
        written_lines(len(question.examples))
        return judgements([True] * len(question.examples), [item.ischemic for item in question.examples])

    files = {"config.json": "c" * 64, "model.safetensors": "abcdef" * 10}
    manifest = SimpleNamespace(files=files, calibration=TemperatureCalibration(temperature=2.0))
    monkeypatch.setattr(asking, "ask", ask)
    monkeypatch.setattr(table, "read_manifest", lambda _model: manifest)
    monkeypatch.setattr(scores, "RESAMPLES", 20)
    return before


EXAMPLES = data([example(at, ischemic=ischemic, text=f"text {at}") for at, ischemic in enumerate(TRUTH)])


def test_answers_are_kept_by_weights_and_data_and_whatever_the_model_is_called(
    asked: list[Asked], tmp_path: Path
) -> None:
    judged = evaluation(tmp_path / "answers")
    judged.judge("ours", Path("m"), "A", EXAMPLES)
    (question,) = asked
    assert question.file == tmp_path / "answers" / "abcdefabcdef-0123456789ab.jsonl"
    assert question.file.parent.is_dir()
    assert (question.model, question.examples) == (Path("m"), EXAMPLES)
    (made,) = judged.rows
    assert (made.model, made.data, made.control, made.format, len(made.table)) == ("ours", "A", None, None, 4)
    assert made.scores["accuracy"].value == 0.5


def test_the_table_has_calibrated_probabilities_and_ranks_by_the_models_own(asked: list[Asked], tmp_path: Path) -> None:
    judged = evaluation(tmp_path)
    judged.judge("ours", Path("m"), "A", EXAMPLES)
    columns = judged.rows[0].table
    np.testing.assert_allclose(columns.raw_probability, 0.9)
    np.testing.assert_allclose(columns.probability, TemperatureCalibration(temperature=2.0).apply(0.9))


def test_each_control_is_asked_with_something_taken_away_and_kept_by_itself(asked: list[Asked], tmp_path: Path) -> None:
    judged = evaluation(tmp_path)
    judged.judge("ours", Path("m"), "A", EXAMPLES, controls=True)
    assert [made.control for made in judged.rows] == [None, "blank picture", "shuffled pictures", "without text"]
    assert [question.file.name.partition("-0123456789ab")[2] for question in asked] == [
        ".jsonl", "-blank-picture.jsonl", "-shuffled-pictures.jsonl", "-without-text.jsonl",
    ]  # fmt: skip
    assert (asked[1].examples[0].image == 255).all()
    assert asked[3].examples[0].facts.clinical_texts == ()
    assert all(made.format is None for made in judged.rows)


def test_progress_names_what_is_asked_and_how_much_of_it_there_is(asked: list[Asked], tmp_path: Path) -> None:
    written_lines: list[tuple[str, int]] = []

    def progress(doing: str, count: int) -> Callable[[int], None]:
        written_lines.append((doing, count))
        return lambda _more: None

    Evaluation(tmp_path, 1, progress).judge("ours", Path("m"), "A", EXAMPLES, controls=True)
    assert written_lines[:2] == [("ours, A", 4), ("ours, A, blank picture", 4)]


@pytest.fixture
def freely(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the examples of every batch that was written to; each second answer keeps the form."""
    batches: list[list[str]] = []

    def write(_network: Any, _bundle: Any, batch: Sequence[Example]) -> list[str]:
        batches.append([item.name for item in batch])
        whole = "<think>a</think><answer>no</answer>"
        return [whole if int(item.name[1:]) % 2 else "no" for item in batch]

    monkeypatch.setattr(table, "load_model", lambda _model: None)
    monkeypatch.setattr(ModelBundle, "load", lambda _model: None)
    monkeypatch.setattr(asking, "generate_unconstrained", write)
    return batches


def test_the_share_of_the_form_is_that_of_all_free_answers(
    asked: list[Asked], freely: list[list[str]], tmp_path: Path
) -> None:
    judged = evaluation(tmp_path)
    judged.judge("ours", Path("m"), "A", data([*EXAMPLES, replace(EXAMPLES[0], name="x4")]), free=True, controls=True)
    assert [made.format for made in judged.rows] == [2 / 5, None, None, None]
    assert freely == [["x0", "x1", "x2", "x3", "x4"]]


def test_what_was_written_freely_is_not_written_again(
    asked: list[Asked], freely: list[list[str]], tmp_path: Path
) -> None:
    many = data([example(at, ischemic=at % 3 == 0) for at in range(70)])
    kept = tmp_path / "abcdefabcdef-0123456789ab-unconstrained.jsonl"
    kept.write_text(json.dumps("<think>a</think><answer>yes</answer>") + "\n" + json.dumps("no") + "\n")
    judged = evaluation(tmp_path)
    judged.judge("ours", Path("m"), "A", many, free=True)
    assert [(batch[0], batch[-1], len(batch)) for batch in freely] == [
        ("x2", "x33", 32), ("x34", "x65", 32), ("x66", "x69", 4),
    ]  # fmt: skip
    assert len(kept.read_text().splitlines()) == 70
    assert judged.rows[0].format == pytest.approx((1 + 34) / 70)
    judged.judge("ours", Path("m"), "A", many, free=True)
    assert len(freely) == 3
    assert judged.rows[1].format == judged.rows[0].format


def test_the_text_alone_is_fitted_on_other_examples_and_says_yes_from_a_half_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scores, "RESAMPLES", 20)
    fitted_on: list[Any] = []

    class Fixed:
        def probability(self, facts: PromptFacts) -> float:
            return {"text 0": 0.5, "text 1": 0.499, "text 2": 0.7, "text 3": 0.1}[facts.clinical_texts[0]]

    def fit(examples: Sequence[Example]) -> Fixed:
        fitted_on.append(examples)
        return Fixed()

    monkeypatch.setattr(TextBaseline, "fit", fit)
    others = [example(9)]
    judged = evaluation(tmp_path)
    judged.judge_text_alone(others, "A", EXAMPLES)
    assert fitted_on == [others]
    (made,) = judged.rows
    assert (made.model, made.data, made.control) == (BASELINE, "A", None)
    assert made.table.yes.tolist() == [1, 0, 1, 0]
    assert made.table.ischemic.tolist() == [1, 1, 0, 0]
    assert made.table.probability.tolist() == [0.5, 0.499, 0.7, 0.1]
    assert np.isnan(made.table.leads).all()
