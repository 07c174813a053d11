"""MLLP: framing, acknowledgements, and every way in which a receiver can fail to take a message over."""

import logging
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.hl7v2.oru.message import Route
from adapters.mllp.client import MllpClient, Waits
from adapters.mllp.framing import MAX_ACK_BYTES, Ack, FrameReader, FramingError, framed, read_ack
from adapters.outbound import MllpReceiver, ReceiverError, TlsFiles, open_receiver
from schemas.delivery import Refused, Unanswered, Unsendable
from tests.support.flagged import flagged
from tests.support.mllp_peer import Answer, Peer, ack, hangs_up, peer, says, silence

MESSAGE = b"MSH|^~\\&|A||B||20260303||ORU^R01|C1|P|2.5.1\rPID|1||4711\r"
QUICK = Waits(connect_s=2, ack_s=2)
HASTY = Waits(connect_s=2, ack_s=0.05)


@contextmanager
def client(port: int, waits: Waits = QUICK, tls: ssl.SSLContext | None = None) -> Iterator[MllpClient]:
    with closing(MllpClient("127.0.0.1", port, waits, tls)) as opened:
        yield opened


def send(to: Peer, waits: Waits = QUICK) -> None:
    with client(to.port, waits) as sender:
        sender.send(MESSAGE, "C1")


def refusal(answer: Answer) -> Refused:
    with peer(answer) as receiver, pytest.raises(Refused) as caught:
        send(receiver)
    assert len(receiver.messages) == 1
    return caught.value


def no_answer(answer: Answer) -> Unanswered:
    with peer(answer) as receiver, pytest.raises(Unanswered) as caught:
        send(receiver, HASTY)
    assert len(receiver.messages) == 1
    return caught.value


# Framing


