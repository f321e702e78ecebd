"""The page in a real Chromium: by keys alone, by touch, for those who cannot see it, and looked at as pictures.

SCREENSHOTS=DIR keeps what was seen.
"""

import os
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.evidence.labels import LabelSource
from edge_agent.records import Standing
from edge_agent.review.office import CameraNow, Floor
from tests.evidence.samples import identity
from tests.review.chromium import Chromium
from tests.review.plant import PASSWORD, fill, running

pytestmark = [pytest.mark.browser, pytest.mark.long]

PAGES = ("/queue", "/disputes", "/search", "/history", "/cameras", "/live", "/help", f"/sample/{identity(5)}")
SIZES = {"desk": (1280, 800), "tablet": (768, 1024), "phone": (390, 844)}
TITLE = "document.title"
SHOWN = "document.querySelector('[data-picture] image')?.getAttribute('href').split('/').pop()"
SAID = "document.getElementById('said').textContent"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def page(tmp_path):
    """Two opinions are needed; ann and bob have spoken of some, and differ about two."""
    fill(tmp_path / "evidence", 24, people_needed=2)
    now = CameraNow(
        state="streaming", fps=9.8, passed=11_820, failed=31, held=7, yield_share=0.9968, last="FAIL pit A9"
    )
    floor = Floor(
        cameras=lambda: {"press-3-top": now, "press-4-side": now}, picture=lambda _: None, watched=lambda: None
    )
    with running(tmp_path, SystemClock(), floor=floor) as page:
        for name, role in (("ann", "reviewer"), ("bob", "reviewer"), ("eve", "adjudicator")):
            page.add(name, role)
        with page.evidence() as (_, book):
            for number in range(1, 7):
                book.say(identity(number), "scratch", by="ann", source=LabelSource.PAGE)
                word = "stain" if number > 4 else "scratch"
                book.say(identity(number), word, by="bob", source=LabelSource.PAGE, note="by the edge")
        yield page


@pytest.fixture
def visitor(chromium, page):
    """Somebody logged in, in a browser of their own; at the end the console must have had nothing to complain of."""
    tabs = []

    def come(name, **options):
        tab = chromium.person(**options)
        tabs.append(tab)
        tab.log_in(address(page), name, PASSWORD)
        return tab

    yield come
    complaints = [complaint for tab in tabs for complaint in tab.complaints]
    for tab in tabs:
        tab.close()
    assert complaints == []


def address(page):
    return f"http://127.0.0.1:{page.port}"


def keep(tab, name):
    """The picture, where somebody wants to look at it."""
    if "SCREENSHOTS" in os.environ:
        folder = Path(os.environ["SCREENSHOTS"])
        folder.mkdir(parents=True, exist_ok=True)
        tab.evaluate(
            "Promise.all([...document.images].filter(i => i.loading != 'lazy').map(i => i.decode().catch(() => 0)))"
        )
        tab.picture(folder / f"{name}.png")


def press_and_wait(tab, key):
    before = tab.evaluate(f"{TITLE} + {SHOWN}")
    tab.press(key)
    tab.until(f"({TITLE} + {SHOWN}) !== {before!r}")


def test_ten_pictures_are_labelled_by_ten_keys_and_the_last_is_taken_back(page, visitor):
    ann = visitor("ann")
    seen = []
    for key in "1234512345":
        seen.append(ann.evaluate(SHOWN))
        press_and_wait(ann, key)
    assert len(set(seen)) == 10
    assert ann.evaluate(TITLE).startswith("10 of ")
    ann.until(f"{SAID}.startsWith('Labelled')")
    keep(ann, "labelled")

    press_and_wait(ann, "u")
    assert ann.evaluate(SHOWN) == seen[-1]
    ann.until(f"{SAID}.startsWith('Took back')")
    keep(ann, "undone")
    with page.evidence() as (catalogue, _):
        said = catalogue.events(by="ann", limit=11)[::-1]
        assert [event.sample for event in said[:10]] == seen
        assert said[10].withdraws == said[9].id
        assert [event.label for event in said[:5]] == ["ok", "crack", "pit", "scratch", "stain"]


def test_a_second_person_agrees_without_having_seen_the_first_word(page, visitor):
    ann, bob = visitor("ann"), visitor("bob")
    first = ann.evaluate(SHOWN)
    press_and_wait(ann, "2")

    bob.go(address(page) + "/queue")
    assert bob.evaluate(SHOWN) == first
    assert "second opinion" in bob.evaluate("document.querySelector('main').textContent")
    assert bob.evaluate("document.querySelector('[aria-pressed=true]') === null")
    keep(bob, "second-opinion")
    press_and_wait(bob, "2")
    bob.until(f"{SAID} === 'Labelled crack.'")
    with page.evidence() as (catalogue, _):
        assert catalogue.sample(first).truth == "crack"


