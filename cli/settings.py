"""Settings: from flags, then `ECG_*` environment variables, then a TOML file (`--config` or `ECG_CONFIG`).

Validated once at the start; nothing reads the environment later. A group is an object of the room that it is for, and
its defaults are that room's. Names outside and what each setting is for: `cli.catalog`.
"""

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from adapters.hl7v2.oru.message import Route
from adapters.kafka.options import KafkaOptions
from adapters.log import LogError
from adapters.mllp.client import Waits
from adapters.outbound import TlsFiles
from cli.catalog import SETTINGS, Setting
from cli.sources import Stated, stated_values, unknown_names, unknown_variables
from schemas.errors import WorkerError
from worker.delivery.lifetime import Lifetimes
from worker.delivery.retry import RetryPolicy
from worker.operations import logs
from worker.stream.limits import Limits

# `Path` makes one slash of two.
_LIKE_A_URL: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:/")


class SettingsError(WorkerError):
    """The settings are wrong; the message names them as they were given, one problem a line."""

    exit_code = 2


def data_directory() -> Path:
    """Where this user's embedded log and built models live."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "ecg-r1-worker"


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(
            f"{file} cannot be read: {error.strerror}; name the settings file in --config or ECG_CONFIG, and let this "
            "user read it"
        ) from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is not written in UTF-8 (byte {error.start}); save it anew") from None
    except tomllib.TOMLDecodeError as error:  # says at which line and column
        raise SettingsError(f"{file} is no TOML: {error}; correct that line") from None
    except (ValueError, RecursionError):  # numbers of thousands of digits, brackets in brackets
        raise SettingsError(f"{file} is no settings file: it holds what no setting is") from None


def _default_log() -> str:
    return f"sqlite://{data_directory() / 'log.db'}"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What answers the questions, and how it computes."""

    kind: Literal["model", "echo"] = "model"
    provider: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: int | None = None
    batch_wait_s: float = 0.05
    failures: int = 5
    echo_slots: int = 16
    echo_batch_s: float = 0.02
    echo_question_s: float = 0.0


