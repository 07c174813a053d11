"""Which weights learn: all of them, or adapters of low rank (LoRA) on the language model, for smaller GPUs."""

from typing import Any, Final

from peft import LoraConfig, PeftModel, get_peft_model

from training.methods.run_directory import RunError

# Attention and perceptron of the language model; the vision tower is left as it is.
_ADAPTED: Final = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
_SERVED: Final = ("model.", "lm_head.")  # what a served model's weights begin with, in its own names
_ALPHA_BY_RANK: Final = 2
_DROPOUT: Final = 0.05


def trainable(model: Any, rank: int, vision_rate: float) -> Any:
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


def restore(model: Any, checkpoint: str | None) -> None:
    """Put a checkpoint's weights into the model, in place; without a checkpoint, nothing. Raises RunError.

    The trainer does this too when it resumes, but by the names in the file, which are not those in the model: it warns,
    leaves the vision tower and the layers as they were, and goes on. Adapters it restores rightly.
    """
    if checkpoint is None or isinstance(model, PeftModel):
        return
    kept, report = type(model).from_pretrained(checkpoint, output_loading_info=True)
    weights = kept.state_dict()
    lacking = [name for name in model.state_dict() if name.startswith(_SERVED) and name not in weights]
    if report["missing_keys"] or report["mismatched_keys"] or lacking:
        raise RunError(f"{checkpoint} does not hold this model. Choose another run directory.")
    model.load_state_dict(weights, strict=False)  # heads that learn beside the model are not in `kept`


def vision_tower(model: Any) -> Any:
    """The vision tower of a model with or without adapters."""
    return (model.get_base_model() if isinstance(model, PeftModel) else model).model.visual