@given(st.lists(st.binary(max_size=50).map(lambda b: bytes(set(b) - {0x0B, 0x1C}))), st.data())
def test_messages_are_read_whole_however_they_arrive(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"junk".join(map(framed, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    reader, got = FrameReader(), list[bytes]()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        while (message := reader.next()) is not None:
            got.append(message)
    assert got == messages


@pytest.mark.parametrize(
    "stream",
    [b"\x0bMSA\x1cX", b"\x0bMSA\x0bMSA\x1c\r", b"\x0b" + b"x" * (MAX_ACK_BYTES + 1)],
    ids=["no return", "a start inside", "too large"],
)
def test_broken_framing_is_refused(stream: bytes) -> None:
    reader = FrameReader()
    reader.feed(stream)
    with pytest.raises(FramingError):
        reader.next()


def test_bytes_outside_a_message_take_no_memory() -> None:
    reader = FrameReader()
    for _ in range(100):
        reader.feed(b"x" * MAX_ACK_BYTES)
        assert reader.next() is None
    reader.feed(framed(b"MSA"))
    assert reader.next() == b"MSA"


@pytest.mark.parametrize("mark", [b"\x0b", b"\x1c"])
def test_a_message_with_a_mark_inside_is_not_sent(mark: bytes) -> None:
    with pytest.raises(FramingError):
        framed(b"MSH|" + mark)


# Acknowledgements


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (ack("AA", "C1"), Ack("C1", None, None)),
        (ack("CA", "C1"), Ack("C1", None, None)),
        (ack("AE", "C1", "207"), Ack("C1", "AE", "207")),
        (ack("CR", "C1", "DOE JANE"), Ack("C1", "CR", None)),
        (ack("AR", "C1").replace(b"\r", b"\n"), Ack("C1", "AR", None)),
        (b"MSH#$~\\&#\rMSA#AE#C1\rERR###102$bad\r", Ack("C1", "AE", "102")),
        (b"MSH|^~\\&|\rMSA|AA", Ack("", None, None)),
        (ack("OK", "C1"), None),
        (b"MSH|^~\\&|\r", None),
        (b"MSA|AA|C1\r", None),
        (b"MSH", None),
        (b"", None),
        (b"\xff\xfe\x00", None),
    ],
)
def test_an_acknowledgement_is_read_for_its_codes_only(message: bytes, expected: Ack | None) -> None:
    assert read_ack(message) == expected


@given(st.binary())
def test_no_bytes_make_reading_an_acknowledgement_fail(message: bytes) -> None:
    read_ack(b"MSH|^~\\&\r" + message)


# Delivery


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_an_accepted_message_is_sent_once(code: str) -> None:
    with peer(says(code)) as receiver:
        send(receiver)
        assert receiver.messages == [MESSAGE]


def test_messages_share_one_connection() -> None:
    with peer(says("AA")) as receiver, client(receiver.port) as sender:
        for _ in range(5):
            sender.send(MESSAGE, "C1")
        assert (len(receiver.messages), receiver.connections) == (5, 1)


def test_acknowledgements_of_other_messages_are_passed_over() -> None:
    def late(control_id: str) -> list[bytes]:
        return [framed(ack("AR", "C0")), framed(b"no acknowledgement"), b"junk", framed(ack("AA", control_id))]

    with peer(late) as receiver:
        send(receiver)
        assert len(receiver.messages) == 1


def test_an_acknowledgement_that_comes_after_its_time_is_not_taken_for_the_next() -> None:
    def twice(control_id: str) -> list[bytes]:
        return [framed(ack("AA", control_id)), framed(ack("AR", control_id))]

    with peer(twice, says("AA")) as receiver, client(receiver.port) as sender:
        sender.send(MESSAGE, "C1")
        sender.send(MESSAGE.replace(b"|C1|", b"|C2|"), "C2")
        assert (len(receiver.messages), receiver.connections) == (2, 1)


def test_an_acknowledgement_may_arrive_byte_by_byte() -> None:
    with peer(lambda control_id: [bytes([b]) for b in framed(ack("AA", control_id))]) as receiver:
        send(receiver)


@pytest.mark.parametrize(("code", "final"), [("AR", True), ("CR", True), ("AE", False), ("CE", False)])
def test_a_refusal_is_told_with_its_codes_and_sent_once(code: str, final: bool) -> None:
    refused = refusal(says(code, "202"))
    assert (refused.args, refused.final) == ((code, "202"), final)


def test_after_an_error_the_connection_is_kept() -> None:
    with peer(says("AE"), says("AA")) as receiver, client(receiver.port) as sender:
        with pytest.raises(Refused):
            sender.send(MESSAGE, "C1")
        sender.send(MESSAGE, "C1")
        assert receiver.messages == [MESSAGE, MESSAGE]
        assert receiver.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        silence,
        hangs_up,
        lambda _: [b"\x0bMSA\x1c?"],
        lambda _: [b"\x0b" + b"x" * (MAX_ACK_BYTES + 4096)],
        lambda _: [framed(ack("AA", "C0"))],
        lambda _: [framed(ack("AA", ""))],
        lambda _: [b"x" * 100_000],
    ],
    ids=["silence", "hangs up", "broken frame", "endless", "for another message", "for none", "noise"],
)
def test_what_is_no_acknowledgement_is_like_none_and_the_receiver_may_have_the_message(answer: Answer) -> None:
    assert no_answer(answer).sent


@pytest.mark.parametrize("answer", [silence, hangs_up])
def test_without_an_acknowledgement_the_next_try_has_a_new_connection(answer: Answer) -> None:
    with peer(answer, says("AA")) as receiver, client(receiver.port, HASTY) as sender:
        with pytest.raises(Unanswered):
            sender.send(MESSAGE, "C1")
        sender.send(MESSAGE, "C1")
        assert receiver.messages == [MESSAGE, MESSAGE]
        assert receiver.connections == 2


def test_a_connection_that_died_between_two_messages_is_replaced_before_sending() -> None:
    with peer(says("AA")) as receiver, client(receiver.port) as sender:
        sender.send(MESSAGE, "C1")
        receiver.hang_up()
        sender.send(MESSAGE, "C1")
        assert (len(receiver.messages), receiver.connections) == (2, 2)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_receiver_that_is_not_there_got_nothing() -> None:
    with client(closed_port()) as sender, pytest.raises(Unanswered) as caught:
        sender.send(MESSAGE, "C1")
    assert (caught.value.sent, caught.value.cause) == (False, "ConnectionRefusedError")


def test_closing_ends_a_wait_for_an_acknowledgement() -> None:
    with peer(silence) as receiver, client(receiver.port, Waits(ack_s=60)) as sender:

        def close_when_sent() -> None:
            receiver.wait_for(lambda: len(receiver.messages) == 1)
            sender.close()

        threading.Thread(target=close_when_sent).start()
        with pytest.raises(Unanswered):
            sender.send(MESSAGE, "C1")
        assert len(receiver.messages) == 1