def test_an_adjudicator_reads_both_words_and_decides_by_touch(page, visitor):
    eve = visitor("eve", width=768, height=1024)
    eve.go(address(page) + "/disputes")
    text = eve.evaluate("document.querySelector('article').innerText")
    assert "ann says scratch" in text
    assert "bob says stain" in text
    keep(eve, "disputes")

    eve.touch("article button[value=stain]")
    eve.until(f"{SAID} === 'Labelled stain.'")
    eve.touch("article button[value=stain]")
    eve.until("document.querySelector('article') === null")
    with page.evidence() as (catalogue, _):
        assert catalogue.stats().standing.get(Standing.DISPUTED.value) is None


def test_a_new_class_is_typed_without_its_letters_being_keys(page, visitor):
    ann = visitor("ann")
    ann.press("n")
    ann.until("document.activeElement.matches('[data-new-class]')")
    for letter in "burs1":
        ann.press(letter)
    assert ann.evaluate("document.activeElement.value") == "burs1"
    before = ann.evaluate(SHOWN)
    ann.press("Enter")
    ann.until(f"{SHOWN} !== {before!r}")
    assert ann.evaluate("[...document.querySelectorAll('.classes button')].at(-1).value") == "burs1"


def test_the_mark_can_be_hidden_and_looked_at_closer(page, visitor):
    ann = visitor("ann")
    with page.evidence() as (catalogue, _):
        marked = next(one.id for one in catalogue.queue("ann", limit=24) if one.where is not None)
    ann.go(f"{address(page)}/queue?sample={marked}")
    drawn = "getComputedStyle(document.querySelector('.mark')).display !== 'none'"
    box = "document.querySelector('[data-picture]').getAttribute('viewBox')"
    assert ann.evaluate(drawn)
    ann.press("h")
    assert not ann.evaluate(drawn)
    ann.go(f"{address(page)}/queue?sample={marked}")
    ann.until("document.querySelector('#marks') !== null")
    assert not ann.evaluate(drawn), "it stays hidden on this device"
    ann.press("h")
    whole = ann.evaluate(box)
    ann.press("z")
    assert ann.evaluate(box) != whole
    assert ann.evaluate("document.querySelector('[data-zoom]').getAttribute('aria-pressed')") == "true"
    keep(ann, "closer")
    ann.press("z")
    assert ann.evaluate(box) == whole
    ann.touch("[data-picture]")
    ann.until(f"{box} !== {whole!r}")


def test_single_keys_can_be_switched_off(page, visitor):
    ann = visitor("ann")
    ann.press("?")
    ann.until("document.querySelector('dialog[open]') !== null")
    keep(ann, "keys")
    ann.evaluate("document.getElementById('keys-on').click()")
    ann.press("Escape")
    ann.until("document.querySelector('dialog[open]') === null")
    before = ann.evaluate(SHOWN)
    ann.press("1")
    ann.press("s")
    ann.go(address(page) + "/queue")
    assert ann.evaluate(SHOWN) == before


def test_without_a_script_the_same_is_done_by_forms(page, chromium):
    tab = chromium.person()
    tab.send("Emulation.setScriptExecutionDisabled", value=True)
    tab.log_in(address(page), "ann", PASSWORD)
    first = tab.evaluate(SHOWN)
    loads = tab.loads
    for _ in range(40):
        tab.press("Tab")
        if tab.evaluate("document.activeElement.value") == "pit":
            break
    tab.press("Enter")
    tab.wait_for_load(loads)
    assert tab.evaluate(SAID).startswith("Labelled pit")
    assert tab.evaluate(SHOWN) != first
    assert not tab.evaluate("[...document.querySelectorAll('.needs-script')].some(e => e.offsetParent)")
    assert tab.complaints == []
    tab.close()


