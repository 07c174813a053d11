"""How long a record takes on its way to the model: DICOM and HL7 v2 decoding, measuring, rendering.

Run as `python -m benchmarks.records`; prints a Markdown table for `docs/measured.md`.
"""

from pathlib import Path

from pydicom.data import get_testdata_file

from adapters.inbound import decode
from adapters.recording.site import SiteDefaults
from benchmarks.timing import HEAD, machine, measure
from simulator.edits import real_ecg, resample
from simulator.writers.hl7v2 import write_hl7v2
from worker.picture.layout import make_layout
from worker.picture.raster import render_image
from worker.waveform.measure import measure as measure_ecg


def main() -> None:
    """Print the machine and the table."""
    site, layout = SiteDefaults(), make_layout("3x4+II")
    path = get_testdata_file("waveform_ecg.dcm")
    assert isinstance(path, str)
    dicom = Path(path).read_bytes()
    ecg = resample(real_ecg(), 500)
    message = write_hl7v2(ecg, variant="na")

    timings = [
        (
            measure("DICOM bytes to image (12 x 10000, 291 KB)", lambda: render_image(decode(dicom, site), layout)),
            "<= 12",
        ),
        (measure("DICOM bytes to Ecg", lambda: decode(dicom, site)), ""),
        (measure(f"HL7 v2 to Ecg (12 NA x 5000, {len(message) // 1000} KB)", lambda: decode(message, site)), "<= 60"),
        (measure("render 3x4+II, 1120x840 (12 x 5000)", lambda: render_image(ecg, layout), calls=200), "<= 1.5"),
        (measure("measure, all leads and quality (12 x 5000)", lambda: measure_ecg(ecg)), "<= 5"),
    ]
    print(machine("numpy", "scipy", "opencv-python-headless", "pydicom", "hl7apy"))
    print(HEAD)
    for timing, target in timings:
        print(timing.row(target))


if __name__ == "__main__":
    main()
