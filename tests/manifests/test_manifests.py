"""The manifests fit the worker: its settings, its probes, its deadlines, and what it writes and reads."""

from pathlib import Path
from typing import Any

import pytest

from adapters.kafka.log import CLOSE_LIMIT_S
from cli.catalog import SETTINGS
from cli.settings import Settings
from cli.wiring.log import kafka_options
from cli.wiring.stages import ENGINE_CLOSE_S
from deploy.checks.render import Document, only
from worker.operations.health import HealthServer

pytestmark = [pytest.mark.manifests, pytest.mark.timeout(900)]  # kubectl may have to be built first


def pod(found: list[Document]) -> Document:
    spec: Document = only(found, "StatefulSet")["spec"]["template"]["spec"]
    return spec


def worker(found: list[Document]) -> Document:
    (container,) = pod(found)["containers"]
    assert isinstance(container, dict)
    return container


def settings(found: list[Document], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment(found).items():
        monkeypatch.setenv(name, value)
    return Settings.load()


def environment(found: list[Document]) -> dict[str, str]:
    data: dict[str, str] = only(found, "ConfigMap")["data"]
    return {**data, "ECG_MEMBER": "ecg-worker-0"}


def test_every_variable_is_a_setting_with_a_valid_value(found: list[Document], monkeypatch: pytest.MonkeyPatch) -> None:
    names = {setting.variable for setting in SETTINGS.values()}
    assert environment(found).keys() <= names
    assert settings(found, monkeypatch).model is not None


def test_the_kafka_settings_do_not_contradict_each_other(
    found: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(found, monkeypatch)
    assert chosen.log.startswith("kafka://")
    options = kafka_options(chosen)
    assert options is not None
    assert options.allow_plaintext == (options.security_protocol == "PLAINTEXT")


def test_the_member_is_the_pods_name(found: list[Document]) -> None:
    assert {"name": "ECG_MEMBER", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}} in worker(found)["env"]


def test_no_secret_is_a_variable(found: list[Document]) -> None:
    assert "secret" not in str([worker(found)["env"], worker(found)["envFrom"]]).lower()
    assert not [document for document in found if document["kind"] == "Secret"]


def test_the_settings_name_roll_the_pods(found: list[Document]) -> None:
    (source,) = worker(found)["envFrom"]
    assert source["configMapRef"]["name"] == only(found, "ConfigMap")["metadata"]["name"] != "ecg-worker-settings"


def test_probes_ask_what_the_worker_answers(found: list[Document], monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = worker(found)["ports"]
    assert port["containerPort"] == settings(found, monkeypatch).health_port
    (service_port,) = only(found, "Service")["spec"]["ports"]
    assert service_port["targetPort"] == port["name"]
    server = HealthServer(0, "127.0.0.1")
    try:
        for probe, path in {"startup": "/startupz", "readiness": "/readyz", "liveness": "/livez"}.items():
            request = worker(found)[f"{probe}Probe"]["httpGet"]
            assert request == {"path": path, "port": port["name"]}
            assert server.answer(path) is not None
    finally:
        server.close()


def test_the_grace_period_fits_the_drain(found: list[Document], monkeypatch: pytest.MonkeyPatch) -> None:
    after_drain_s = ENGINE_CLOSE_S + CLOSE_LIMIT_S
    assert pod(found)["terminationGracePeriodSeconds"] > settings(found, monkeypatch).drain_s + after_drain_s


def test_the_model_is_mounted_read_only_where_it_is_sought(
    found: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts: dict[str, Any] = {mount["mountPath"]: mount for mount in worker(found)["volumeMounts"]}
    assert mounts[str(settings(found, monkeypatch).model)]["readOnly"]


def test_every_file_that_is_set_is_in_a_read_only_mount(found: list[Document], monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(found, monkeypatch)
    files = [Path(value) for name, value in chosen.shown().items() if name.endswith("_file") and value is not None]
    mounts = [Path(mount["mountPath"]) for mount in worker(found)["volumeMounts"] if mount.get("readOnly")]
    for file in files:
        assert any(mount in file.parents for mount in mounts), file


def test_only_memory_can_be_written_to(found: list[Document]) -> None:
    assert worker(found)["securityContext"]["readOnlyRootFilesystem"]
    writable = {mount["name"] for mount in worker(found)["volumeMounts"] if not mount.get("readOnly")}
    volumes = {volume["name"]: volume for volume in pod(found)["volumes"]}
    assert {volumes[name]["emptyDir"]["medium"] for name in writable} == {"Memory"}


def test_threads_fit_the_processor_limit(found: list[Document], monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(found, monkeypatch)
    assert chosen.engine.threads is not None
    assert max(chosen.engine.threads, chosen.processes) <= int(worker(found)["resources"]["limits"]["cpu"])


def test_policies_and_the_budget_select_the_worker(found: list[Document]) -> None:
    labels = only(found, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    selectors = [document["spec"]["podSelector"] for document in found if document["kind"] == "NetworkPolicy"]
    selectors.append(only(found, "PodDisruptionBudget")["spec"]["selector"])
    selectors.append({"matchLabels": only(found, "Service")["spec"]["selector"]})
    assert {} in selectors  # nothing is allowed that no policy names
    for selector in selectors:
        assert selector.get("matchLabels", {}).items() <= labels.items()


def test_kafkas_port_is_open(found: list[Document], monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(settings(found, monkeypatch).log.rpartition(":")[2])
    policies = {document["metadata"]["name"]: document for document in found if document["kind"] == "NetworkPolicy"}
    assert policies["worker-kafka"]["spec"]["egress"][0]["ports"] == [{"protocol": "TCP", "port": port}]


@pytest.mark.parametrize("overlay", ["prod"], scope="session", indirect=True)
def test_production_names_its_model_and_asks_for_a_gpu(found: list[Document], monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(found, monkeypatch)
    assert chosen.model_digest is not None
    assert (chosen.engine.provider, chosen.engine.dtype) == ("cuda", "bfloat16")
    assert worker(found)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "@sha256:" in worker(found)["image"]
    assert chosen.kafka.security_protocol == "SASL_SSL"
