"""The processor that TRL wants beside a vision-language model, made of a bundle's own tokenizer and pixels."""

from typing import Any

from transformers import Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen2VLVideoProcessor

from worker.model.bundle import ModelBundle


def processor_of(bundle: ModelBundle) -> Any:
    """A `Qwen2VLProcessor` that gives the worker's own token ids and leaves pictures of the bundle's size as they are.

    Prompts are padded on the left: on the right, positions of pictures go wrong as soon as prompts differ in length.
    """
    pre = bundle.preprocessing
    least, most = pre.pixel_range
    tokenizer = bundle.tokenizer
    tokenizer.padding_side = "left"
    images: Any = Qwen2VLImageProcessor
    processor: Any = Qwen2VLProcessor
    return processor(
        image_processor=images(
            size={"shortest_edge": least, "longest_edge": most},
            image_mean=list(pre.image_mean),
            image_std=list(pre.image_std),
            patch_size=pre.patch_size,
            merge_size=pre.merge_size,
            temporal_patch_size=pre.temporal_patch_size,
        ),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),  # required, never used
        chat_template=tokenizer.chat_template,
    )
