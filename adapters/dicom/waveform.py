"""The signal of a DICOM ECG object: which group is the ECG, which channel which lead, and what the numbers mean.

PS3.3 C.10.9 (Waveform Module) and CID 3001 (ECG leads).
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adapters.dicom.data_set import DataSet
from adapters.recording.assemble import Waveform
from adapters.recording.leads import lead_from_code, lead_from_name
from schemas.ecg import INDEPENDENT_LEADS, Filters
from schemas.finding import QualityFlag
from schemas.rejection import Reason, Rejected

# A General ECG has up to 24 channels a group; real objects break that rule, none by much.
MAX_CHANNELS: Final = 64
# Rhythm, median beats and what else a cart keeps beside them; and all their channels together.
MAX_GROUPS: Final = 32
MAX_DEFINITIONS: Final = 256
# PS3.3 has exactly one source a channel.
MAX_SOURCES: Final = 4
# A minute at 2000 Hz: more is a Holter recording, and would only cost memory before it is refused for its length.
MAX_SAMPLES: Final = 120_000

# A-law and mu-law (AB, MB) are for sound, and not expanded here.
_SAMPLE_FORMATS: Final[dict[tuple[int, str], np.dtype[np.integer]]] = {
    (8, "SB"): np.dtype("i1"),
    (8, "UB"): np.dtype("u1"),
    (16, "SS"): np.dtype("<i2"),
    (16, "US"): np.dtype("<u2"),
    (32, "SL"): np.dtype("<i4"),
    (32, "UL"): np.dtype("<u4"),
}
# UCUM codes are case-sensitive: "MV" is a megavolt.
_MICROVOLTS: Final = {"uV": 1.0, "mV": 1e3, "V": 1e6}
# One volt a unit is no amplifier's, and keeps the arithmetic finite.
_GAIN_LIMIT_UV: Final = 1e6
# Code systems in which a lead has a number; a name beside another code is all there is to go by.
_LEAD_SCHEMES: Final = ("MDC", "SCPECG")
# Labels of representative beats. Their originality should be DERIVED, and is not always.
_NOT_A_RHYTHM: Final = re.compile("MEDIAN|AVERAGE|TEMPLATE|BEAT", re.IGNORECASE)

# AHA/ACCF/HRS 2007 I: a high-pass above 0.05 Hz distorts ST and T; at the 0.5 Hz of monitors they cannot be relied on.
MONITOR_HIGH_PASS_HZ: Final = 0.5
# Less than a sample at 1000 Hz moves no measurement.
_SKEW_LIMIT_MS: Final = 1.0


def read_waveform(data_set: DataSet) -> Waveform:
    """The rhythm recording of an ECG object, in microvolts.

    Of the multiplex groups it takes the longest original one with all independent leads, never a median beat. Raises
    Rejected: `dicom.no_waveform`, `dicom.waveform`, `dicom.calibration`, `dicom.too_large`, `ecg.leads`,
    `ecg.lead_names`, `ecg.sampling`. Notes: `channel_ignored` (value: how many), `channel_skew` (ms),
    `sensitivity_correction_assumed`, `monitor_bandwidth` (the high-pass in Hz).
    """
    group, channels, ignored = _rhythm_group(data_set.items("WaveformSequence"))
    samples = _raw_samples(group)
    padding = _padding(group, samples.dtype)
    channels_uv: dict[str, NDArray[np.floating]] = {}
    notes = [QualityFlag(lead=None, problem="channel_ignored", value=float(ignored))] if ignored else []
    for lead, (index, channel) in channels.items():
        gain_uv, baseline_uv, correction_stated = _calibration(channel)
        channel_uv = samples[:, index] * gain_uv + baseline_uv
        if padding is not None:
            channel_uv[samples[:, index] == padding] = np.nan
        channels_uv[lead] = channel_uv
        if not correction_stated:
            notes.append(QualityFlag(lead=lead, problem="sensitivity_correction_assumed"))
        skew_ms = _skew_ms(channel, _sampling_hz(group))
        if skew_ms > _SKEW_LIMIT_MS:
            notes.append(QualityFlag(lead=lead, problem="channel_skew", value=skew_ms))
    filters = _filters([channel for _, channel in channels.values()])
    if filters.high_pass_hz is not None and filters.high_pass_hz >= MONITOR_HIGH_PASS_HZ:
        notes.append(QualityFlag(lead=None, problem="monitor_bandwidth", value=filters.high_pass_hz))
    return Waveform(channels_uv, _sampling_hz(group), filters, tuple(notes))


Channels = dict[str, tuple[int, DataSet]]
"""The index and the definition of the channel that holds each lead."""


def _rhythm_group(groups: list[DataSet]) -> tuple[DataSet, Channels, int]:
    """The group to read, its channels by lead, and how many of its channels are no standard lead."""
    if len(groups) > MAX_GROUPS:
        raise Rejected(Reason.DICOM_TOO_LARGE, "multiplex groups")
    if sum(len(group.items("ChannelDefinitionSequence")) for group in groups) > MAX_DEFINITIONS:
        raise Rejected(Reason.DICOM_TOO_LARGE, "channel definitions")
    rhythms = [group for group in groups if _is_rhythm(group)]
    if not rhythms:
        raise Rejected(Reason.DICOM_NO_WAVEFORM, "no original rhythm group" if groups else "no waveform sequence")
    for group in sorted(rhythms, key=_duration_s, reverse=True):
        definitions = group.items("ChannelDefinitionSequence")
        channels = _channels(definitions)
        if all(lead in channels for lead in INDEPENDENT_LEADS):
            return group, channels, len(definitions) - len(channels)
    raise Rejected(Reason.ECG_LEADS, "no group holds the eight independent leads")


def _is_rhythm(group: DataSet) -> bool:
    original = (group.text("WaveformOriginality") or "ORIGINAL") == "ORIGINAL"
    return original and not _NOT_A_RHYTHM.search(group.text("MultiplexGroupLabel") or "")


def _sampling_hz(group: DataSet) -> float:
    sampling_hz = group.number("SamplingFrequency")
    if sampling_hz is None or sampling_hz < 1:
        raise Rejected(Reason.ECG_SAMPLING, "no sampling frequency")
    return sampling_hz


def _duration_s(group: DataSet) -> float:
    return (group.integer("NumberOfWaveformSamples") or 0) / _sampling_hz(group)


def _channels(definitions: list[DataSet]) -> Channels:
    channels: Channels = {}
    for index, definition in enumerate(definitions):
        lead = _lead(definition, index)
        if lead in channels:
            raise Rejected(Reason.ECG_LEADS, f"lead {lead} twice")
        if lead is not None:
            channels[lead] = index, definition
    return channels


def _lead(definition: DataSet, index: int) -> str | None:
    """The standard lead of a channel, None if it is another signal. Whatever names it must name the same one."""
    said: set[str | None] = {lead_from_name(definition.text("ChannelLabel") or "")} - {None}
    sources = definition.items("ChannelSourceSequence")
    if len(sources) > MAX_SOURCES:
        raise Rejected(Reason.DICOM_TOO_LARGE, "sources of a channel")
    for source in sources:
        by_code = lead_from_code(source.text("CodeValue") or "")
        if by_code or source.text("CodingSchemeDesignator") in _LEAD_SCHEMES:
            said.add(by_code)
        said |= {lead_from_name(source.text("CodeMeaning") or "")} - {None}
    if len(said) > 1:
        raise Rejected(Reason.ECG_LEAD_NAMES, f"channel {index + 1}")
    return said.pop() if said else None


def _raw_samples(group: DataSet) -> NDArray[np.integer]:
    """The samples as encoded, samples x channels."""
    sample_format = group.integer("WaveformBitsAllocated") or 0, group.text("WaveformSampleInterpretation") or ""
    dtype = _SAMPLE_FORMATS.get(sample_format)
    if dtype is None:
        raise Rejected(Reason.DICOM_WAVEFORM, "sample format")
    samples = group.integer("NumberOfWaveformSamples") or 0
    channels = group.integer("NumberOfWaveformChannels") or 0
    if samples > MAX_SAMPLES or channels > MAX_CHANNELS:
        raise Rejected(Reason.DICOM_TOO_LARGE, "waveform")
    if channels != len(group.items("ChannelDefinitionSequence")):
        raise Rejected(Reason.DICOM_WAVEFORM, "channel count and channel definitions differ")
    data = group.raw("WaveformData") or b""
    size = samples * channels * dtype.itemsize
    # A value of odd length is padded to an even one.
    if not size or len(data) != size + size % 2:
        raise Rejected(Reason.DICOM_WAVEFORM, "length of the data is not samples x channels x bytes")
    return np.frombuffer(data, dtype, samples * channels).reshape(samples, channels)


def _padding(group: DataSet, dtype: np.dtype[np.integer]) -> np.integer | None:
    """The raw value that stands for "no sample"."""
    raw = group.raw("WaveformPaddingValue")
    if raw is None:
        return None
    if len(raw) != dtype.itemsize + dtype.itemsize % 2:
        raise Rejected(Reason.DICOM_WAVEFORM, "padding value is not as wide as a sample")
    value: np.integer = np.frombuffer(raw, dtype, 1)[0]
    return value


def _calibration(channel: DataSet) -> tuple[float, float, bool]:
    """Microvolts per raw unit, microvolts at zero, and whether the correction factor was stated."""
    sensitivity = channel.number("ChannelSensitivity")
    if not sensitivity:
        raise Rejected(Reason.DICOM_CALIBRATION, "no sensitivity")
    units = channel.items("ChannelSensitivityUnitsSequence")
    if len(units) != 1 or units[0].text("CodingSchemeDesignator") != "UCUM":
        raise Rejected(Reason.DICOM_CALIBRATION, "no UCUM unit")
    scale_uv = _MICROVOLTS.get(units[0].text("CodeValue") or "")
    if scale_uv is None:
        raise Rejected(Reason.DICOM_CALIBRATION, "unit is no voltage")
    # Some carts put the whole calibration into the factor. Absent it can only be 1; empty or zero it is a fault.
    stated = "ChannelSensitivityCorrectionFactor" in channel
    correction = channel.number("ChannelSensitivityCorrectionFactor") if stated else 1.0
    baseline = channel.number("ChannelBaseline") or 0.0
    if not correction:
        raise Rejected(Reason.DICOM_CALIBRATION, "empty correction factor")
    gain_uv, baseline_uv = sensitivity * correction * scale_uv, baseline * scale_uv
    if abs(gain_uv) > _GAIN_LIMIT_UV or abs(baseline_uv) > _GAIN_LIMIT_UV:
        raise Rejected(Reason.DICOM_CALIBRATION, "beyond a volt")
    return gain_uv, baseline_uv, stated


def _skew_ms(channel: DataSet, sampling_hz: float) -> float:
    """How late the channel is against the group's first, in magnitude."""
    skew_s = channel.number("ChannelTimeSkew")
    if skew_s is None:
        skew_s = (channel.number("ChannelSampleSkew") or 0.0) / sampling_hz
    if abs(skew_s) > 1:
        raise Rejected(Reason.DICOM_WAVEFORM, "channels more than a second apart")
    return abs(skew_s) * 1e3


def _filters(channels: list[DataSet]) -> Filters:
    """The narrowest band that any lead was given; zero is "none" and reads as not stated."""

    def stated(keyword: str) -> list[float]:
        return [hz for channel in channels if (hz := channel.number(keyword) or 0.0) > 0]

    return Filters(
        high_pass_hz=max(stated("FilterLowFrequency"), default=None),
        low_pass_hz=min(stated("FilterHighFrequency"), default=None),
        notch_hz=max(stated("NotchFilterFrequency"), default=None),
    )
