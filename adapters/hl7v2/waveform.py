"""Waveforms written as numbers in OBX segments, in the two ways that HL7 v2 senders use.

- One OBX (NA or MA) a lead: the lead in OBX-3, the unit in OBX-6, the sampling rate in an OBX of its own that OBX-4
  places beneath it. So write carts, and the Waveform Content Module of IHE PCD.
- Chapter 7's waveform results: OBX-3 ends in TIM (start), CHN (channel definition), WAV (samples) or ANO (annotation),
  and OBX-4 ties together what belongs together. Scale and rate stand in the channel definition.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adapters.hl7v2.fields import MAX_FIELD_CHARACTERS, Segment
from adapters.hl7v2.numbers import check_count, check_range, is_per_second, lead_of, matrix, number, uv_per_unit
from adapters.recording.assemble import Waveform
from schemas.finding import QualityFlag
from schemas.rejection import Reason, Rejected

_ARRAYS: Final = ("NA", "MA")
# Electrophysiology systems send some dozens of channels beside the twelve leads.
MAX_CHANNELS: Final = 128
# OBX-5 of one CHN with so many channels; a definition has about a hundred characters.
MAX_DEFINITION_CHARACTERS: Final = 20_000
# OBX-4: device, system, channel, metric, facet; what walks up this path costs its square.
MAX_LEVELS: Final = 16
_PARTS: Final = frozenset({"TIM", "CHN", "WAV", "ANO"})


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """The signal, and when it began as the message writes it, if it does."""

    waveform: Waveform
    started: str | None


@dataclass(frozen=True, slots=True, eq=False)
class _Channel:
    """One channel in microvolts; `lead` is one of the twelve."""

    lead: str
    samples_uv: NDArray[np.float64]
    sampling_hz: float
    skew_ms: float = 0.0


@dataclass(slots=True)
class _Epoch:
    """What one OBX-4 ties together in chapter 7: definitions, each with its six components, and sample arrays."""

    definitions: list[list[str]] = field(default_factory=list)
    waves: list[NDArray[np.float64]] = field(default_factory=list)


def has_samples(observations: Sequence[Segment]) -> bool:
    """Whether any of the OBX carries samples as numbers."""
    return any(_kind(obx) in _ARRAYS for obx in observations)


def read_samples(observations: Sequence[Segment]) -> Recording:
    """Read the waveform of one OBR's OBX segments.

    Raises Rejected: `hl7.waveform`, `hl7.no_waveform` if none of it is an ECG, `hl7.too_complex`, `ecg.leads` if a lead
    is given twice, `ecg.lead_names`.
    """
    arrays = [obx for obx in observations if _kind(obx) in _ARRAYS]
    framed = [obx for obx in arrays if _part(obx) == "WAV"]
    if framed and len(framed) != len(arrays):
        raise Rejected(Reason.HL7_WAVEFORM, "waveforms in two notations")
    if framed:
        started = _one_start(obx.plain(_described(obx)) for obx in observations if _part(obx) == "TIM")
        channels, ignored = _framed_channels(observations)
    else:
        started = _one_start(obx.text(14) for obx in arrays)
        channels, ignored = _lead_channels(arrays, observations)
    return Recording(_waveform(channels, ignored), started)


def _kind(obx: Segment) -> str:
    return obx.raw.field(2).strip()


def _part(obx: Segment) -> str | None:
    """TIM, CHN, WAV or ANO, if the OBX belongs to chapter 7's notation."""
    suffix = (obx.text(3, 1, 2) or "").upper()
    return suffix if suffix in _PARTS else None


def _words(obx: Segment, field_number: int) -> tuple[str | None, ...]:
    """Identifier and text of a coded field, and of its alternative."""
    return tuple(obx.text(field_number, component) for component in (1, 2, 4, 5))


def _described(obx: Segment, limit: int = MAX_FIELD_CHARACTERS) -> str:
    """OBX-5 of a result that describes samples and holds none."""
    written = obx.raw.field(5)
    if len(written) > limit:
        raise Rejected(Reason.HL7_TOO_COMPLEX, "description of a waveform")
    return written


def _one_start(times: Iterable[str | None]) -> str | None:
    """Leads recorded one after another (3 x 4 of 2.5 s) are no simultaneous recording."""
    distinct = set(filter(None, times))
    if len(distinct) > 1:
        raise Rejected(Reason.HL7_WAVEFORM, "leads begin at different times")
    return distinct.pop() if distinct else None


