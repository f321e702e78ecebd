"""A camera without a trained head: it learns from its first good parts, then flags what is unlike them."""

from tests.gateway.conftest import picture, save
from tests.gateway.witness import without_gaps
from tests.waiting import until

WANTED = 20


def test_the_first_parts_teach_what_good_is_then_an_unlike_one_fails_and_a_restart_forgets_nothing(
    gateway_with, ground, witness
):
    folder = ground / "parts"
    for number in range(WANTED):
        save(folder / f"teach-{number:02}.png", picture(100 + number))
    camera = {"source": f"folder:{folder}?watch=1", "mode": "good-only", "good_only_parts": WANTED, "fps": 100}
    gateway = gateway_with({"top": camera}).start()

    until(lambda: len(witness.parts("top")) == WANTED)
    assert {(part["verdict"], part["reason"]) for part in witness.parts("top").values()} == {("HOLD", "learning")}

    save(folder / "good.png", picture(500))
    save(folder / "bad.png", picture(501, line=True))
    judged = until(lambda: len(witness.parts("top")) == WANTED + 2 and by_name(witness))
    assert (judged["good.png"]["verdict"], judged["good.png"]["label"]) == ("PASS", "ok")
    assert (judged["bad.png"]["verdict"], judged["bad.png"]["label"]) == ("FAIL", "unlike-good")
    assert judged["bad.png"]["where"] is not None
    until(lambda: without_gaps(witness.parts("top")))
    until(lambda: gateway.camera("top")["mode"] == "good-only")

    gateway.stop()
    for path in folder.iterdir():
        path.unlink()
    gateway.start()
    save(folder / "good-again.png", picture(500))
    save(folder / "bad-again.png", picture(501, line=True))
    again = until(lambda: {"good-again.png", "bad-again.png"} <= by_name(witness).keys() and by_name(witness))
    for name in ("good", "bad"):
        assert again[f"{name}-again.png"]["score"] == judged[f"{name}.png"]["score"]
        assert again[f"{name}-again.png"]["verdict"] == judged[f"{name}.png"]["verdict"]


def by_name(witness):
    return {part["part"]: part for part in witness.said("insp/top")}
