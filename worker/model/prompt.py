"""From facts to token ids and positions: the prompt exactly as training saw it, padded to the bundle's fixed length."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch

from schemas.rejection import Reason, Rejected
from worker.model.bundle import Grid, ModelBundle
from worker.model.errors import BundleError
from worker.model.facts import PromptFacts, clinical_line, question_text

TRUNCATION_MARK: Final = " [...]"

# A bound on what is tokenised at all. Referral texts have a few hundred characters; a pasted report has thousands.
_MAX_CLINICAL_CHARACTERS: Final = 8000


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A tokenised prompt.

    `ids` is int64 [prompt_tokens], padded on the right from `length` on; `positions` int64 [3, prompt_tokens] are time,
    height and width as the model's rotary embedding takes them; the next token's position is its index plus `delta`.
    The image's tokens are `ids[image_start : image_start + grid.tokens]`. `truncated` says that clinical text was cut.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    length: int
    delta: int
    image_start: int
    truncated: bool


class PromptBuilder:
    """Builds prompts for one bundle. Raises BundleError if the bundle's own words do not fit its prompt length."""

    def __init__(self, bundle: ModelBundle) -> None:
        self._tokenizer: Any = bundle.tokenizer
        self._settings = bundle.manifest
        self._grid = bundle.grid
        self._image_id = int(bundle.config.image_token_id)
        odd = [token for token in self._tokenizer.get_added_vocab() if not _is_tag(token)]
        if odd:
            raise BundleError(
                f"The tokenizer has added tokens that are not of the form <...>: {', '.join(sorted(odd))}. "
                "Clinical text could not be kept apart from them."
            )
        bare = self._ids(PromptFacts(), "")
        if bare.count(self._image_id) != self._grid.tokens:
            raise BundleError("The chat template and the prompt's words must place exactly one image.")
        self._control_tokens = self._control_tokens_in(bare)
        if len(bare) > self._settings.prompt_tokens:
            raise BundleError(
                f"The prompt takes {len(bare)} tokens without clinical text; prompt_tokens is "
                f"{self._settings.prompt_tokens}."
            )

    def build(self, facts: PromptFacts) -> Prompt:
        """The prompt for these facts. Clinical text that does not fit is cut at the end, and `truncated` says so.

        Raises Rejected if the rest does not fit either, or the text would not stay text.
        """
        clinical, truncated = self._fit(facts)
        ids = self._checked_ids(facts, clinical)
        image_start = ids.index(self._image_id)
        positions, delta = prompt_positions(image_start, self._grid, self._settings.prompt_tokens)
        padded = ids + [self._tokenizer.pad_token_id] * (self._settings.prompt_tokens - len(ids))
        return Prompt(torch.tensor(padded), positions, len(ids), delta, image_start, truncated)

    def token_ids(self, facts: PromptFacts) -> list[int]:
        """The prompt's token ids without padding, as `build` has them: what a model is trained on."""
        return self._checked_ids(facts, self._fit(facts)[0])

    def messages(self, facts: PromptFacts) -> list[dict[str, Any]]:
        """The prompt as the messages that the chat template takes, the image as a placeholder."""
        return self._messages(facts, self._fit(facts)[0])

    def _fit(self, facts: PromptFacts) -> tuple[str, bool]:
        """As much of the clinical text as fits, and whether that is less than all of it."""
        whole = clinical_line(facts.clinical_texts)
        line = whole[:_MAX_CLINICAL_CHARACTERS]

        def fits(clinical: str) -> bool:
            return len(self._ids(facts, clinical)) <= self._settings.prompt_tokens

        if line == whole and fits(line):
            return line, False
        length = _largest(len(line), lambda characters: fits(line[:characters].rstrip() + TRUNCATION_MARK))
        return (line[:length].rstrip() + TRUNCATION_MARK if length else ""), True

    def _messages(self, facts: PromptFacts, clinical: str) -> list[dict[str, Any]]:
        content = [
            {"type": "image"},
            {"type": "text", "text": question_text(facts, clinical, self._settings.prompt.question)},
        ]
        return [
            {"role": "system", "content": self._settings.prompt.system},
            {"role": "user", "content": content},
        ]

    def _checked_ids(self, facts: PromptFacts, clinical: str) -> list[int]:
        ids = self._ids(facts, clinical)
        # clinical_line makes this impossible; a prompt with a forged control token must not reach the model.
        if self._control_tokens_in(ids) != self._control_tokens:
            raise Rejected(Reason.ENGINE_CONTROL_TOKEN, stage="ask")
        # All clinical text has been cut by now: what is left of the record are an age and a sex.
        if len(ids) > self._settings.prompt_tokens:
            raise Rejected(Reason.ENGINE_TOO_LONG, f"{len(ids)} of {self._settings.prompt_tokens} tokens", "ask")
        return ids

    def _ids(self, facts: PromptFacts, clinical: str) -> list[int]:
        """Token ids without padding: the chat template with one image token, which is then repeated."""
        messages = self._messages(facts, clinical)
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return [
            expanded
            for token in ids
            for expanded in ([token] * self._grid.tokens if token == self._image_id else [token])
        ]

    def _control_tokens_in(self, ids: list[int]) -> list[int]:
        """The added tokens among these, in order: they must be the same whatever a record says."""
        added = set(self._tokenizer.get_added_vocab().values())
        return [token for token in ids if token in added]


def prompt_positions(image_start: int, grid: Grid, length: int) -> tuple[torch.Tensor, int]:
    """Positions [3, length] of a prompt with one image, and what to add to a later token's index for its position.

    Text counts up; the image's tokens share one time and have their row and column as height and width; text goes on
    after the longer side of the image.
    """
    rows, columns = grid.rows // grid.merge, grid.columns // grid.merge
    delta = max(rows, columns) - grid.tokens
    positions = torch.arange(length).repeat(3, 1)
    positions[:, image_start + grid.tokens :] += delta
    image = positions[:, image_start : image_start + grid.tokens].view(3, rows, columns)
    image[:] = image_start
    image[1] += torch.arange(rows)[:, None]
    image[2] += torch.arange(columns)
    return positions, delta


def _is_tag(token: str) -> bool:
    return token.startswith("<") and token.endswith(">") and token[1:2].strip() != ""


def _largest(limit: int, holds: Callable[[int], bool]) -> int:
    """The largest number from 1 to `limit` for which a monotone condition holds, or 0 if there is none."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
