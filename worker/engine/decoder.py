"""Writes answers token by token, several at once, each in a slot of its own.

The layers and weights are those of transformers' `Qwen2VLTextModel`; the cache, masks, positions and the loop are ours.
A prompt is always read alone and at one length, and decoding always runs over all slots, so that every computation has
the same shape whatever is in the other slots: an answer is the same to the bit, alone or in company.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from schemas.rejection import Reason, Rejected
from worker.engine.cache import PromptCache, SlotCache, cache_keyword, use_slot_attention
from worker.engine.grammar import DEAD, NO, UNDECIDED, YES, Grammar
from worker.model.errors import EngineError
from worker.model.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Decision:
    """The model's own weights at the token that decides: P(yes) of yes or no, and how much of all lay on the two."""

    probability_yes: float
    format_mass: float

    @property
    def finite(self) -> bool:
        """Whether both are numbers: 32 bits can overflow where the model's own sum did not."""
        return math.isfinite(self.probability_yes) and math.isfinite(self.format_mass)


@dataclass(slots=True)
class Decoded:
    """An answer in tokens. `forced` says that the budget ended the reasoning, not the model; one that is not `finite`
    ended early, where the model's numbers no longer were.
    """

    tokens: list[int] = field(default_factory=list)
    decision: Decision | None = None
    forced: bool = False
    finite: bool = True


@dataclass(slots=True)
class _Slot:
    """Where one answer stands. `token` is the next to feed, `position` its index in the cache, `delta` what its rotary
    position is beyond that. A slot without an answer is computed with the others, and nobody reads it.
    """

    state: int
    token: int = 0
    position: int = 0
    delta: int = 0
    answer: Decoded | None = None
    complete: bool = False

    @property
    def open(self) -> bool:
        """Whether the slot has an answer that is not complete."""
        return self.answer is not None and not self.complete


