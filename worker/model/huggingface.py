"""The one place that loads Hugging Face files: from a local directory only, offline, and without running its code."""

import os

# Read by huggingface_hub when it is first imported: no request leaves this process, whatever a directory asks for.
os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.utils import logging

from worker.model.errors import BundleError

# The parts of transformers that are not typed.
_MODEL: Any = Qwen2VLForConditionalGeneration
_LOGGING: Any = logging

_LOGGING.disable_progress_bar()  # loading is a matter of seconds, and a service's log is no terminal


def load_config(directory: Path) -> Any:
    """The `Qwen2VLConfig` of a directory. Raises BundleError."""
    try:
        return Qwen2VLConfig.from_pretrained(directory, local_files_only=True)
    except Exception as error:
        raise BundleError(f"{directory / 'config.json'} cannot be read ({type(error).__name__}).") from error


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a directory. Raises BundleError."""
    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise BundleError(f"The tokenizer in {directory} cannot be loaded ({type(error).__name__}).") from error


def load_model(directory: Path) -> Any:
    """The whole model, on the CPU, for inference, in the number type it was saved in.

    Raises BundleError unless every weight came from the directory.
    """
    try:
        model, report = _MODEL.from_pretrained(
            directory, local_files_only=True, use_safetensors=True, dtype="auto", output_loading_info=True
        )
    except Exception as error:
        raise BundleError(f"The weights in {directory} cannot be loaded ({type(error).__name__}).") from error
    # transformers only warns and goes on with random numbers.
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys", "error_msgs"):
        if report.get(problem):
            raise BundleError(
                f"The weights in {directory} do not fit its config.json ({len(report[problem])} {problem})."
            )
    return model.eval().requires_grad_(False)


def convert(model: Any, dtype: torch.dtype, device: torch.device) -> None:
    """Bring a model's weights to a number type and a device. Its rotary frequencies stay in float32, as they must."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.to(device)