def _waveform(channels: Sequence[_Channel], ignored: int) -> Waveform:
    by_lead = {channel.lead: channel.samples_uv for channel in channels}
    if len(by_lead) < len(channels):
        raise Rejected(Reason.ECG_LEADS, "a lead is given twice")
    rates = {channel.sampling_hz for channel in channels}
    if len(rates) != 1:
        raise Rejected(Reason.HL7_WAVEFORM, "leads of different sampling rate")
    notes = [QualityFlag(lead=c.lead, problem="channel_skew", value=c.skew_ms) for c in channels if c.skew_ms]
    if ignored:
        notes.append(QualityFlag(lead=None, problem="channel_ignored", value=float(ignored)))
    return Waveform(by_lead, rates.pop(), notes=tuple(notes))


# One OBX a lead


def _lead_channels(arrays: Sequence[Segment], observations: Sequence[Segment]) -> tuple[list[_Channel], int]:
    rates = _facets(observations, "MDC_ATTR_SAMP_RATE")
    ranges = _facets(observations, "MDC_ATTR_DATA_RANGE")
    named = [(obx, lead_of(_words(obx, 3))) for obx in arrays]
    leads = [lead for _, lead in named if lead is not None]
    if len(set(leads)) < len(leads):
        raise Rejected(Reason.ECG_LEADS, "a lead is given twice")
    check_count((obx.raw.field(5) for obx, lead in named if lead is not None), arrays[0].delimiters)
    channels = []
    voltages = 0
    for obx, lead in named:
        factor_uv = uv_per_unit(_words(obx, 6))
        voltages += factor_uv is not None
        if lead is None:
            continue
        if factor_uv is None:
            raise Rejected(Reason.HL7_WAVEFORM, "OBX-6 is no voltage")
        values = matrix(obx.raw.field(5), obx.delimiters)
        if 1 not in values.shape:
            raise Rejected(Reason.HL7_WAVEFORM, "more than one channel under one lead's name")
        _check_facet_range(values, _nearest(ranges, obx))
        channels.append(_Channel(lead, values.ravel() * factor_uv, _facet_rate_hz(_nearest(rates, obx))))
    if not channels:
        # Volts without a known lead are an ECG that cannot be read; anything else is another signal.
        raise Rejected(Reason.ECG_LEAD_NAMES if voltages else Reason.HL7_NO_WAVEFORM, "no array bears a lead's name")
    return channels, len(arrays) - len(channels)


def _containment(obx: Segment) -> tuple[str, ...]:
    sub_id = obx.text(4) or ""
    if sub_id.count(".") >= MAX_LEVELS:
        raise Rejected(Reason.HL7_TOO_COMPLEX, "OBX-4")
    return tuple(sub_id.split(".")) if sub_id else ()


def _facets(observations: Sequence[Segment], name: str) -> dict[tuple[str, ...], Segment]:
    """Attributes of that name by what they describe: OBX-4 without its last number and the zeros before that."""
    facets: dict[tuple[str, ...], Segment] = {}
    for obx in observations:
        if name not in (word.upper() for word in _words(obx, 3) if word):
            continue
        owner = _containment(obx)[:-1]
        while owner and owner[-1] == "0":
            owner = owner[:-1]
        known = facets.setdefault(owner, obx)
        if _described(known) != _described(obx):
            raise Rejected(Reason.HL7_WAVEFORM, f"two values of {name}")
    return facets


def _nearest(facets: Mapping[tuple[str, ...], Segment], obx: Segment) -> Segment | None:
    """The attribute of this OBX, else of the channel or device that contains it."""
    path = _containment(obx)
    return next((facets[path[:depth]] for depth in range(len(path), -1, -1) if path[:depth] in facets), None)


def _facet_rate_hz(facet: Segment | None) -> float:
    value = number(facet.raw.field(5)) if facet is not None and is_per_second(_words(facet, 6)) else None
    if value is None:
        raise Rejected(Reason.HL7_WAVEFORM, "no sampling rate in hertz")
    return value


def _check_facet_range(values: NDArray[np.float64], facet: Segment | None) -> None:
    if facet is not None:
        low, _, high = facet.raw.field(5).partition(facet.delimiters.component)
        check_range(values, number(low), number(high))


# Chapter 7


