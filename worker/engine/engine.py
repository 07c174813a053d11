"""The engine: a model directory, loaded and checked, that answers questions about ECG pictures.

It has no thread of its own and belongs to one: `admit` puts a question into a free slot, `step` writes a token of every
open answer and returns those that are complete. `scheduler.py` runs it in a thread; `answer` is for everyone else. Both
put a fence around it: one question that fails is that question's `Rejected` and nobody else's.
"""

import gc
import math
import os
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import onnxruntime
import torch
import transformers

from schemas.rejection import Reason, Rejected
from worker.engine.decoder import Decoded, SlotDecoder
from worker.engine.fence import Fence, Outcome
from worker.engine.grammar import answer_grammar, least_tokens, reasoning_and_answer, token_bytes
from worker.engine.question import Answer, Question
from worker.engine.vision import OrtVisionEncoder, Provider, TorchVisionEncoder, VisionEncoder, check_golden
from worker.model.bundle import ModelBundle
from worker.model.errors import BundleError, EngineError
from worker.model.facts import PromptFacts
from worker.model.huggingface import convert, load_model
from worker.model.prompt import Prompt, PromptBuilder
from worker.model.tower import VisionTower

Dtype = Literal["float32", "bfloat16"]
_CUDNN: Any = torch.backends.cudnn  # not typed
_DTYPES: Final[dict[Dtype, torch.dtype]] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """How the model is computed. Equal descriptions of equal bundles promise equal answers; nothing less does.

    `vision` is what runs the vision tower (always in float32), `dtype` the decoder's number type; `shapes` the fixed
    sizes of every computation; `versions` the libraries, and what they run on.
    """

    provider: Provider
    dtype: Dtype
    vision: str
    shapes: dict[str, int]
    versions: dict[str, str]


class Engine:
    """Answers questions with one model. Made by `load`; is not thread-safe."""

    def __init__(
        self, bundle: ModelBundle, decoder: SlotDecoder, vision: VisionEncoder, description: EngineDescription
    ) -> None:
        self.bundle = bundle
        self.description = description
        self._decoder = decoder
        self._vision = vision
        self._prompts = PromptBuilder(bundle)
        self._vocabulary = token_bytes(bundle.tokenizer)
        self._work: dict[int, tuple[Hashable, bool]] = {}

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        provider: Provider = "cpu",
        dtype: Dtype = "float32",
        threads: int | None = None,
        slots: int | None = None,
    ) -> "Engine":
        """Load a model directory for exactly this provider.

        `threads` bounds the CPU threads; None leaves them as they are. `slots` is how many answers are written at once;
        None takes the bundle's number, which is what the worker serves.

        Raises BundleError if the directory is not fit, EngineError if this machine is not.
        """
        _prepare_torch(provider, threads)
        bundle = ModelBundle.load(directory)
        settings = bundle.manifest
        grammar = answer_grammar(token_bytes(bundle.tokenizer), bundle.config.text_config.vocab_size)
        if settings.max_new_tokens < least_tokens(grammar):
            raise BundleError(f"max_new_tokens is {settings.max_new_tokens}; set at least {least_tokens(grammar)}.")
        model = load_model(directory)
        vision = _load_vision(bundle, model, provider, threads)
        # The tower is in `vision` now; a second copy of it would only take memory.
        del model.model.visual
        convert(model, _DTYPES[dtype], _device(provider))
        slots = slots or settings.slots
        decoder = SlotDecoder(model, grammar, slots, settings.prompt_tokens, settings.max_new_tokens)
        decoder.check_slots()
        return cls(bundle, decoder, vision, _describe(bundle, vision, provider, dtype, slots))

    @property
    def free(self) -> int:
        """How many questions can be admitted now."""
        return len(self._decoder.free)

    @property
    def busy(self) -> bool:
        """Whether any answer is open."""
        return bool(self._work)

    def admit(self, tag: Hashable, question: Question) -> None:
        """Put a question into a free slot; its answer will come from `step` with this tag.

        Raises Rejected if the question cannot be answered, EngineError if no question like it can be. Whatever is
        raised, the slot stays free and the others are as they were.
        """
        layout = self.bundle.manifest.layout
        if question.image.shape != (layout.height_px, layout.width_px, 3) or question.image.dtype != "uint8":
            raise EngineError(f"The picture is not uint8 {layout.height_px} x {layout.width_px} x 3.")
        if not self._decoder.free:
            raise EngineError("Every slot is taken.")
        slot = self._decoder.free[0]
        prompt = self._prompt(question.facts)
        image = self._vision.encode(question.image)
        if not bool(image.isfinite().all()):
            raise Rejected(Reason.ENGINE_NOT_FINITE, "the picture's embeddings", "ask")
        self._decoder.admit(slot, prompt, image)
        self._work[slot] = (tag, prompt.truncated)

    def step(self) -> list[tuple[Hashable, Outcome]]:
        """Write one token of every open answer; returns with their tags those that are complete or cannot become so."""
        finished: list[tuple[Hashable, Outcome]] = []
        for slot, decoded in self._decoder.step().items():
            tag, truncated = self._work.pop(slot)
            try:
                finished.append((tag, self._answer(decoded, truncated)))
            except Rejected as rejected:
                finished.append((tag, rejected))
        return finished

    def abandon(self) -> None:
        """Forget every open answer."""
        self._work.clear()
        self._decoder.abandon()

    def release(self) -> None:
        """Give back what memory can be given back. Raises if the device no longer computes."""
        gc.collect()  # what an exception's frames held may hang in a circle
        if self.description.provider == "cuda":
            # An error of the kind that ends a CUDA context is told again by every later call.
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer all questions, in their order. The engine must be idle, and is so again.

        Raises Rejected for the first question that cannot be answered, EngineError if none can be.
        """
        if self.busy:
            raise EngineError("The engine is at work.")
        fence, waiting = Fence(self), deque(enumerate(questions))
        outcomes: dict[Hashable, Outcome] = {}
        while waiting or fence.busy:
            while waiting and fence.free:
                fence.admit(*waiting.popleft())
            outcomes.update(fence.step())
        answers = []
        for number in range(len(questions)):
            if isinstance(outcome := outcomes[number], Rejected):
                raise outcome
            answers.append(outcome)
        return answers

    def _prompt(self, facts: PromptFacts) -> Prompt:
        """The prompt. Raises Rejected: what goes wrong here is the record's own, before anything is computed."""
        try:
            return self._prompts.build(facts)
        except (Rejected, MemoryError):
            raise
        except Exception as error:
            raise Rejected(Reason.INTERNAL, type(error).__name__, "ask") from error

    def _answer(self, decoded: Decoded, truncated: bool) -> Answer:
        """What was decoded, for people. Raises Rejected."""
        if not decoded.finite:
            raise Rejected(Reason.ENGINE_NOT_FINITE, f"after {len(decoded.tokens)} tokens of the answer", "ask")
        written = b"".join(self._vocabulary[token] or b"" for token in decoded.tokens).decode()
        text, yes = reasoning_and_answer(written)
        if decoded.decision is None:
            raise Rejected(Reason.ENGINE_TOO_LONG, "the answer ended without a decision", "ask")
        raw = decoded.decision.probability_yes
        calibrated = self.bundle.manifest.calibration.apply(raw)
        if not math.isfinite(calibrated):
            raise Rejected(Reason.ENGINE_NOT_FINITE, "the probability, calibrated", "ask")
        return Answer(
            text=text,
            yes=yes,
            probability_yes=calibrated,
            raw_probability_yes=raw,
            format_mass=decoded.decision.format_mass,
            forced=decoded.forced,
            truncated_context=truncated,
            tokens=len(decoded.tokens),
        )


