"""A receiver that answers, but not to the message: told from a silent one, without a word of what it said."""

import socket
import threading
from contextlib import closing

import pytest

from adapters.mllp.client import NO_ACKNOWLEDGEMENT, OTHER_MESSAGES, MllpClient, Waits
from adapters.mllp.framing import framed
from schemas.delivery import Unanswered
from tests.support.mllp_peer import Answer, ack, hangs_up, peer, says, silence

MESSAGE = b"MSH|^~\\&|A||B||20260303||ORU^R01|C1|P|2.5.1\rPID|1||4711\r"
HASTY = Waits(connect_s=2, ack_s=0.05)


def client(port: int, waits: Waits = HASTY) -> closing[MllpClient]:
    return closing(MllpClient("127.0.0.1", port, waits))


def no_answer(answer: Answer) -> Unanswered:
    with peer(answer) as receiver, client(receiver.port) as sender, pytest.raises(Unanswered) as caught:
        sender.send(MESSAGE, "C1")
    return caught.value


OTHER, NONE = [framed(ack("AA", "DOE JANE"))], [framed(b"DOE JANE")]


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (silence, "TimeoutError"),
        (hangs_up, "ConnectionResetError"),
        (lambda _: OTHER, OTHER_MESSAGES),
        (lambda _: [framed(ack("AA", ""))], OTHER_MESSAGES),
        (lambda _: [*OTHER, *NONE], OTHER_MESSAGES),
        (lambda _: [*NONE, *OTHER], OTHER_MESSAGES),
        (lambda _: NONE, NO_ACKNOWLEDGEMENT),
        (lambda control_id: [framed(ack("OK", control_id))], NO_ACKNOWLEDGEMENT),
        (lambda control_id: [ack("AA", control_id)], NO_ACKNOWLEDGEMENT),
        (lambda _: [b"\x0bMSH|^~\\&|DOE"], NO_ACKNOWLEDGEMENT),
        (lambda _: [b"\x0bDOE JANE\x1c?"], NO_ACKNOWLEDGEMENT),
    ],
    ids=[
        "silence", "hangs up", "another MSA-2", "no MSA-2", "another, then none", "none, then another", "no HL7",
        "another code", "not framed", "half an answer", "broken frame",
    ],
)  # fmt: skip
def test_an_answer_that_is_none_to_the_message_is_told_from_silence_without_its_text(
    answer: Answer, cause: str
) -> None:
    failure = no_answer(answer)
    assert (failure.sent, failure.cause) == (True, cause)
    assert (failure.check is None) == cause.endswith("Error")
    assert failure.check is None or ("MSA-2" in failure.check and "MSH-10" in failure.check)
    assert "DOE" not in f"{failure.told} {failure!r}"


def hangs_up_after_answering_another(receiver: socket.socket) -> None:
    with receiver.accept()[0] as connection:
        connection.recv(4096)
        connection.sendall(OTHER[0])


def test_a_receiver_that_answers_another_message_and_hangs_up_has_answered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=hangs_up_after_answering_another, args=(listener,)).start()
        with client(listener.getsockname()[1], Waits(2, 5)) as sender, pytest.raises(Unanswered) as caught:
            sender.send(MESSAGE, "C1")
    assert caught.value.cause == OTHER_MESSAGES


def test_a_second_acknowledgement_of_an_answered_message_is_late_and_no_wrong_one() -> None:
    """As in enhanced mode: CA at once, AA a while later. Then the receiver is silent."""
    with peer(says("CA"), lambda _: [framed(ack("AA", "C1"))]) as receiver:
        with client(receiver.port) as sender:
            sender.send(MESSAGE, "C1")
            with pytest.raises(Unanswered) as late:
                sender.send(MESSAGE.replace(b"|C1|", b"|C2|"), "C2")
            with pytest.raises(Unanswered) as wrong:
                sender.send(MESSAGE.replace(b"|C1|", b"|C2|"), "C2")
        assert receiver.connections == 2
    assert late.value.cause == "TimeoutError"
    assert wrong.value.cause == OTHER_MESSAGES, "nothing was answered on this connection"
