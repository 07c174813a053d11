"""Probes: alive depends on this process only, ready on having work, started on a warm model."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing

import pytest
from prometheus_client.metrics import MetricWrapperBase

from schemas.errors import WorkerError
from worker.operations import metrics
from worker.operations.health import ENGINE_STALLED_S, LOOP_STALLED_S, Health, HealthServer, LoopProgress


def health(progress: LoopProgress, *, now: float = 0.0, stalled_s: float = 0.0) -> Health:
    return Health(progress, lambda: stalled_s, lambda: now)


def working() -> LoopProgress:
    return LoopProgress(assigned_partitions=3, turned_at=0.0)


def test_a_worker_with_partitions_is_ready() -> None:
    assert health(working()).ready


def test_without_partitions_or_while_draining_it_is_alive_but_not_ready() -> None:
    for progress in (LoopProgress(turned_at=0.0), LoopProgress(assigned_partitions=3, draining=True, turned_at=0.0)):
        assert health(progress).alive
        assert not health(progress).ready


def test_in_trouble_it_is_alive_but_not_ready_and_says_why() -> None:
    progress = working()
    progress.trouble = "receiver away for 120 s"
    assert health(progress).alive
    assert not health(progress).ready
    assert health(progress).payload()["trouble"] == "receiver away for 120 s"
    progress.trouble = None
    assert health(progress).ready


def test_a_loop_that_no_longer_turns_is_not_alive() -> None:
    assert health(working(), now=LOOP_STALLED_S - 1).alive
    assert not health(working(), now=LOOP_STALLED_S + 1).alive


def test_an_engine_that_is_stuck_is_not_alive() -> None:
    assert not health(working(), stalled_s=ENGINE_STALLED_S + 1).alive


@pytest.fixture
def server() -> Iterator[HealthServer]:
    with closing(HealthServer(0, "127.0.0.1")) as running:
        yield running


def get(server: HealthServer, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_probes_answer_over_http(server: HealthServer) -> None:
    assert [get(server, path)[0] for path in ("/livez", "/startupz", "/readyz")] == [200, 503, 503]
    progress = LoopProgress(committed=7)
    server.started(Health(progress, lambda: 0.0))
    assert [get(server, path)[0] for path in ("/livez", "/startupz", "/readyz")] == [200, 200, 503]
    progress.assigned_partitions = 1
    status, body = get(server, "/readyz?verbose")
    assert (status, json.loads(body)["committed"]) == (200, 7)
    assert get(server, "/nothing")[0] == 404


def test_metrics_are_served_and_hold_no_label_but_the_bounded_ones(server: HealthServer) -> None:
    status, body = get(server, "/metrics")
    text = body.decode()
    assert status == 200
    assert "# TYPE ecg_findings_total counter" in text
    ours = [item for item in vars(metrics).values() if isinstance(item, MetricWrapperBase)]
    assert len(ours) > 8
    assert {label for item in ours for label in item._labelnames} <= {
        "verdict",
        "reason",
        "outcome",
        "priority",
        "topic",
    }


def test_a_port_that_is_taken_is_named_with_the_remedy() -> None:
    with closing(HealthServer(0, "127.0.0.1")) as first, pytest.raises(WorkerError) as refused:
        HealthServer(first.port, "127.0.0.1")
    said = f"port {first.port} cannot be served: Address already in use; set ECG_HEALTH_PORT to a free one"
    assert str(refused.value) == said