def _framed_channels(observations: Sequence[Segment]) -> tuple[list[_Channel], int]:
    mark = observations[0].delimiters.subcomponent
    channels = []
    ignored = 0
    for epoch in _epochs(observations):
        for definition, values in zip(epoch.definitions, _rows(epoch), strict=True):
            parts = [component.split(mark) for component in definition]
            lead = lead_of(word.strip() for word in parts[0][1:])
            if lead is None:
                ignored += 1
            else:
                channels.append(_channel(lead, parts, values))
    if not channels:
        raise Rejected(Reason.ECG_LEAD_NAMES, "no CHN bears a lead's name")
    return channels, ignored


def _epochs(observations: Sequence[Segment]) -> list[_Epoch]:
    """Definitions and samples by OBX-4. What a definition leaves out of its scale, the message's first one says."""
    check_count((obx.raw.field(5) for obx in observations if _part(obx) == "WAV"), observations[0].delimiters)
    epochs: dict[str, _Epoch] = {}
    default: list[str] | None = None
    for obx in observations:
        part, marks = _part(obx), obx.delimiters
        epoch = epochs.setdefault(obx.text(4) or "", _Epoch())
        if part == "WAV":
            # NA has a row a channel, MA a column.
            values = matrix(obx.raw.field(5), marks)
            epoch.waves.append(values if _kind(obx) == "NA" else values.T)
        elif part == "CHN":
            for definition in _described(obx, MAX_DEFINITION_CHARACTERS).split(marks.repetition, MAX_CHANNELS):
                stated_here = (definition.split(marks.component) + [""] * 6)[:6]
                default = default or stated_here
                scale = [stated or first for stated, first in zip(stated_here[2:], default[2:], strict=True)]
                epoch.definitions.append(stated_here[:2] + scale)
        if len(epoch.definitions) > MAX_CHANNELS:
            raise Rejected(Reason.HL7_TOO_COMPLEX, "channels")
    return [epoch for epoch in epochs.values() if epoch.waves]


def _rows(epoch: _Epoch) -> Sequence[NDArray[np.float64]]:
    """Samples by channel, in the order of the definitions; several arrays are one channel each, or follow in time."""
    count = len(epoch.definitions)
    if count == 0:
        raise Rejected(Reason.HL7_WAVEFORM, "WAV without CHN")
    if len(epoch.waves) == count and all(1 in wave.shape for wave in epoch.waves):
        return [wave.ravel() for wave in epoch.waves]
    if count == 1 and all(1 in wave.shape for wave in epoch.waves):
        return [np.concatenate([wave.ravel() for wave in epoch.waves])]
    if any(wave.shape[0] != count for wave in epoch.waves):
        raise Rejected(Reason.HL7_WAVEFORM, "WAV and CHN differ in their number of channels")
    return list(np.concatenate(epoch.waves, axis=1))


def _channel(lead: str, definition: Sequence[Sequence[str]], values: NDArray[np.float64]) -> _Channel:
    """Chapter 7's CD: value = (sample - baseline) x sensitivity x correction, in the sensitivity's unit.

    Components: channel, source, sensitivity & unit, correction & baseline & skew (s), sampling rate (Hz), min & max.
    """
    _, _, scale, calibration, rate, limits = definition
    sensitivity, factor_uv = number(scale[0]), uv_per_unit(word.strip() for word in scale[1:])
    if not sensitivity or factor_uv is None:
        raise Rejected(Reason.HL7_WAVEFORM, "CHN without a sensitivity in volts")
    sampling_hz = number(rate[0])
    if sampling_hz is None:
        raise Rejected(Reason.HL7_WAVEFORM, "CHN without a sampling rate")
    correction, baseline, skew_s = (
        _optional(calibration, index, absent) for index, absent in enumerate((1.0, 0.0, 0.0))
    )
    check_range(values, number(limits[0]), number(limits[1]) if len(limits) > 1 else None)
    samples_uv = (values - baseline) * (sensitivity * correction * factor_uv)
    return _Channel(lead, samples_uv, sampling_hz, skew_s * 1000)


def _optional(parts: Sequence[str], index: int, absent: float) -> float:
    if index >= len(parts) or parts[index].strip() in ("", '""'):
        return absent
    value = number(parts[index])
    if value is None:
        raise Rejected(Reason.HL7_WAVEFORM, "CHN calibration is no number")
    return value
