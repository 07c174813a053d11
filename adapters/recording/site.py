"""What a site has agreed on and its messages do not say: the zone of local times, the character set of bare text."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from schemas.finding import QualityFlag

ZONE_ASSUMED: Final = QualityFlag(lead=None, problem="time_zone_assumed")


@dataclass(frozen=True, slots=True)
class SiteDefaults:
    """Defaults for what a record leaves out. `charset` is a Python codec name, or None for UTF-8 only."""

    zone: ZoneInfo = ZoneInfo("UTC")
    charset: str | None = None

    def localise(self, moment: datetime) -> tuple[datetime, tuple[QualityFlag, ...]]:
        """The moment with a zone: its own, or the site's and a note that says so."""
        if moment.tzinfo is not None:
            return moment, ()
        return moment.replace(tzinfo=self.zone), (ZONE_ASSUMED,)