def _prepare_torch(provider: Provider, threads: int | None) -> None:
    """Settings of this process that keep results the same from run to run. Raises EngineError without a CUDA device."""
    if threads is not None:
        torch.set_num_threads(threads)
    if provider == "cpu":
        return
    if not torch.cuda.is_available():
        raise EngineError("torch sees no CUDA device. Check the driver, or set ECG_PROVIDER=cpu.")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with a fixed workspace
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False


def _device(provider: Provider) -> torch.device:
    return torch.device("cuda", 0) if provider == "cuda" else torch.device("cpu")


def _load_vision(bundle: ModelBundle, model: Any, provider: Provider, threads: int | None) -> VisionEncoder:
    """The exported tower if the bundle has one, checked against torch; else the tower in torch."""
    tower = VisionTower.from_model(model.model.visual, bundle.preprocessing, bundle.grid)
    settings = bundle.manifest
    if settings.vision_onnx is None:
        return TorchVisionEncoder(tower, _device(provider))
    encoder = OrtVisionEncoder(bundle.directory / settings.vision_onnx, provider, threads)
    check_golden(encoder, tower, settings.layout.height_px, settings.layout.width_px)
    return encoder


def _describe(
    bundle: ModelBundle, vision: VisionEncoder, provider: Provider, dtype: Dtype, slots: int
) -> EngineDescription:
    settings = bundle.manifest
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "onnxruntime": onnxruntime.__version__,
        # How sums are split over threads and vector lanes changes their last bits.
        "cpu": f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads",
    }
    if provider == "cuda":
        versions["gpu"] = torch.cuda.get_device_name(0)
        versions["cuda"] = str(torch.version.cuda)
        versions["cudnn"] = str(_CUDNN.version())
    return EngineDescription(
        provider=provider,
        dtype=dtype,
        vision=vision.name,
        shapes={
            "image_width_px": settings.layout.width_px,
            "image_height_px": settings.layout.height_px,
            "image_tokens": bundle.grid.tokens,
            "prompt_tokens": settings.prompt_tokens,
            "max_new_tokens": settings.max_new_tokens,
            "slots": slots,
        },
        versions=versions,
    )
