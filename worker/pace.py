"""How often the loops look, and for how long a group may take to give a new member its partitions."""

from typing import Final

# Short enough that a finished result is committed at once in human terms, long enough not to spin.
POLL_BUSY_S: Final = 0.01
POLL_IDLE_S: Final = 0.2
# Only after this is "no partitions" a kind of idleness.
JOIN_S: Final = 60.0
