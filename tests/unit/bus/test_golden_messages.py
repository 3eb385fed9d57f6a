"""What the messages look like to another language: one file a message, read and written by us to the same bytes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscope.bus import messages as say
from autoscope.bus.arrays import ArrayLayout
from autoscope.bus.messages import Event, Reply, Request
from autoscope.bus.roles import Verb
from autoscope.bus.wire import (
    MAGIC,
    MAX_REQUEST_BYTES,
    PROMISED_BYTES,
    decode_event,
    decode_reply,
    decode_request,
    encode_event,
    encode_reply,
    encode_request,
    error_of,
    pack,
    trouble_of,
    unpack,
)
from autoscope.clock import SimClock
from autoscope.errors import BusError, JournalCorrupt, LimitExceeded, Refused
from autoscope.journal import Journal
from autoscope.records import (
    Act,
    Axis,
    Capabilities,
    Frame,
    FrameMeta,
    MicroscopeState,
    MoveStage,
    Observation,
    Range,
    Scan,
    SetOptics,
    SpectrumImage,
)

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "bus"
STATE = MicroscopeState(time_s=12.5, x_m=1e-06, beam_current_a=5e-11, voltage_v=200000.0, dose_e=3000.0)
AXIS = Axis(name="energy", unit="eV", size=3, scale=10.0)
META = FrameMeta(signal="EDS", axes=(AXIS,), time_s=12.0, dwell_s=0.5, x_m=1e-06, y_m=0.0)
OBSERVATION = Observation("night-000007", STATE, STATE, (Frame(META, np.array([0, 7, 258], dtype="<u4")),))
MOVE = Act(act_id="night-000006", action=MoveStage(x_m=1e-06), deadline_s=60.0, lease="f3c0")
IMAGE = Act(act_id="night-000007", action=Scan(fov_m=1e-06, width_px=64, height_px=64, dwell_s=2e-06), lease="f3c0")
COMA = Act(act_id="night-000009", action=SetOptics(coma_a_m=3e-07, spherical_m=-1e-06), lease="f3c0")
CUBE = Act(
    act_id="night-000008", lease="f3c0",
    action=SpectrumImage(fov_m=1e-07, width_px=64, height_px=64, dwell_s=0.001, signals=("4D",)),
)  # fmt: skip
SCOPE = Capabilities(
    instrument="a column", serial="C-1", simulated=False, voltage_v=2e5, actions=("move_stage",), detectors=("HAADF",),
    ranges={"x_m": Range(low=-1e-3, high=1e-3)}, tolerances={"x_m": 5e-8},
)  # fmt: skip
REFUSAL = trouble_of(
    LimitExceeded("x_m would leave what is permitted", where="move_stage", value=1.0, limit="[0, 1] m")
)
ASKS = {
    "hello": say.Hello(client="night agent"),
    "hello_again": say.Hello(client="night agent", replaces="9a41"),
    "ping": say.Ping(),
    "describe": say.Describe(),
    "state": say.ReadState(),
    "recall": say.Recall(act_id="night-000006"),
    "limits": say.ReadLimits(),
    "ledger": say.ReadLedger(),
    "holder": say.AskHolder(),
    "acquire": say.Acquire(session="9a41"),
    "renew": say.Renew(lease="f3c0"),
    "release": say.Release(lease="f3c0"),
    "take_over": say.TakeOver(session="9a42", why="the agent wandered off"),
    "execute": say.Execute(session="9a41", seq=1, act=MOVE),
    "execute_scan": say.Execute(session="9a41", seq=2, act=IMAGE, acknowledge=("night-000002",)),
    "execute_live": say.Execute(session="9a41", seq=3, act=CUBE, live=True),
    "execute_corrector": say.Execute(session="9a41", seq=4, act=COMA),
    "abort": say.Abort(act_id="night-000007"),
    "make_safe": say.MakeSafe(),
    "emergency_stop": say.EmergencyStop(why="smoke"),
    "clear_emergency": say.ClearEmergency(why="it was the kettle"),
    "stop": say.Stop(why="maintenance"),
}
ANSWERS = {
    "welcome": say.Welcome(session="9a41", server="77b0", user="night_agent", role="agent", clock="system", lease_s=5.0,
                           instrument="a column", serial="C-1"),
    "pong": say.Pong(driver="busy", watchdog="alive", emergency=False, holder="night_agent"),
    "described": say.Described(capabilities=SCOPE),
    "state": say.StateRead(state=STATE),
    "limits": say.Limits(ranges={"x_m": Range(low=-1e-3, high=1e-3)}, max_dose_e=1e14, dose_e=3000.0),
    "ledger": say.Account(acts={"done": 6}, events=("2026-11-27T02:00:00.000+00:00 lease: anna holds the lease",)),
    "holder": say.Holder(user="night_agent", left_s=3.5),
    "leased": say.Leased(lease="f3c0", left_s=5.0),
    "accepted": say.Accepted(act_id="night-000007"),
    "delivering": say.Delivering(act_id="night-000008", signal="4D", stream="5d0e", layout=ArrayLayout(
        dtype="<u2", shape=(64, 64, 128, 128), part_bytes=1048576, parts=128)),
    "done": pack(OBSERVATION)[0],
    "failed": say.Failed(act_id="night-000006", trouble=REFUSAL),
    "not_begun": say.NotBegun(act_id="night-000008"),
    "fine": say.Fine(),
    "trouble": trouble_of(Refused("the act is out of order: one before is missing", where="night-000009", value=5,
                                  limit=3), "sequence", 3),
}  # fmt: skip
EVENTS = {
    "act": Event(
        kind="act", number=41, time_s=900.25, act_id="night-000007", state="running", elapsed_s=2.0, expected_s=8.0
    ),
    "act_acquiring": Event(
        kind="act",
        number=43,
        time_s=906.0,
        act_id="night-000008",
        state="running",
        elapsed_s=2.0,
        expected_s=8.0,
        points_done=1024,
        points_total=4096,
    ),
    "safe": Event(kind="safe", number=42, time_s=905.5, text="the lease of night_agent lapsed"),
}
MESSAGES = (
    {f"request_{name}.json": bytes(encode_request("c1-7", None, ask)[1]) for name, ask in ASKS.items()}
    | {f"reply_{name}.json": bytes(encode_reply("c1-7", None, answer)[1]) for name, answer in ANSWERS.items()}
    | {f"event_{name}.json": encode_event(event)[2] for name, event in EVENTS.items()}
    | {"reply_done.part0.bin": bytes(pack(OBSERVATION)[1][0])}
)
"""File name -> bytes, as this version writes them. Files are never rewritten: a change is a new version."""


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_message_is_written_as_it_was_when_the_protocol_was_published(name):
    assert (GOLDEN / name).read_bytes() == MESSAGES[name]


def test_every_golden_message_is_read_by_this_version():
    names = {path.name for path in GOLDEN.iterdir()}
    assert names == set(MESSAGES)
    for name in sorted(names):
        header = (GOLDEN / name).read_bytes()
        if name.startswith("request"):
            request = decode_request([MAGIC, header])
            assert encode_request(request.id, request.clock_s, request.ask)[1] == header
        elif name.startswith("reply") and name.endswith(".json"):
            reply, _ = decode_reply([MAGIC, header])
            assert encode_reply(reply.id, reply.clock_s, reply.answer)[1] == header
        elif name.startswith("event"):
            assert encode_event(decode_event([b"act", MAGIC, header]))[2] == header


@given(
    identifier=st.text(st.characters(codec="utf-8"), min_size=1, max_size=200),
    clock_s=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    ask=st.sampled_from(sorted(ASKS.values(), key=repr)),
    answer=st.sampled_from(sorted(ANSWERS.values(), key=repr)),
)
def test_what_is_written_out_is_what_the_model_says_whatever_the_identifier_and_the_clock(
    identifier, clock_s, ask, answer
):
    request = Request(id=identifier, clock_s=clock_s, ask=ask)
    assert encode_request(identifier, clock_s, ask)[1] == request.model_dump_json().encode()
    assert decode_request(encode_request(identifier, clock_s, ask)) == request
    reply = Reply(id=identifier, clock_s=clock_s, answer=answer)
    assert encode_reply(identifier, clock_s, answer)[1] == reply.model_dump_json().encode()


def test_every_verb_but_those_of_streams_has_a_golden_request():
    assert {ask.verb for ask in ASKS.values()} == {verb.value for verb in Verb} - {
        "subscribe",
        "fetch",
        "watch",
        "steer",
    }


def test_an_observation_survives_the_wire_to_the_bit():
    done, parts = pack(OBSERVATION)
    reply, raw = decode_reply([*encode_reply("x", None, done), *parts])
    back = unpack(reply.answer, raw)
    assert (back.state, back.frames) == (OBSERVATION.state, OBSERVATION.frames)
    assert back.frames[0].data.dtype == np.dtype("<u4")


def test_a_large_frame_is_compared_once_over_a_sealed_line_by_the_journal_that_hashes_it_anyway(
    tmp_path,
):
    data = np.arange(PROMISED_BYTES // 4, dtype="<u4").reshape(128, -1)
    axes = tuple(Axis(name=name, unit="m", size=size) for name, size in zip("yx", data.shape))
    frame = Frame(META.replace(axes=axes), data)
    done, parts = pack(Observation("a", STATE, STATE, (frame,)))
    (kept,) = unpack(done, parts, verify=False).frames
    with Journal.create(tmp_path / "run", clock=SimClock(), config="") as journal:
        assert journal.write_frame(kept, step=0, index=0).sha256 == kept.promised == done.frames[0].npy_sha256
        altered = bytearray(parts[0])
        altered[3] ^= 1
        (wrong,) = unpack(done, [altered], verify=False).frames
        with pytest.raises(JournalCorrupt, match="not the one that was sent"):
            journal.write_frame(wrong, step=1, index=0)
    with pytest.raises(BusError, match="sha256"):
        unpack(done, [altered])


def test_a_flipped_byte_of_a_frame_is_noticed():
    done, parts = pack(OBSERVATION)
    altered = bytearray(parts[0])
    altered[3] ^= 1
    with pytest.raises(BusError, match="sha256"):
        unpack(done, [altered])


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ([MAGIC], "2 parts"),
        ([MAGIC, b"{}", b"more"], "2 parts"),
        ([b"autoscope/2", b"{}"], "protocol"),
        ([MAGIC, b" " * (MAX_REQUEST_BYTES + 1)], "too large"),
        ([MAGIC, b"\xff\xfe"], "JSON"),
        ([MAGIC, b'{"version":2,"id":"a","ask":{"verb":"ping"}}'], "version"),
        ([MAGIC, b'{"version":1,"id":"a","ask":{"verb":"format_disk"}}'], "verb"),
        ([MAGIC, b'{"version":1,"id":"a","ask":{"verb":"ping"},"extra":1}'], "extra"),
        ([MAGIC, b'{"version":1,"id":"a","clock_s":NaN,"ask":{"verb":"ping"}}'], "clock_s"),
        ([MAGIC, b'{"version":1,"id":1,"ask":{"verb":"ping"}}'], "id"),
        ([MAGIC, b'{"version":1,"id":"a","ask":{"verb":"execute","session":"s","seq":"1"}}'], "ask"),
    ],
)
def test_anything_but_the_strict_header_is_refused_with_a_reason(parts, what):
    with pytest.raises(Refused) as refused:
        decode_request(parts)
    assert what in str(refused.value)


def test_an_error_travels_by_its_class_name_with_its_fields():
    error = LimitExceeded("x_m would leave", where="move_stage", value=1.0, limit="[0, 1] m", remedy="Choose another")
    back = error_of(trouble_of(error))
    assert type(back) is LimitExceeded
    assert (back.what, back.where, back.value, back.limit, back.remedy) == (
        error.what, error.where, error.value, error.limit, error.remedy
    )  # fmt: skip


def test_an_error_of_a_newer_version_is_still_a_bus_error():
    assert type(error_of(say.Trouble(error="GunOnFire", what="hot"))) is BusError
