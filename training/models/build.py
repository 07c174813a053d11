"""Model directories made here: the architecture of ECG-R1 in any size, with a tokenizer learned from given texts.

`build_untrained` makes the smallest useful one, with random weights: every part of the engine runs on it as on the real
model, and its answers mean nothing. The demo model is made of the same pieces and then trained.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from worker.model.bundle import Preprocessing
from worker.model.export import export_vision
from worker.model.manifest import (
    IdentityCalibration,
    LayoutSettings,
    ModelSettings,
    PromptSettings,
    write_manifest,
)

END_OF_TURN: Final = "<|im_end|>"
PADDING: Final = "<|endoftext|>"
SPECIAL_TOKENS: Final = (
    PADDING,
    "<|im_start|>",
    END_OF_TURN,
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TAGS: Final = ("<think>", "</think>", "<answer>", "</answer>")

QUESTION: Final = (
    "The ECG shows T-wave inversion. Is it caused by myocardial ischemia? Reason about the leads between <think> and "
    "</think>, then give yes or no between <answer> and </answer>."
)
SYSTEM: Final = "You are a cardiologist who reads 12-lead ECGs."

# How Qwen2 splits text before merging: contractions, words with the sign before them, single digits, signs, blanks.
_SPLIT: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# The ChatML form that Qwen2-VL was trained with.
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_CORPUS: Final = (
    "Sinus rhythm, rate 75. QRS narrow, voltage normal. ST depressed in V4 V5 V6. T waves: I upright, V2 inverted.",
    "T wave inversion in V1 V2 V3, deep and symmetric: anterior ischemia. Context: chest pain, troponin raised.",
    "Left bundle branch block, QRS wide. T wave inversion in I aVL V5 V6 is secondary. No acute ischemic changes.",
    "Left ventricular hypertrophy with strain: asymmetric inversion in lateral leads. Right bundle branch block.",
    "Inferior leads II III aVF show inverted T waves. Juvenile pattern. The QT interval is prolonged, axis normal.",
    "Age: 63 years. Sex: female. Clinical information: chest pain for 2 hours, diabetes, hypertension, not provided.",
    f"system user assistant {SYSTEM} {QUESTION}",
)


# The parts of transformers that are not typed.
_TOKENIZER: Any = PreTrainedTokenizerFast
_MODEL: Any = Qwen2VLForConditionalGeneration


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Sizes of both towers. The text head must be a multiple of 16 wide, the vision head of 4."""

    vision_width: int = 64
    vision_layers: int = 2
    vision_heads: int = 2
    text_width: int = 96
    text_layers: int = 2
    text_heads: int = 3
    text_kv_heads: int = 1
    text_hidden: int = 192
    vocabulary: int = 480
    tied_embeddings: bool = False
    initializer_range: float = 0.02
    text_rope_theta: float = 1_000_000.0
    vision_rope_theta: float = 10_000.0