def test_a_gateway_that_went_away_is_said_and_nothing_is_lost(page, visitor):
    ann = visitor("ann")
    ann.send("Network.enable")
    ann.send("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    before = ann.evaluate(SHOWN)
    ann.press("1")
    ann.until(f"{SAID}.startsWith('The gateway does not answer')")
    ann.send("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    assert ann.evaluate(SHOWN) == before
    ann.complaints.clear()  # the browser's own word for what we did to it
    press_and_wait(ann, "1")


@pytest.mark.parametrize("size", SIZES)
def test_every_page_fits_and_can_be_used_with_a_finger_at_every_size(page, visitor, size):
    eve = visitor("eve", width=SIZES[size][0], height=SIZES[size][1])
    for path in PAGES:
        eve.go(address(page) + path)
        keep(eve, f"{path.strip('/').split('/')[0]}-{size}")
        assert eve.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0, path
        assert eve.evaluate(TOO_SMALL) == [], path


@pytest.mark.parametrize("dark", [False, True])
def test_words_can_be_told_from_their_ground(page, visitor, dark):
    eve = visitor("eve", dark=dark)
    for path in PAGES:
        eve.go(address(page) + path)
        assert eve.evaluate(TOO_FAINT) == [], path
    if dark:
        eve.go(address(page) + "/queue")
        keep(eve, "queue-dark")


@pytest.mark.parametrize("size", SIZES)
def test_every_control_has_a_name_and_every_page_its_landmarks_and_one_heading(page, visitor, size):
    eve = visitor("eve", width=SIZES[size][0], height=SIZES[size][1])
    roles = {
        "button",
        "link",
        "textbox",
        "combobox",
        "checkbox",
        "searchbox",
        "progressbar",
        "image",
        "Date",
        "DisclosureTriangle",
    }
    for path in PAGES:
        eve.go(address(page) + path)
        nodes = eve.send("Accessibility.getFullAXTree")["nodes"]
        seen = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
        assert [role for role, name in seen if role in roles and not name.strip()] == [], path
        for landmark in ("banner", "navigation", "main", "status"):
            assert landmark in {role for role, _ in seen}, (path, landmark)
        assert eve.evaluate("document.querySelectorAll('main h1').length") == 1, path
        assert eve.evaluate("document.documentElement.lang") == "en"
        assert eve.evaluate(
            "new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size === document.querySelectorAll('[id]').length"
        ), path


def test_tab_reaches_everything_in_the_order_it_is_read_in_and_shows_where_it_is(page, visitor):
    ann = visitor("ann")
    ann.evaluate(
        "window.reachable = [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary')]"
        ".filter(e => e.checkVisibility() && !e.closest('dialog'))"
    )
    count = ann.evaluate("reachable.length")
    order, outlined = [], []
    for _ in range(count):
        ann.press("Tab")
        order.append(ann.evaluate("reachable.indexOf(document.activeElement)"))
        outlined.append(ann.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2"))
    assert order == list(range(count))
    assert all(outlined)


def test_what_came_of_a_label_is_told_to_those_who_hear_the_page(page, visitor):
    ann = visitor("ann")
    ann.evaluate(
        "window.heard = []; new MutationObserver(() => { const t = document.getElementById('said').textContent;"
        " if (t) heard.push(t); }).observe(document.getElementById('said'), {childList: true, characterData: true, subtree: true})"
    )
    press_and_wait(ann, "1")
    ann.until("heard.length === 1")
    press_and_wait(ann, "1")
    ann.until("heard.length === 2")
    assert ann.evaluate("document.getElementById('said').getAttribute('aria-live')") == "polite"
    assert ann.evaluate("document.activeElement.id") == "title"


def test_the_live_view_comes_anew_by_itself_until_it_is_told_not_to(page, visitor):
    ann = visitor("ann")
    ann.go(address(page) + "/live")
    keep(ann, "live")
    first = ann.evaluate("document.querySelector('main time').dateTime")
    ann.until(f"document.querySelector('main time').dateTime !== {first!r}")
    ann.evaluate("document.getElementById('refresh-on').click()")
    assert ann.evaluate("localStorage.getItem('refresh')") == "off"


# Controls lower than 44 px or narrower than 24: links inside running text may be (WCAG 2.2, 2.5.8).
TOO_SMALL = """
[...document.querySelectorAll('main a, main button, main summary, main input:not([type=hidden]):not([type=checkbox]), main select, nav a, .who button, .who a')]
  .filter(e => e.checkVisibility() && getComputedStyle(e).display !== 'inline')
  .filter(e => { const r = e.getBoundingClientRect(); return r.height < 43.5 || r.width < 24; })
  .map(e => e.outerHTML.slice(0, 120))
"""
# Text whose contrast with its nearest opaque ground is below 4.5 (3 for large text): WCAG 1.4.3.
TOO_FAINT = """
(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (c) => { const [r, g, b] = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c.slice(0, 3); } return [255, 255, 255]; };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walk.nextNode());) {
    const e = node.parentElement;
    if (!node.textContent.trim() || !e.checkVisibility() || e.closest('option, script, noscript, .unseen')) continue;
    const style = getComputedStyle(e), size = parseFloat(style.fontSize);
    const [a, b] = [light(rgb(style.color).slice(0, 3)), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05), least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    if (ratio < least) found.push(`${ratio.toFixed(2)} ${node.textContent.trim().slice(0, 40)}`);
  }
  return found;
})()
"""
