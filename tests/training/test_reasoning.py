"""The reasoning to be learned says what was measured, in words that can be checked."""

from simulator.entities import ENTITIES
from tests.support.measured import measured
from training.data.reasoning import PATTERNS, READ_LEADS, reasoning_without_waveform, t_waves, write_reasoning


def test_each_lead_but_avr_is_named_with_what_its_t_wave_does() -> None:
    states = t_waves(
        measured({"V1": 0.05, "V2": -0.1, "V3": -0.5, "V4": None, "V5": 0.2, "aVR": -0.3}, biphasic=("V5",))
    )
    assert tuple(states) == READ_LEADS
    assert "aVR" not in states
    assert [states[lead] for lead in ("I", "V1", "V2", "V3", "V4", "V5")] == [
        "upright", "flat", "inverted", "deeply inverted", "unreadable", "biphasic",
    ]  # fmt: skip


def test_what_speaks_for_and_against_follows_from_waveform_and_text() -> None:
    text = write_reasoning(
        measured({"V2": -0.3, "V3": -0.42}), "anterior ischemia", ("chest_pain", "pacemaker", "hypertension"), True
    )
    assert "Deepest in V3, about 0.4 mV, symmetric." in text
    assert "For ischemia: symmetric inversion, chest pain." in text
    assert "Against: pacemaker." in text
    assert text.endswith("Most likely anterior ischemia: ischemia likely.")


def test_wide_tall_long_and_asymmetric_speak_against() -> None:
    strange = measured({"V5": -0.3, "V6": -0.3}, symmetry=2.0, qrs_ms=120.0, sokolow_lyon_mv=3.5, qtc_ms=480.0)
    text = write_reasoning(strange, "left bundle branch block", (), False)
    assert text.startswith("QRS wide, voltage high, QT long.")
    assert "For ischemia: nothing." in text
    assert "Against: asymmetric inversion, wide QRS, high voltage, long QT." in text
    assert text.endswith("ischemia very unlikely.")


def test_st_segments_are_named_from_half_a_millimetre_on() -> None:
    assert "ST depressed in I, II," in write_reasoning(measured({}, st_mv=-0.05), "x", (), False)
    assert "ST raised in I, II," in write_reasoning(measured({}, st_mv=0.05), "x", (), False)
    assert "ST" not in write_reasoning(measured({}, st_mv=0.049), "x", (), False)


def test_an_unseen_picture_is_said_to_be_unseen() -> None:
    assert reasoning_without_waveform(("chest_pain",), True) == (
        "No ECG can be seen. For ischemia: chest pain. Against: nothing. By the text alone: ischemia likely."
    )


def test_every_entity_has_a_name_of_its_own() -> None:
    assert set(PATTERNS) == set(ENTITIES)
    assert len({name for entity, name in PATTERNS.items() if ENTITIES[entity].ischemic}) == sum(
        entity.ischemic for entity in ENTITIES.values()
    )
