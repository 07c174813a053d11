"""Commands on files: the whole pipeline, the measurements alone, or the picture."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.log import Record
from cli import options, output
from cli.ecg_files import Reading, chosen, typed
from cli.settings import Settings
from cli.wiring.model import identify_model, load_engine, model_or_demo
from cli.wiring.stages import decoder
from schemas.ecg import Ecg
from schemas.finding import Finding
from schemas.rejection import Rejected, Rejection

if TYPE_CHECKING:
    from worker.picture.layout import Layout


def explain(
    files: options.Files,
    model: options.Model = None,
    config: options.Config = None,
) -> None:
    """Put ECG files through the whole pipeline; print each Finding or Rejection as one JSON line, in order.

    Each line names its file as source.topic. Exits 0 if every file became a Finding, else 1.

    Example: ecg-worker explain --model /models/ecg-r1 ecg.dcm oru.hl7
    """
    from worker.pipeline import conclude, prepare
    from worker.stream.fence import Fence

    settings = Settings.load(model=model, config=config)
    ecgs, reading = chosen(files), Reading()
    engine = load_engine(settings, model_or_demo(settings))
    decode, layout = decoder(settings), engine.bundle.manifest.layout.layout()
    identity = identify_model(engine)
    fence = Fence(settings.findings_topic, settings.rejections_topic)

    def read(record: Record) -> Finding | Rejection:
        prepared = prepare(record, decode, layout)
        if isinstance(prepared, Rejection):
            return prepared
        try:
            answer = engine.answer([prepared.question])[0] if prepared.question else None
        except Rejected as rejected:
            return fence.reject(record, rejected).result
        return fence.seal(record, lambda: conclude(prepared, answer, identity)).result

    payloads = enumerate(reading.payloads(output.track(ecgs, "reading")))
    results = [output.emit(read(_record(index, *item))) for index, item in payloads]
    raise typer.Exit(int(reading.failed or any(isinstance(result, Rejection) for result in results)))


def measure(files: options.Files, config: options.Config = None) -> None:
    """Print measurements and quality only, one JSON line a file; no model is loaded.

    What cannot be measured is printed as a Rejection, which names its file as source.topic. Exits 0 if every file
    could be measured, else 1.

    Example: ecg-worker measure ecg.dcm
    """
    from worker.pipeline import reject
    from worker.waveform.measure import measure as measured

    settings = Settings.load(config=config)
    decode, rejected, reading = decoder(settings), False, Reading()
    for index, (file, payload) in enumerate(reading.payloads(output.track(chosen(files), "measuring"))):
        try:
            found = measured(decode(payload))
            output.emit_json(
                {
                    "file": typed(file),
                    "measurements": found.measurements.model_dump(mode="json"),
                    "quality": found.quality.model_dump(mode="json"),
                }
            )
        except Rejected as reason:
            output.emit(reject(_record(index, file, payload), reason))
            rejected = True
    raise typer.Exit(int(rejected or reading.failed))


def render(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True)],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help=".png, .svg or .pdf", dir_okay=False)],
    layout: Annotated[str, typer.Option(help="3x4+II, 3x4, 6x2 or 12x1")] = "3x4+II",
    speed: Annotated[float, typer.Option(metavar="MM_PER_S", help="paper speed: 25 or 50")] = 25.0,
    gain: Annotated[
        float | None, typer.Option(metavar="MM_PER_MV", help="gain: 5, 10 or 20; default: 10, in 12x1 5")
    ] = None,
    config: options.Config = None,
) -> None:
    """Draw an ECG as on paper.

    Example: ecg-worker render ecg.dcm -o ecg.pdf --layout 12x1 --gain 5
    """
    from worker.picture import vector
    from worker.picture.layout import make_layout
    from worker.picture.raster import png, render_image

    settings = Settings.load(config=config)
    writers: dict[str, Callable[[Ecg, Layout], bytes]] = {
        ".png": lambda ecg, chosen: png(render_image(ecg, chosen)),
        ".svg": lambda ecg, chosen: vector.svg(ecg, chosen).encode(),
        ".pdf": vector.pdf,
    }
    write = writers.get(out.suffix.lower())
    if write is None:
        raise typer.BadParameter("must end in .png, .svg or .pdf", param_hint="--out")
    try:
        chosen = make_layout(layout, speed_mm_per_s=speed, gain_mm_per_mv=gain)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    output.try_file(out, "--out")
    try:
        ecg = decoder(settings)(file.read_bytes())
    except Rejected as rejected:
        output.notify(f"{file.name}: {rejected.reason} {rejected.detail}")
        raise typer.Exit(1) from None
    output.write_file(out, write(ecg, chosen))


def _record(index: int, file: Path, payload: bytes) -> Record:
    """A file as a record: its name, as it was typed, is the topic, and its place among the files is the offset."""
    return Record(typed(file), 0, index, None, None, payload)
