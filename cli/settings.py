"""Settings: from flags, then `ECG_*` environment variables, then a TOML file (`--config` or `ECG_CONFIG`).

Validated once at the start; nothing reads the environment later.
"""

import codecs
import os
import socket
import tomllib
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.log import LogError
from adapters.open_log import check_url
from schemas.errors import WorkerError


class SettingsError(WorkerError):
    """The settings are wrong; the message names them, without their values."""

    exit_code = 2


def data_directory() -> Path:
    """Where this user's embedded log and built models live."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "ecg-r1-worker"


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}; give this user the right to it") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is not written in UTF-8 (byte {error.start}); save it anew") from None
    except tomllib.TOMLDecodeError as error:  # says at which line and column
        raise SettingsError(f"{file} is no TOML: {error}; correct that line") from None


def _default_log() -> str:
    return f"sqlite://{data_directory() / 'log.db'}"


class Settings(BaseSettings):
    """Everything that can be set. The name of a setting in the environment is `ECG_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="ECG_", extra="forbid", frozen=True)

    log: str = Field(default_factory=_default_log, description="kafka://host:port[,host:port] or sqlite:///path")
    model: Path | None = Field(None, description="model directory")
    model_digest: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="digest of the one bundle that may be served; default: any"
    )
    group: str = Field("ecg-r1-worker", min_length=1, description="consumer group")
    member: str = Field(
        default_factory=socket.gethostname, min_length=1, description="stable name of this process within the group"
    )

    inbound_topic: str = "ecg.inbound"
    findings_topic: str = "ecg.findings"
    rejections_topic: str = "ecg.rejections"
    audit_topic: str = "ecg.audit"

    site_zone: str = Field("UTC", description="time zone of local times in messages")
    site_charset: str | None = Field(None, description="Python codec of HL7 text without MSH-18")

    engine: Literal["model", "echo"] = Field(
        "model", description="echo: made-up answers without a model, for trying out delivery; every finding says so"
    )
    echo_slots: int = Field(16, ge=1, description="questions that the echo engine answers as one batch")
    echo_batch_s: float = Field(0.02, ge=0, description="time that the echo engine takes for a batch")
    echo_question_s: float = Field(0.0, ge=0, description="and for each question in it")
    provider: Literal["cpu", "cuda"] = Field("cpu", description="where the model runs")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="number type of the language model")
    threads: int | None = Field(None, ge=1, description="CPU threads of the engine; default: all cores")
    processes: int = Field(1, ge=1, description="processes that decode, measure and render")

    max_in_flight: int = Field(64, ge=1, description="records begun and not finished")
    read_ahead_records: int = Field(
        2000, ge=1, description="records read and not committed, among which STAT ones are found"
    )
    read_ahead_bytes: int = Field(256 * 1024 * 1024, ge=1, description="their payloads together")
    batch_wait_s: float = Field(0.05, ge=0, description="how long the oldest question waits for a fuller batch")
    publish_records: int = Field(100, ge=1, description="results that make a transaction due; one STAT result does")
    publish_wait_s: float = Field(0.2, ge=0, description="age of the oldest result that makes a transaction due")
    rejected_share: float = Field(
        0.5, gt=0, le=1, description="a worker ends if more of its last results were rejections; 1: never"
    )
    stuck_s: float = Field(
        300.0, gt=0, description="a worker ends if a partition, a transaction or a preparation stands still for so long"
    )
    drain_s: float = Field(25.0, ge=0, description="how long SIGTERM may take, from the signal to the exit")
    health_port: int | None = Field(None, ge=0, le=65535, description="serve probes and metrics here; 0: any free port")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    deliver_to: str | None = Field(None, description="where flagged findings go: mllp://HOST:PORT or mllps://HOST:PORT")
    # Not the worker's group: two kinds of process in one group would fence each other.
    deliver_group: str = Field("ecg-deliver", min_length=1, description="consumer group of `deliver`")
    delivery_rejections_topic: str = "ecg.delivery-rejections"
    deliver_sending_facility: str = Field("", description="MSH-4")
    deliver_receiving_application: str = Field("", description="MSH-5")
    deliver_receiving_facility: str = Field("", description="MSH-6")
    deliver_processing_id: Literal["P", "T", "D"] = Field("P", description="MSH-11; T for any model not trained")
    deliver_ack_s: float = Field(30.0, gt=0, description="how long an acknowledgement is waited for")
    deliver_sends: int = Field(5, ge=1, description="how often one finding is sent at most")
    deliver_total_s: float = Field(900.0, gt=0, description="how long one finding is tried, waiting included")
    deliver_ca_file: Path | None = Field(None, description="whom mllps:// trusts; default: whom this machine trusts")
    deliver_certificate_file: Path | None = None
    deliver_key_file: Path | None = None

    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    kafka_username: str | None = None
    kafka_password_file: Path | None = None
    kafka_token_file: Path | None = Field(None, description="bearer token for OAUTHBEARER, read for each connection")
    kafka_ca_file: Path | None = None
    kafka_certificate_file: Path | None = None
    kafka_key_file: Path | None = None
    kafka_check_hostname: bool = Field(True, description="whether the brokers' certificates must name their hosts")
    allow_plaintext: bool = Field(
        False, description="reach brokers on other machines without TLS, or without the check of their names"
    )
    kafka_static_member: bool = Field(False, description="keep partitions through a restart (group.instance.id)")

    @field_validator("site_zone")
    @classmethod
    def _zone_exists(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError("no such time zone") from None
        return zone

    @field_validator("site_charset")
    @classmethod
    def _codec_exists(cls, charset: str | None) -> str | None:
        try:
            return charset and codecs.lookup(charset).name
        except LookupError:
            raise ValueError("no such codec") from None

    @model_validator(mode="after")
    def _one_engine(self) -> Self:
        if self.engine == "echo" and self.model is not None:
            raise ValueError("the echo engine takes no model: set one or the other")
        return self

    @classmethod
    def load(cls, config: Path | None = None, **flags: Any) -> Self:
        """The settings; a flag of None means "not given". Raises SettingsError."""
        try:
            stated = _read(config) if config else {}
            # Flags rule the environment, and the environment rules the file.
            from_file = {name: value for name, value in stated.items() if f"ECG_{name.upper()}" not in os.environ}
            given = {name: value for name, value in flags.items() if value is not None}
            settings = cls(**(from_file | given))
            check_url(settings.log)
        except LogError as error:
            raise SettingsError(f"log: {error}") from None
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
            raise SettingsError("; ".join(problems)) from None
        return settings

    def shown(self) -> dict[str, Any]:
        """The effective settings for display. Secrets are in files of their own; only the files' names stand here."""
        return self.model_dump(mode="json")
