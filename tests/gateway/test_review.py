"""A gateway and its review page: what was kept is labelled in a browser, and what the cameras see is on the page."""

import contextlib
import io
import re
import sys

from edge_agent.cli import main
from edge_agent.evidence.catalogue import Catalogue
from edge_agent.evidence.store import EvidenceStore
from tests.gateway.conftest import picture, save
from tests.review.plant import PASSWORD, Client
from tests.waiting import until


def test_a_failed_part_is_labelled_on_the_page_while_the_camera_is_watched(gateway_with, ground, monkeypatch):
    folder = ground / "parts"
    folder.mkdir()
    camera = {"source": f"folder:{folder}?watch=1", "fps": 20, "mode": "trained", "health": []}
    sections = {"evidence": {"min_free_bytes": 0}, "review": {"listen": "127.0.0.1:0"}}
    gateway = gateway_with({"top": camera}, **sections).start()
    monkeypatch.setattr(sys, "stdin", io.StringIO(PASSWORD + "\n"))
    assert main(["review", "user", "add", "ann", "--config", str(gateway.config)]) == 0
    gateway.launch("review")
    where = until(lambda: re.search(r"page=http://127\.0\.0\.1:(\d+)/", gateway.log))
    client = Client(int(where[1]))
    assert client.post("/login", name="ann", password=PASSWORD).status == 303
    until(lambda: "streaming" in client.get("/live").text)

    save(folder / "bad.png", picture(2, line=True))
    shown = until(lambda: re.search(r'<image href="/picture/(\w+)"', client.get("/queue").text))
    client.act("/label", sample=shown[1], label="ok", new_class="1")

    assert (gateway.state / "learn.request").exists(), "a label asks for learning"
    with contextlib.closing(EvidenceStore(gateway.state / "evidence")) as store:
        assert Catalogue(store.database).sample(shown[1]).truth == "ok"
    save(folder / "next.png", picture(3))
    # The folder brings a picture only when there is one; a frame is offered while somebody watches.
    number = iter(range(1000))

    def glimpsed():
        client.get("/live")
        save(folder / f"more-{next(number)}.png", picture(4))
        return client.get("/frame/top").content[:2] == b"\xff\xd8"

    assert until(glimpsed)
    assert set(gateway.stop().values()) == {0}
