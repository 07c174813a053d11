"""From decoded channels to an `Ecg`: the checks that every inbound format has to pass, in one place.

They are cheap and catch what decoders get wrong without noticing: unit, byte order, channel order, missing leads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adapters.recording.texts import check_clinical_texts, check_identifiers, usable_device
from schemas.ecg import INDEPENDENT_LEADS, LEADS, Ecg, Filters, Order, Patient
from schemas.finding import QualityFlag
from schemas.rejection import Reason, Rejected

# Dates of the years before and after lose digits where they are written and overflow where a zone or a day is added;
# 9999-12-31 is how some senders write "no date".
CALENDAR_YEARS: Final = (1000, 9998)
# A resting ECG is 10 s long; 8 s is the least from which carts still print 3x4 with a rhythm strip, and what is longer
# than 30 s is a monitoring strip, where "the" T wave has no single answer.
DURATION_S: Final = (8.0, 30.0)
# AHA/ACCF/HRS 2007 I asks for 500 samples/s; 240 is the slowest that carts in use export, 2000 the fastest.
SAMPLING_HZ: Final = (240.0, 2000.0)
# No surface ECG reaches 20 mV beside its electrode offset; byte-order and unit errors land beyond it.
AMPLITUDE_LIMIT_UV: Final = 20_000.0
# Einthoven's law holds exactly for recorded limb leads but for rounding and the cart's filters: 50 µV is far above
# that and far below what a swapped or mis-scaled channel leaves.
EINTHOVEN_LIMIT_UV: Final = 50.0


@dataclass(frozen=True, slots=True)
class Identity:
    """What a record says about whose ECG it is, when it was taken and who asked for it."""

    format: str
    message_id: str | None
    patient: Patient
    acquired_at: datetime
    order: Order = Order()
    device: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """What a record says about the signal: channels in microvolts by standard lead name, all of one length.

    NaN marks padding. `notes` are what had to be assumed or left out to read it.
    """

    channels_uv: Mapping[str, NDArray[np.floating]]
    sampling_hz: float
    filters: Filters = Filters()
    notes: tuple[QualityFlag, ...] = ()


def assemble(identity: Identity, waveform: Waveform, notes: tuple[QualityFlag, ...] = ()) -> Ecg:
    """Build an `Ecg` whose leads stand in the order of `LEADS`.

    Leads III, aVR, aVL and aVF are computed if they are missing, and named in `derived_leads`. `notes` are those of the
    identity; the waveform's own are added. Raises Rejected with an `ecg.*` code if the recording cannot be a diagnostic
    resting ECG, or its identity cannot be used.
    """
    check_identifiers(identity.message_id, identity.patient, identity.order)
    check_clinical_texts(identity.order.clinical_texts)
    if not CALENDAR_YEARS[0] <= identity.acquired_at.year <= CALENDAR_YEARS[1]:
        raise Rejected(Reason.ECG_NO_TIME, "outside the years 1000 to 9998")
    device, device_notes = usable_device(identity.device)
    channels_uv, sampling_hz = waveform.channels_uv, waveform.sampling_hz
    if not SAMPLING_HZ[0] <= sampling_hz <= SAMPLING_HZ[1]:
        raise Rejected(Reason.ECG_SAMPLING, "outside 240 to 2000 Hz")
    missing = [lead for lead in INDEPENDENT_LEADS if lead not in channels_uv]
    if missing:
        raise Rejected(Reason.ECG_LEADS, f"missing {' '.join(missing)}")
    lengths = {channel.shape[0] for channel in channels_uv.values()}
    if len(lengths) != 1:
        raise Rejected(Reason.ECG_LEADS, "leads of different length")
    duration_s = lengths.pop() / sampling_hz
    if duration_s < DURATION_S[0]:
        raise Rejected(Reason.ECG_TOO_SHORT, "under 8 s")
    if duration_s > DURATION_S[1]:
        raise Rejected(Reason.ECG_TOO_LONG, "over 30 s")

    limb = _derived_limb_leads(channels_uv["I"], channels_uv["II"])
    derived = tuple(lead for lead in LEADS if lead in limb and lead not in channels_uv)
    complete = {**limb, **channels_uv}
    samples_uv = np.stack([complete[lead] for lead in LEADS]).astype(np.float32)
    _check_amplitudes(samples_uv)
    _check_limb_leads(complete, limb)
    samples_uv.setflags(write=False)
    return Ecg(
        format=identity.format,
        message_id=identity.message_id,
        leads=LEADS,
        samples_uv=samples_uv,
        sampling_hz=float(sampling_hz),
        acquired_at=identity.acquired_at,
        patient=identity.patient,
        order=identity.order,
        derived_leads=derived,
        filters=waveform.filters,
        device=device,
        notes=notes + device_notes + waveform.notes,
    )


def _derived_limb_leads(i_uv: NDArray[np.floating], ii_uv: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
    """Einthoven's and Goldberger's equations."""
    return {"III": ii_uv - i_uv, "aVR": -(i_uv + ii_uv) / 2, "aVL": i_uv - ii_uv / 2, "aVF": ii_uv - i_uv / 2}


def _check_amplitudes(samples_uv: NDArray[np.float32]) -> None:
    if np.isinf(samples_uv).any():
        raise Rejected(Reason.ECG_AMPLITUDE, "infinite samples")
    if np.isnan(samples_uv).all(axis=1).any():
        raise Rejected(Reason.ECG_LEADS, "a lead of padding only")
    # Electrode offset is constant per lead and harmless: judge what varies. Padding is rare, and skipping it slow.
    median = np.nanmedian if np.isnan(samples_uv).any() else np.median
    deviation_uv = np.abs(samples_uv - median(samples_uv, axis=1, keepdims=True))
    if np.nanmax(deviation_uv) > AMPLITUDE_LIMIT_UV:
        raise Rejected(Reason.ECG_AMPLITUDE, "beyond 20 mV")


def _check_limb_leads(
    channels_uv: Mapping[str, NDArray[np.floating]], expected_uv: Mapping[str, NDArray[np.floating]]
) -> None:
    """Recorded III, aVR, aVL, aVF must be what I and II make them, up to each lead's own offset."""
    for lead, expected in expected_uv.items():
        residual_uv = channels_uv[lead] - expected
        residual_uv = residual_uv[~np.isnan(residual_uv)]
        # Leads that were recorded one after the other say nothing about each other.
        if not residual_uv.size:
            continue
        spread_uv = np.percentile(np.abs(residual_uv - np.median(residual_uv)), 90)
        if spread_uv > EINTHOVEN_LIMIT_UV:
            raise Rejected(Reason.ECG_INCONSISTENT, f"lead {lead}")