@dataclass(frozen=True, slots=True)
class DeliverSettings:
    """Where flagged findings go, and how."""

    to: str | None = None
    # Not the worker's group: two kinds of process in one group would fence each other.
    group: str = "ecg-deliver"
    rejections_topic: str = "ecg.delivery-rejections"
    allow_plaintext: bool = False
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    route: Route = field(default_factory=Route)
    waits: Waits = field(default_factory=Waits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    tls: TlsFiles = field(default_factory=TlsFiles)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, valid."""

    log: str = field(default_factory=_default_log)
    model: Path | None = None
    model_digest: str | None = None
    group: str = "ecg-r1-worker"
    member: str = field(default_factory=socket.gethostname)

    inbound_topic: str = "ecg.inbound"
    inbound_topics: str = ""
    findings_topic: str = "ecg.findings"
    rejections_topic: str = "ecg.rejections"
    audit_topic: str = "ecg.audit"
    # Six years, as 45 CFR 164.316(b)(2)(i) asks of what documents actions on patients' data; the leap days are in it.
    audit_keep_days: int = 2192
    # Everything is kept until somebody says otherwise: to grow is seen, and what was deleted nobody gets back.
    log_keep_days: int | None = None
    log_keep_bytes: int | None = None

    site_zone: str = "UTC"
    site_charset: str | None = None
    urgent_units: str = "ED,ER,CCU"

    processes: int = 1
    drain_s: float = 25.0
    health_port: int | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    engine: EngineSettings = field(default_factory=EngineSettings)
    stream: Limits = field(default_factory=Limits)
    deliver: DeliverSettings = field(default_factory=DeliverSettings)
    kafka: KafkaOptions = field(default_factory=KafkaOptions)

    @classmethod
    def load(cls, config: Path | None = None, *, strict: bool = False, **flags: Any) -> Self:
        """The settings; a flag of None means "not given".

        A variable that is no setting is an error only if `strict`. Otherwise it is warned of, so that an older version
        starts with what a newer one was told. Raises SettingsError.
        """
        return cls.of(stated_settings(config, flags, strict=strict))

    @classmethod
    def of(cls, stated: Mapping[str, Stated]) -> Self:
        """The settings as stated. Raises SettingsError if they contradict each other."""
        settings: Self = _built(cls, stated, ())
        if settings.engine.kind == "echo" and settings.model is not None:
            both = f"{stated['engine'].source}, {stated['model'].source}"
            raise SettingsError(f"{both}: the echo engine takes no model; set one or the other")
        results = (settings.findings_topic, settings.rejections_topic, settings.audit_topic)
        for topic in settings.all_inbound_topics:
            if topic in (*results, settings.deliver.rejections_topic):
                name = "inbound_topics" if topic in _listed(settings.inbound_topics) else "inbound_topic"
                source = stated[name].source if name in stated else name
                raise SettingsError(f"{source}: {topic} is a topic of results too; a worker would read what it wrote")
        return settings

    @property
    def all_inbound_topics(self) -> tuple[str, ...]:
        """The topics that ECGs come in on, in their order of precedence."""
        return tuple(dict.fromkeys((*_listed(self.inbound_topics), self.inbound_topic)))

    @property
    def all_urgent_units(self) -> tuple[str, ...]:
        """The units whose ECGs go before others."""
        return _listed(self.urgent_units)

    def value(self, setting: Setting) -> Any:
        """What a setting is, for display: a path as text."""
        held: Any = self
        for name in setting.path:
            held = getattr(held, name)
        return _shown(held)

    def shown(self) -> dict[str, Any]:
        """All of them for display, by name. Secrets are in files of their own; only the files' names stand here."""
        return {name: self.value(setting) for name, setting in SETTINGS.items()}


def _listed(names: str) -> tuple[str, ...]:
    """The names between the commas."""
    return tuple(filter(None, (name.strip() for name in names.split(","))))


def stated_settings(config: Path | None, flags: Mapping[str, Any], *, strict: bool) -> dict[str, Stated]:
    """What is set, with its value in its type, and by whom. Raises SettingsError with every problem there is."""
    file = _read(config) if config else {}
    problems = [_unknown(name, near) for name, near in unknown_names(flags).items()]
    problems += [_unknown(f"{name} in {config}", near) for name, near in unknown_names(file).items()]
    for variable, near in unknown_variables().items():
        if strict:
            problems.append(_unknown(variable, near))
        else:
            logs.get_logger().warning("a variable is no setting of this version", variable=variable, nearest=near)
    valid: dict[str, Stated] = {}
    for name, item in stated_values(file, config, flags).items():
        try:
            valid[name] = Stated(_valid(SETTINGS[name], item.value), item.origin, item.source)
        except ValueError as error:
            problems.append(f"{item.source}: {error}")
    if problems:
        raise SettingsError("\n".join(problems))
    return valid


def default(setting: Setting) -> Any:
    """What a setting is where nobody says anything, for display."""
    owner, name = _owner(setting)
    (stated,) = (item for item in fields(owner) if item.name == name)
    held = stated.default if stated.default_factory is MISSING else stated.default_factory()
    return _shown(held)


def purpose(setting: Setting) -> str:
    """What a setting is for, with the values to choose from where they are few."""
    owner, name = _owner(setting)
    kind = get_type_hints(owner)[name]
    choices = [value for item in (kind, *get_args(kind)) if get_origin(item) is Literal for value in get_args(item)]
    return f"{setting.description}; one of {', '.join(choices)}" if choices else setting.description


def _owner(setting: Setting) -> tuple[type[Any], str]:
    """The dataclass that holds a setting, and its field there."""
    owner: type[Any] = Settings
    *groups, name = setting.path
    for group in groups:
        owner = get_type_hints(owner)[group]
    return owner, name


def _built(kind: type[Any], stated: Mapping[str, Stated], at: tuple[str, ...]) -> Any:
    """The group at this place, its own groups before it. What nobody states is left to its default."""
    here = {name: item for name, item in stated.items() if SETTINGS[name].path[: len(at)] == at}
    hints, depth = get_type_hints(kind), len(at)
    values: dict[str, Any] = {}
    for name, item in here.items():
        path = SETTINGS[name].path
        if len(path) == depth + 1:
            values[path[depth]] = item.value
        elif path[depth] not in values:
            values[path[depth]] = _built(hints[path[depth]], here, path[: depth + 1])
    try:
        return kind(**values)
    except (LogError, ValueError) as error:  # what a room says of its own
        raise SettingsError(f"{', '.join(item.source for item in here.values())}: {error}") from None


def _unknown(source: str, near: str) -> str:
    return f"{source}: no such setting; " + (f"did you mean {near}?" if near else "`ecg-worker settings` lists them")


def _valid(setting: Setting, stated: Any) -> Any:
    """The value in the setting's type. Raises ValueError with what is wrong with it."""
    if stated == "" and default(setting) != "":
        raise ValueError("is empty")
    owner, name = _owner(setting)
    kind: Any = Annotated[get_type_hints(owner)[name], setting.bounds]
    try:
        value = TypeAdapter[Any](kind).validate_python(stated)
        if isinstance(value, str | Path) and not _is_text(str(value)):
            raise ValueError("holds bytes that are no text")
        if isinstance(stated, str | Path) and not setting.url and _LIKE_A_URL.search(str(stated)):
            raise ValueError("is a URL, and none belongs there")
        if isinstance(stated, bool) and not isinstance(value, bool):
            raise ValueError("is no number")
        return setting.check(value) if setting.check else value
    except ValidationError as error:
        wrong = _wrong(error.errors()[0])
    except ValueError as error:
        wrong = str(error)
    # What was put in a wrong place here could be a password.
    kept = setting.url or setting.path[0] == "kafka" or isinstance(stated, dict | list) or len(str(stated)) > 80
    kept = kept or _LIKE_A_URL.search(str(stated)) is not None
    raise ValueError(wrong if kept else f"{stated!r} {wrong}") from None


def _is_text(value: str) -> bool:
    """Whether every library can take it: in UTF-8, without the zero that ends a string for some."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def _wrong(error: ErrorDetails) -> str:
    bounds, kind = error.get("ctx", {}), error["type"]
    if kind == "literal_error":
        return f"is not one of {bounds['expected'].replace(' or ', ', ').replace(chr(39), '')}"
    if kind.startswith(("int", "float")):
        return "is no whole number" if kind.startswith("int") else "is no number"
    if kind.startswith("bool"):
        return "is neither true nor false"
    if kind == "greater_than_equal":
        return f"is less than {bounds['ge']:g}"
    if kind == "greater_than":
        return f"is not more than {bounds['gt']:g}"
    if kind == "less_than_equal":
        return f"is more than {bounds['le']:g}"
    return "is no text"


def _shown(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