class SlotDecoder:
    """Greedy decoding under a grammar in a fixed number of slots. `model` is a `Qwen2VLForConditionalGeneration`."""

    def __init__(self, model: Any, grammar: Grammar, slots: int, prompt_tokens: int, max_new_tokens: int) -> None:
        self._text: Any = model.model.language_model
        self._cache_keyword = cache_keyword(self._text.forward)
        use_slot_attention(self._text)
        self._head: Any = model.lm_head
        self._device: torch.device = self._head.weight.device
        self._grammar = grammar
        self._table = torch.from_numpy(grammar.table).to(self._device)
        self._max_new_tokens = max_new_tokens
        self._slots = [_Slot(grammar.start) for _ in range(slots)]
        self._cache = SlotCache(self._text.config, slots, prompt_tokens + max_new_tokens, self._head.weight)
        self._deciding: dict[int, tuple[Tensor, Tensor]] = {}

    @torch.inference_mode()
    def check_slots(self) -> None:
        """Feed every slot the same: all must give the same to the bit. The decoder must be idle. Raises EngineError.

        Matrix products take rows in blocks, and a row of an incomplete block can be summed in another order. Measured
        on a CPU in float32: 1 to 4, 8, 12 and 16 slots are alike, 5 to 7 are not.
        """
        count = len(self._slots)
        generator = torch.Generator().manual_seed(0)
        self._cache.fill_with_noise(generator)
        width = self._head.in_features
        embeddings = torch.randn(1, 1, width, generator=generator).expand(count, -1, -1).to(self._head.weight)
        position = self._slot_tensor([self._cache.length // 2] * count)
        hidden = self._forward(
            embeddings, position[None, :, None].expand(3, -1, 1), self._cache, self._cache.at(position)
        )
        logits = self._head(hidden[:, 0])
        if not logits.isfinite().all():
            raise EngineError(
                "The model's output is not finite: its weights, this number type or this machine is not fit. Try "
                "ECG_DTYPE=float32, or copy the model's directory again."
            )
        if not (logits == logits[0]).all():
            raise EngineError(
                f"With {count} slots an answer would depend on its slot on this machine. Set `slots` in ecg-model.json "
                "to a multiple of 4, or to 1."
            )

    @property
    def free(self) -> list[int]:
        """Slots without an answer, lowest first."""
        return [number for number, slot in enumerate(self._slots) if slot.answer is None]

    @torch.inference_mode()
    def admit(self, number: int, prompt: Prompt, image: Tensor) -> None:
        """Read a prompt into a free slot and choose its first token. `image` is [image tokens, hidden].

        Raises Rejected if the numbers are not finite. Whatever is raised, the slot stays free.
        """
        embeddings = self._text.embed_tokens(prompt.ids.to(self._device))
        embeddings[prompt.image_start : prompt.image_start + len(image)] = image.to(embeddings)
        cache = PromptCache()
        # Read causally, so that no token sees the padding behind it.
        hidden = self._forward(embeddings[None], prompt.positions[:, None].to(self._device), cache, None)
        answer = Decoded()
        slot = _Slot(self._grammar.start, position=prompt.length - 1, delta=prompt.delta, answer=answer)
        self._choose([slot], hidden[:, prompt.length - 1])
        if not answer.finite:
            raise Rejected(Reason.ENGINE_NOT_FINITE, "after the prompt", "ask")
        self._cache.fill(number, cache, prompt.length)
        self._slots[number] = slot

    @torch.inference_mode()
    def step(self) -> dict[int, Decoded]:
        """Write one more token of every open answer. Returns the complete answers by slot, and frees their slots.

        An answer whose numbers are no longer finite is complete too: see `Decoded.finite`. Slots share no sum, and so
        the others do not notice.
        """
        if any(slot.open for slot in self._slots):
            position = self._slot_tensor([slot.position for slot in self._slots])
            delta = self._slot_tensor([slot.delta for slot in self._slots])
            token = self._slot_tensor([slot.token for slot in self._slots])
            mask = self._cache.at(position)
            rotary = (position + delta)[None, :, None].expand(3, -1, 1)
            hidden = self._forward(self._text.embed_tokens(token[:, None]), rotary, self._cache, mask)
            self._choose(self._slots, hidden[:, 0])
        finished = {
            number: slot.answer for number, slot in enumerate(self._slots) if slot.answer is not None and slot.complete
        }
        for number in finished:
            self._slots[number] = _Slot(self._grammar.start)
        return finished

    def abandon(self) -> None:
        """Free all slots without an answer."""
        self._slots = [_Slot(self._grammar.start) for _ in self._slots]

    def _forward(self, embeddings: Tensor, positions: Tensor, cache: Any, mask: Tensor | None) -> Tensor:
        """The text model's last hidden states [batch, length, hidden], the mask given so that it makes none."""
        hidden: Tensor = self._text(
            inputs_embeds=embeddings,
            attention_mask={"full_attention": mask},
            position_ids=positions,
            use_cache=True,
            **{self._cache_keyword: cache},
        ).last_hidden_state
        return hidden

    def _choose(self, slots: list[_Slot], hidden: Tensor) -> None:
        """Choose and take the next token of these slots, given the last hidden states [slots, hidden]."""
        begun = [self._state_now(slot) for slot in slots]
        logits = self._head(hidden).float()
        allowed = self._table[self._slot_tensor(begun)]
        token = logits.masked_fill(allowed == DEAD, -math.inf).argmax(-1)
        after = allowed.gather(1, token[:, None])[:, 0]
        finite = logits.isfinite().all(-1)
        chosen = torch.stack([token, after.long(), finite.long()], 1).tolist()  # one transfer to the host
        for row, slot in enumerate(slots):
            if slot.answer is None or slot.complete:
                continue
            token_now, state, is_finite = chosen[row]
            branch = self._grammar.branch
            if is_finite and branch[begun[row]] == UNDECIDED and branch[state] != UNDECIDED:
                slot.answer.decision = self._decide(hidden[row], logits[row], begun[row])
                is_finite = slot.answer.decision.finite
            if not is_finite:
                slot.answer.finite, slot.complete = False, True
                continue
            slot.token = token_now
            slot.answer.tokens.append(token_now)
            slot.answer.forced |= begun[row] != slot.state
            slot.state = state
            slot.position += 1
            slot.complete = state in self._grammar.done or len(slot.answer.tokens) == self._max_new_tokens

    def _state_now(self, slot: _Slot) -> int:
        """The grammar's state, after the budget had its say."""
        written = len(slot.answer.tokens) if slot.answer is not None else 0
        if self._max_new_tokens - written <= self._grammar.reserve:
            return int(self._grammar.closing[slot.state])
        return slot.state

    def _decide(self, hidden: Tensor, logits: Tensor, state: int) -> Decision:
        """Weigh all tokens that enter the yes branch against those that enter no, with no token masked.

        The logits of these few tokens are computed again in float32: one in bfloat16 has steps of up to 0.06.
        """
        if state not in self._deciding:
            branch = torch.from_numpy(self._grammar.branch).to(self._device)[self._table[state].long()]
            self._deciding[state] = ((branch == YES).nonzero()[:, 0], (branch == NO).nonzero()[:, 0])
        yes, no = (
            torch.mv(self._head.weight[tokens].float(), hidden.float()).double().logsumexp(0).item()
            for tokens in self._deciding[state]
        )
        either = max(yes, no) + math.log1p(math.exp(-abs(yes - no)))
        everything = logits.double().logsumexp(0).item()
        # Above 1 only by the rounding of the logits that `everything` is summed from.
        share = either - everything
        return Decision(math.exp(yes - either), 1.0 if share > 0 else math.exp(share))

    def _slot_tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, device=self._device)
