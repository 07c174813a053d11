"""What a log takes at most: the same for both logs, so that what one holds the other can hold too."""

from collections.abc import Iterable, Sequence
from typing import Final

from adapters.log import LogError, Message, Position

# The largest payload a site sends: a long recording as HL7 text with a PDF beside it. (30 s of 12 leads at 1000 Hz are
# 720 KB as DICOM and about 2 MB as HL7 text; a PDF adds a few.)
MAX_VALUE_BYTES: Final = 16 * 1024 * 1024

# Key and headers together. Identifiers and trace context need a few hundred bytes.
MAX_LABEL_BYTES: Final = 64 * 1024

# A position's note. Kafka's default offset.metadata.max.bytes: a larger one would fail the whole transaction.
MAX_METADATA_BYTES: Final = 4096


def check_messages(messages: Sequence[Message]) -> None:
    """Raise LogError if a message is too large to be written."""
    for message in messages:
        labels = len(message.key or b"") + sum(len(name.encode()) + len(value) for name, value in message.headers)
        if len(message.value) > MAX_VALUE_BYTES or labels > MAX_LABEL_BYTES:
            raise LogError(f"a message for {message.topic} is too large: {len(message.value)} and {labels} bytes")


def check_positions(positions: Iterable[Position]) -> None:
    """Raise LogError if a position is none, or its note is too long."""
    for position in positions:
        if position.offset < 0 or len(position.metadata.encode()) > MAX_METADATA_BYTES:
            raise LogError(
                f"no valid position: offset {position.offset}, a note of {len(position.metadata)} characters"
            )
