"""Teaching the eye: what the vision tower's tokens over one lead's cell must tell of that lead.

A language model that is trained from nothing guesses each lead from its neighbours long before it looks at the picture.
Heads that see only the tokens of one cell cannot. They are thrown away after training; a pretrained model needs none.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.finding import LeadMeasurements
from training.data.example import Example
from training.data.reasoning import PATTERNS, READ_LEADS, t_waves
from worker.model.bundle import Grid
from worker.picture.layout import Layout, cells
from worker.waveform.measure import INVERSION_MV

STATES: Final = ("upright", "flat", "inverted", "deeply inverted", "biphasic", "unreadable")
_ENTITIES: Final = tuple(PATTERNS)
_HIDDEN: Final = 128

# What is read off each lead, and the factor that brings it to about 1.
_AMPLITUDES: Final = {"t_mv": 3.0, "st_mv": 8.0, "r_mv": 1.0, "s_mv": 1.0}
_OUTLIER: Final = 2.0  # farther values pull no harder: a T of 1.5 mV matters no more than one of 0.7
_QRS_CENTRE_MS, _QRS_SCALE_MS = 110.0, 30.0
_QTC_CENTRE_MS, _QTC_SCALE_MS = 440.0, 40.0
_WEIGHTS: Final = {"state": 1.0, "amplitude": 1.0, "symmetry": 0.5, "interval": 0.5, "entity": 0.5}


class LeadReading(nn.Module):
    """Heads over the merged vision tokens of each lead's cell. `forward` takes [pictures, tokens, width]."""

    cell: Tensor

    def __init__(self, width: int, layout: Layout, grid: Grid) -> None:
        super().__init__()
        self.register_buffer("cell", cell_tokens(layout, grid), persistent=False)
        self.trunk = nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, _HIDDEN), nn.GELU())
        self.state = nn.Linear(_HIDDEN, len(STATES))
        self.amplitude = nn.Linear(_HIDDEN, len(_AMPLITUDES))
        self.symmetry = nn.Linear(_HIDDEN, 1)
        self.whole = nn.Sequential(nn.Linear(_HIDDEN, _HIDDEN), nn.GELU())
        self.interval = nn.Linear(_HIDDEN, 2)
        self.entity = nn.Linear(_HIDDEN, len(_ENTITIES))

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """What the heads read: by lead, and of the whole picture."""
        mean = torch.einsum("lt,btw->blw", self.cell / self.cell.sum(1, keepdim=True), tokens)
        outside = (self.cell < 0.25)[None, :, :, None]
        most = tokens[:, None].masked_fill(outside, -torch.inf).amax(2)
        leads = self.trunk(torch.cat([mean, most], -1))
        whole = self.whole(leads.mean(1))
        return {
            "state": self.state(leads),
            "amplitude": self.amplitude(leads),
            "symmetry": self.symmetry(leads)[..., 0],
            "interval": self.interval(whole),
            "entity": self.entity(whole),
        }


def cell_tokens(layout: Layout, grid: Grid) -> Tensor:
    """How much of each token lies in the cell of each of `READ_LEADS`: float [leads, tokens], 0 to 1.

    A lead that is drawn twice, as a rhythm strip, is read where it is drawn first.
    """
    rows, columns = grid.rows // grid.merge, grid.columns // grid.merge
    token_mm = layout.width_px / layout.px_per_mm / columns
    down = torch.arange(rows, dtype=torch.float32) * token_mm
    across = torch.arange(columns, dtype=torch.float32) * token_mm
    by_lead = {cell.lead: cell for cell in reversed(cells(layout))}
    shares = []
    for lead in READ_LEADS:
        cell = by_lead[lead]
        top, bottom = cell.baseline_mm - layout.pitch_mm / 2, cell.baseline_mm + layout.pitch_mm / 2
        height = (torch.clamp(down + token_mm, max=bottom) - torch.clamp(down, min=top)).clamp(min=0) / token_mm
        right = cell.left_mm + cell.width_mm
        width = (torch.clamp(across + token_mm, max=right) - torch.clamp(across, min=cell.left_mm)).clamp(min=0)
        shares.append((height[:, None] * width[None] / token_mm).flatten())
    return torch.stack(shares)


def reading_targets(examples: Sequence[Example]) -> dict[str, Tensor]:
    """What is there to read. NaN where it could not be measured, -1 where it is not known."""
    states = [[STATES.index(state) for state in t_waves(example.measured).values()] for example in examples]
    amplitudes = [
        [_scaled(example.measured.measurements.leads.get(lead)) for lead in READ_LEADS] for example in examples
    ]
    symmetry = [
        [_symmetric(example.measured.measurements.leads.get(lead)) for lead in READ_LEADS] for example in examples
    ]
    intervals = [
        (
            _or_nan(example.measured.measurements.qrs_ms, _QRS_CENTRE_MS, _QRS_SCALE_MS),
            _or_nan(example.measured.measurements.qtc_ms, _QTC_CENTRE_MS, _QTC_SCALE_MS),
        )
        for example in examples
    ]
    entities = [-1 if example.entity is None else _ENTITIES.index(example.entity) for example in examples]
    return {
        "state": torch.tensor(states),
        "amplitude": torch.tensor(amplitudes).clamp(-_OUTLIER, _OUTLIER),
        "symmetry": torch.tensor(symmetry),
        "interval": torch.tensor(intervals),
        "entity": torch.tensor(entities),
    }


def reading_loss(read: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    """How far the heads are from what is there to read; unknown values count for nothing."""
    losses = {
        "state": functional.cross_entropy(read["state"].flatten(0, 1), targets["state"].flatten()),
        "amplitude": _distance(read["amplitude"], targets["amplitude"]),
        "symmetry": _distance(read["symmetry"], targets["symmetry"]),
        "interval": _distance(read["interval"], targets["interval"]),
        "entity": functional.cross_entropy(read["entity"], targets["entity"], ignore_index=-1)
        if (targets["entity"] >= 0).any()
        else read["entity"].sum() * 0,
    }
    return torch.stack([_WEIGHTS[name] * loss for name, loss in losses.items()]).sum()


def states_right(read: dict[str, Tensor], targets: dict[str, Tensor]) -> float:
    """The share of leads whose T wave is named rightly."""
    return float((read["state"].argmax(-1) == targets["state"]).float().mean())


def _distance(read: Tensor, wanted: Tensor) -> Tensor:
    known = wanted.isfinite()
    apart = functional.smooth_l1_loss(read, wanted.nan_to_num(), beta=0.1, reduction="none")
    return (apart * known).sum() / known.sum().clamp(min=1)


def _scaled(lead: LeadMeasurements | None) -> list[float]:
    values = [None if lead is None else value for value in _values(lead)]
    return [
        float("nan") if value is None else value * scale
        for value, scale in zip(values, _AMPLITUDES.values(), strict=True)
    ]


def _values(lead: LeadMeasurements | None) -> list[float | None]:
    if lead is None:
        return [None] * len(_AMPLITUDES)
    return [lead.t_mv, lead.st_mv, lead.r_mv, lead.s_mv]


def _symmetric(lead: LeadMeasurements | None) -> float:
    """Log of the ratio of the halves, where the T wave is inverted."""
    if lead is None or lead.t_symmetry is None or lead.t_mv is None or lead.t_mv > INVERSION_MV:
        return float("nan")
    return float(torch.tensor(lead.t_symmetry).log().clamp(-1, 1))


def _or_nan(value: float | None, centre: float, scale: float) -> float:
    return float("nan") if value is None else (value - centre) / scale
