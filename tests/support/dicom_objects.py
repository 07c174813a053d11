"""DICOM ECG objects for tests: a real ECG, written by us and then changed in one respect through pydicom."""

import warnings
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.config import disable_value_validation

from adapters.recording.site import SiteDefaults
from schemas.ecg import Ecg
from simulator.edits import real_ecg, resample
from simulator.writers.dicom import write_dicom

Change = Callable[[Dataset], object]

SITE = SiteDefaults()


@cache
def small_ecg() -> Ecg:
    """The real ECG at 250 Hz: a quarter of the bytes."""
    return resample(real_ecg(), 250)


@cache
def small_object() -> bytes:
    return write_dicom(small_ecg())


def changed(change: Change) -> bytes:
    """`small_object` after `change`, whatever rule it breaks."""
    ds = dcmread(BytesIO(small_object()))
    file = BytesIO()
    with disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        change(ds)
        dcmwrite(file, ds, implicit_vr=False, little_endian=True)
    return file.getvalue()


def changed_group(change: Change) -> bytes:
    """`small_object` after `change` to its multiplex group."""
    return changed(lambda ds: change(ds.WaveformSequence[0]))


def changed_channel(change: Change, index: int = 0) -> bytes:
    """`small_object` after `change` to one of its channel definitions."""
    return changed_group(lambda group: change(group.ChannelDefinitionSequence[index]))


def changed_source(code: str, scheme: str, meaning: str, index: int = 0) -> bytes:
    """`small_object` with another name for one channel, whose label is taken away."""

    def rename(channel: Dataset) -> None:
        del channel.ChannelLabel
        source = channel.ChannelSourceSequence[0]
        source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = code, scheme, meaning

    return changed_channel(rename, index)


def data_set_of(payload: bytes) -> bytes:
    """The data set without preamble and meta information."""
    group_length = int.from_bytes(payload[140:144], "little")
    return payload[144 + group_length :]


def element(tag: bytes, vr: bytes, value: bytes) -> bytes:
    """One element with a short length, written by hand: pydicom would change what it does not like."""
    value += b" " * (len(value) % 2)
    return tag + vr + len(value).to_bytes(2, "little") + value


def with_syntax(uid: bytes, data_set: bytes) -> bytes:
    """A Part 10 file that states this transfer syntax."""
    uid += b"\0" * (len(uid) % 2)
    meta = element(b"\x02\x00\x10\x00", b"UI", uid)
    return bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00" + len(meta).to_bytes(4, "little") + meta + data_set


def deflated(data_set: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data_set) + packer.flush()


def delete(keyword: str) -> Change:
    return lambda ds: delattr(ds, keyword)


def put(keyword: str, value: object) -> Change:
    return lambda ds: setattr(ds, keyword, value)
