"""Which weights learn: all of them, or adapters of low rank (LoRA) on the language model, for smaller GPUs."""

from typing import Any, Final

from peft import LoraConfig, PeftModel, get_peft_model

# Attention and perceptron of the language model; the vision tower is left as it is.
_ADAPTED: Final = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
_ALPHA_BY_RANK: Final = 2
_DROPOUT: Final = 0.05


def learner(model: Any, rank: int, vision_rate: float) -> Any:
    """The model made ready to learn: with adapters of this rank, or with all weights if the rank is 0.

    The vision tower learns only with all weights, and with a rate above 0.
    """
    if rank:
        adapters = LoraConfig(r=rank, lora_alpha=_ALPHA_BY_RANK * rank, lora_dropout=_DROPOUT, target_modules=_ADAPTED)
        return get_peft_model(model, adapters)
    model.requires_grad_(True)
    if not vision_rate:
        vision_tower(model).requires_grad_(False)
    return model


def merged(model: Any) -> Any:
    """The model as it is served: adapters worked into the weights, nothing left to learn."""
    whole = model.merge_and_unload() if isinstance(model, PeftModel) else model
    return whole.eval().requires_grad_(False)


def vision_tower(model: Any) -> Any:
    """The vision tower of a model with or without adapters."""
    return (model.get_base_model() if isinstance(model, PeftModel) else model).model.visual
