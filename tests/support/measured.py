"""What a waveform may have shown, in numbers of a test's own choice."""

from schemas.ecg import LEADS
from schemas.finding import LeadMeasurements, Measurements, Quality
from worker.waveform.measure import Measured


def measured(
    t_mv: dict[str, float | None], *, symmetry: float = 1.0, st_mv: float = 0.0, qrs_ms: float = 90.0,
    sokolow_lyon_mv: float = 2.0, qtc_ms: float = 420.0, biphasic: tuple[str, ...] = (),
) -> Measured:  # fmt: skip
    depths = {lead: t_mv.get(lead, 0.3) for lead in LEADS}
    leads = {
        lead: LeadMeasurements(t_mv=depth, st_mv=st_mv, r_mv=1.0, s_mv=-0.5, t_symmetry=symmetry)
        for lead, depth in depths.items()
    }
    numbers = Measurements(
        heart_rate_bpm=70.0, pr_ms=160.0, qrs_ms=qrs_ms, qt_ms=390.0, qtc_ms=qtc_ms, axis_deg=40.0,
        sokolow_lyon_mv=sokolow_lyon_mv, leads=leads,
        t_wave_inversion=tuple(lead for lead, depth in depths.items() if depth is not None and depth <= -0.1),
    )  # fmt: skip
    return Measured(numbers, Quality(usable=True, flags=()), biphasic)