def test_nothing_that_a_receiver_says_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        refusal(lambda c: [framed(ack("AR", c, "DOE").replace(b"text", b"DOE JANE"))])
    assert caplog.messages == ["the receiver answered AR"]


# TLS and URLs


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A self-signed certificate of 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=receiver", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return TlsFiles(ca=folder / "cert.pem", certificate=folder / "cert.pem", key=folder / "key.pem")


@contextmanager
def tls_peer(files: TlsFiles) -> Iterator[Peer]:
    """A receiver that wants to see the sender's certificate, too."""
    assert files.certificate is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(files.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    with peer(says("AA"), tls=context) as receiver:
        yield receiver


def receiver_at(url: str, tls: TlsFiles | None = None) -> MllpReceiver:
    return open_receiver(url, Route(), QUICK, tls)


def test_findings_go_over_tls_with_both_sides_known(certificate: TlsFiles) -> None:
    with tls_peer(certificate) as listening:
        url = f"mllps://127.0.0.1:{listening.port}"
        with closing(receiver_at(url, certificate)) as receiver:
            receiver.deliver(flagged(1))
            receiver.deliver(flagged(2))
        assert (len(listening.messages), listening.connections) == (2, 1)


def test_a_receiver_with_an_unknown_certificate_gets_nothing(certificate: TlsFiles) -> None:
    with tls_peer(certificate) as listening:
        url = f"mllps://127.0.0.1:{listening.port}"
        with closing(receiver_at(url)) as receiver, pytest.raises(Unanswered) as caught:
            receiver.deliver(flagged())
        assert (caught.value.sent, caught.value.cause) == (False, "SSLCertVerificationError")
        assert listening.messages == []


def test_a_finding_that_makes_no_message_is_told_apart_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with peer(says("AA")) as listening, closing(receiver_at(f"mllp://127.0.0.1:{listening.port}")) as receiver:
        for broken in (lambda *_: b"MSH|\x1c", lambda *_: int("x")):
            with monkeypatch.context() as patched:
                patched.setattr("adapters.outbound.build_oru", broken)
                with pytest.raises(Unsendable):
                    receiver.deliver(flagged(1))
        receiver.deliver(flagged(2))
        assert len(listening.messages) == 1


@pytest.mark.parametrize(
    ("url", "flaw"),
    [
        ("mllp://", "its host is missing"),
        ("mllp://host", "its port is missing"),
        ("mllp://host:x", "its port is no number"),
        ("mllp://host:70000", "its port is no number"),
        ("http://host:1", "neither mllp:// nor mllps://"),
        ("mllp://h:1/x", "more than a host and a port"),
        ("mllp://u:hunter2@h:1", "more than a host and a port"),
        ("mllp://hunter2%40h:1", "its host could be no name"),
    ],
)
def test_an_address_that_is_none_is_refused_with_the_forms(url: str, flaw: str) -> None:
    with pytest.raises(ReceiverError, match=f"^it.* {flaw.partition(' ')[2]}.*; a receiver's URL is mllp") as refused:
        receiver_at(url)
    assert flaw in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("host", ["ehr", "10.0.0.7", "[2001:db8::1]"])
def test_patients_identifiers_go_to_another_machine_over_tls_only(host: str) -> None:
    with pytest.raises(ReceiverError, match="write mllps:// for TLS, or set ECG_DELIVER_ALLOW_PLAINTEXT=1"):
        open_receiver(f"mllp://{host}:2575", Route(), Waits())
    open_receiver(f"mllps://{host}:2575", Route(), Waits()).close()
    open_receiver(f"mllp://{host}:2575", Route(), Waits(), allow_plaintext=True).close()


def test_tls_files_are_not_ignored(certificate: TlsFiles, tmp_path: Path) -> None:
    with pytest.raises(ReceiverError, match="write mllps://, or unset them"):
        receiver_at("mllp://host:1", certificate)
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.touch()
    for files, said in (
        (TlsFiles(ca=missing), f"{missing} cannot be used: No such file or directory; check ECG_DELIVER_CA_FILE"),
        (TlsFiles(ca=empty), f"{empty} cannot be used: "),
        (TlsFiles(certificate.ca, certificate.certificate, missing), f"{missing} cannot be used: No such file"),
        (TlsFiles(certificate.ca, certificate.certificate, empty), "check ECG_DELIVER_CERTIFICATE_FILE and"),
    ):
        with pytest.raises(ReceiverError) as refused:
            receiver_at("mllps://host:1", files)
        assert said in str(refused.value)
