"""The night in order: what went wrong, and what was done about it."""

from autoscope.report.chronicle import chronicle
from autoscope.report.reading import read
from autoscope.report.story import Act, Ending, Remark, RunClock, RunStory


def act(step, begun_s, status="done", kind="scan", target="tile 1", purpose="overview", message=""):
    return Act(
        step,
        begun_s,
        begun_s + 1,
        purpose,
        target,
        kind,
        status,
        0.0,
        0,
        0,
        None,
        "BadFrame" if message else "",
        message,
    )


def story(*acts, remarks=(), ending=None, last_s=1000.0):
    return RunStory("run", {}, RunClock.of([]), 0.0, last_s, 1, "", acts=acts, remarks=remarks, ending=ending)


def note(kind, time_s, what="", who="", why=""):
    return Remark(None, time_s, kind, who, what, why)


def test_an_act_that_was_tried_again_says_so_and_how_much_later():
    (event,) = chronicle(story(act(0, 10, "rejected", message="frame is dim"), act(1, 70)))
    assert "1 act rejected (overview tile 1): frame is dim" in event.what
    assert event.done == "tried again 1 min later: done"


def test_an_act_that_was_not_tried_again_was_left_out():
    (event,) = chronicle(story(act(0, 10, "failed", message="stuck"), act(1, 20, target="tile 2")))
    assert event.done == "left out; went on with overview tile 2"


def test_the_same_trouble_within_minutes_is_one_event_and_hours_later_another():
    bad = [act(k, t, "rejected", target=f"tile {k}", message="dim") for k, t in enumerate((0, 60, 120, 9000))]
    events = chronicle(story(*bad, act(9, 9100, target="tile 9"), last_s=9200.0))
    assert [event.what.split()[0] for event in events] == ["3", "1"]


def test_of_several_only_those_made_good_are_counted():
    acts = (
        act(0, 0, "failed", target="a", message="x"),
        act(1, 5, "failed", target="b", message="x"),
        act(2, 9, target="a"),
    )
    (event,) = chronicle(story(*acts))
    assert event.done == "1 of 2 tried again: done; the others left out; went on with overview a"


def test_a_suspension_tells_how_long_the_beam_was_blanked_and_whether_the_run_went_on():
    held = note("suspended", 100, "beam current is 0 A")
    (event,) = chronicle(story(remarks=(held, note("released", 400))))
    assert (event.kind, event.done) == ("held", "beam blanked, waited 5 min, went on")
    (event,) = chronicle(story(remarks=(held,), last_s=160.0))
    assert event.done == "beam blanked, waited 1 min, did not go on"


def test_people_resumptions_and_the_end_are_in_it_in_order_and_bookkeeping_is_not():
    remarks = (
        note("resumed", 50, "interrupted"),
        note("intervention", 20, "pause", "Ada", "tea"),
        note("checkpoint", 30),
    )
    events = chronicle(story(remarks=remarks, ending=Ending("completed", "enough", 1, 1.0, 1.0, 0, safe=True)))
    assert [event.kind for event in events] == ["person", "resumed", "end"]
    assert events[0].what == "Ada: pause"
    assert events[-1].done == "beam blanked"


def test_a_night_with_trouble_tells_of_every_act_in_vain(surveyed):
    told = read(surveyed)
    in_vain = [a for a in told.acts if a.status not in ("done", "open")]
    counted = sum(int(e.what.split()[0]) for e in chronicle(told) if e.kind == "in vain")
    assert counted == len(in_vain) > 0


def test_what_was_done_for_the_instrument_is_told_with_what_was_found():
    remark = Remark(7, 1800.0, "upkeep", "", "zero loss found at +0.12 ± 0.01 eV: the offset goes from 0 to -0.12", "")
    (event,) = chronicle(story(remarks=(remark,)))
    assert (event.kind, event.begun_s, event.step) == ("upkeep", 1800.0, 7)
    assert "+0.12 ± 0.01 eV" in event.what


def test_an_image_in_which_the_sample_moved_is_in_the_list_of_the_night():
    (event,) = chronicle(story(act(0, 10), remarks=(note("moved", 11.0, "the sample jumped (5.1 ± 0.2 px)"),)))
    assert (event.kind, event.what) == ("moved", "the sample jumped (5.1 ± 0.2 px)")


def test_images_that_were_not_as_usual_are_one_event_for_as_long_as_it_lasts():
    dim = [
        note("unfit", t, f"the image before is not learnt from (dim at {t:g})") for t in (100.0, 101.0, 800.0, 9000.0)
    ]
    first, second = chronicle(story(act(0, 10), remarks=tuple(dim)))
    assert (first.kind, first.begun_s, first.ended_s) == ("unfit", 100.0, 800.0)
    assert first.what == "3 times an image was not as usual; last: the image before is not learnt from (dim at 800)"
    assert (second.begun_s, second.what) == (9000.0, "the image before is not learnt from (dim at 9000)")