def build_untrained(
    directory: Path,
    *,
    width_px: int = 448,
    height_px: int = 336,
    dimensions: Dimensions | None = None,
    seed: int = 0,
    layout: str = "3x4+II",
    context_tokens: int = 160,
    max_new_tokens: int = 64,
    slots: int = 4,
) -> Path:
    """Make a complete model directory with random weights, the same for the same arguments, and return it.

    The image is `width_px` x `height_px`, multiples of 28; `context_tokens` is what the prompt has beside the image.
    """
    tokenizer = build_tokenizer(_CORPUS * 4, (dimensions or Dimensions()).vocabulary)
    model = build_model(tokenizer, dimensions or Dimensions(), seed)
    _enliven(model, seed)
    settings = ModelSettings(
        name="untrained",
        training="untrained",
        layout=LayoutSettings(
            name=layout, width_px=width_px, height_px=height_px, speed_mm_per_s=25, gain_mm_per_mv=10
        ),
        prompt=PromptSettings(system=SYSTEM, question=QUESTION),
        prompt_tokens=(width_px // 28) * (height_px // 28) + context_tokens,
        max_new_tokens=max_new_tokens,
        slots=slots,
        threshold=0.5,
        calibration=IdentityCalibration(),
        vision_onnx=None,
    )
    save_bundle(directory, model, tokenizer, settings)
    return directory


def save_bundle(
    directory: Path, model: Any, tokenizer: Any, settings: ModelSettings, preprocessing: Preprocessing | None = None
) -> None:
    """Write model, tokenizer, image processor, manifest and the exported vision tower into an empty directory."""
    pre = preprocessing or Preprocessing()
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    # Written by hand: transformers' own image processor needs Pillow, which nothing else here does.
    processor = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "size": dict(zip(("shortest_edge", "longest_edge"), pre.pixel_range, strict=True)),
        "image_mean": pre.image_mean,
        "image_std": pre.image_std,
        "patch_size": pre.patch_size,
        "merge_size": pre.merge_size,
        "temporal_patch_size": pre.temporal_patch_size,
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n", encoding="utf-8")
    for file in directory.iterdir():
        file.chmod(0o644)  # safetensors leaves its file to its owner alone; a container reads it as another user
    write_manifest(directory, settings.model_copy(update={"vision_onnx": None}))
    export_vision(directory)


def build_tokenizer(texts: Iterable[str], vocabulary: int, *, tag_tokens: bool = True) -> Any:
    """A byte-level BPE with Qwen2's way of splitting, learned from `texts`; every text can be encoded.

    `vocabulary` counts the bytes and the merges, not the special tokens. With `tag_tokens`, the answer's tags are added
    tokens; plain ones, so that decoding keeps them.
    """
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = _TOKENIZER(
        tokenizer_object=bpe,
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        additional_special_tokens=list(SPECIAL_TOKENS),
        clean_up_tokenization_spaces=False,
    )
    if tag_tokens:
        tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(tokenizer: Any, dimensions: Dimensions, seed: int) -> Any:
    """A `Qwen2VLForConditionalGeneration` with random weights, the same for the same seed; the caller's RNG is kept."""
    token = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL_TOKENS}
    quarter = dimensions.text_width // dimensions.text_heads // 8
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": dimensions.text_width,
            "intermediate_size": dimensions.text_hidden,
            "num_hidden_layers": dimensions.text_layers,
            "num_attention_heads": dimensions.text_heads,
            "num_key_value_heads": dimensions.text_kv_heads,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6,
            # A quarter of each head's angles for time, three eighths each for height and width, as in Qwen2-VL.
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": dimensions.text_rope_theta,
                "mrope_section": [quarter, quarter * 3 // 2, quarter * 3 // 2],
            },
            "initializer_range": dimensions.initializer_range,
            "tie_word_embeddings": dimensions.tied_embeddings,
            "bos_token_id": None,
            "eos_token_id": token[END_OF_TURN],
            "pad_token_id": token[PADDING],
        },
        vision_config={
            "depth": dimensions.vision_layers,
            "embed_dim": dimensions.vision_width,
            "num_heads": dimensions.vision_heads,
            "hidden_size": dimensions.text_width,
            "initializer_range": dimensions.initializer_range,
            "rope_parameters": {"rope_type": "axial", "rope_theta": dimensions.vision_rope_theta},
        },
        image_token_id=token["<|image_pad|>"],
        video_token_id=token["<|video_pad|>"],
        vision_start_token_id=token["<|vision_start|>"],
        vision_end_token_id=token["<|vision_end|>"],
        tie_word_embeddings=dimensions.tied_embeddings,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _MODEL(config).eval()
    generation = model.generation_config
    generation.do_sample = False
    generation.eos_token_id = token[END_OF_TURN]
    generation.pad_token_id = token[PADDING]
    return model


def _enliven(model: Any, seed: int) -> None:
    """Scale the random weights so that what is written depends on the picture and the text.

    At their usual size all layers together change the hidden state so little that one token is repeated for ever.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.model.language_model.embed_tokens.weight.normal_(generator=generator)
        model.lm_head.weight.normal_(std=0.05, generator=generator)
        for layers in (model.model.language_model.layers, model.model.visual):
            for weight in layers.parameters():
                if weight.ndim >= 2:
                    weight.mul_(4.0)
