"""Nobody sees a picture who has not said who they are; and a stranger learns nothing by trying."""

from tests.evidence.samples import identity
from tests.review.plant import PASSWORD

WRONG = "wrong wrong wrong"
PAGES = (
    "/",
    "/queue",
    "/disputes",
    "/search",
    "/history",
    "/cameras",
    "/live",
    "/help",
    f"/picture/{identity(1)}",
    f"/heat/{identity(1)}",
)


def test_without_a_login_every_page_leads_to_it(page):
    for path in (*PAGES, f"/sample/{identity(1)}", "/frame/press-3-top"):
        answer = page.client().get(path)

        assert (answer.status, answer.content) == (303, b"")
        assert answer.at in ("/login", "/queue")


def test_without_a_login_no_form_is_taken(page):
    for path in ("/label", "/undo", "/skip", "/logout"):
        assert page.client().post(path, sample=identity(1), label="ok").at == "/login"

    with page.evidence() as (catalogue, _):
        assert catalogue.events() == []


def test_the_right_password_opens_the_queue_with_a_cookie_no_script_and_no_other_site_gets(page):
    client = page.client()
    answer = client.post("/login", name="ann", password=PASSWORD)

    assert (answer.status, answer.at) == (303, "/queue")
    flags = {word.strip().lower() for word in answer.headers["set-cookie"].split(";")[1:]}
    assert flags == {"httponly", "path=/", "samesite=strict"}
    assert "press-3-top" in client.get("/queue").text


def test_a_name_nobody_has_and_a_wrong_password_get_the_same_answer(page):
    wrong = page.client().post("/login", name="ann", password=WRONG)
    nobody = page.client().post("/login", name="who", password=WRONG)

    assert wrong.status == nobody.status == 403
    assert wrong.text.replace("ann", "who") == nobody.text


def test_after_five_wrong_passwords_even_the_right_one_waits_longer_each_time(page, clock):
    client = page.client()
    for _ in range(5):
        assert client.post("/login", name="ann", password=WRONG).status == 403

    blocked = client.post("/login", name="ann", password=PASSWORD)
    assert (blocked.status, client.cookies) == (429, {})
    assert "try again in 1 seconds" in blocked.text
    clock.advance(1.1)
    assert client.post("/login", name="ann", password=WRONG).status == 403
    assert "try again in 2 seconds" in client.post("/login", name="ann", password=PASSWORD).text
    clock.advance(2.1)
    assert client.post("/login", name="ann", password=PASSWORD).status == 303


def test_one_persons_slips_do_not_keep_another_out(page):
    for _ in range(6):
        page.client().post("/login", name="ann", password=WRONG)

    assert page.client().post("/login", name="eve", password=PASSWORD).status == 303


def test_a_session_ends_with_the_shift_however_busy_it_was(page, clock):
    client = page.logged_in("ann")
    for _ in range(24):
        clock.advance(1500)
        client.get("/queue")

    assert client.get("/queue").at == "/login"


def test_a_session_that_nobody_touches_ends_and_a_page_that_refreshes_itself_is_no_touch(page, clock):
    client = page.logged_in("ann")
    for _ in range(2):
        clock.advance(1000)
        answer = client.get("/live?refresh=1")

    assert answer.at == "/login"


def test_a_person_who_was_taken_away_or_has_a_new_password_is_out_at_once(page):
    ann, eve = page.logged_in("ann"), page.logged_in("eve")
    page.people.remove("ann")
    assert ann.get("/queue").at == "/login"
    assert eve.get("/queue").status == 200

    page.people.remove("eve")
    page.add("eve", password=WRONG)
    assert eve.get("/queue").at == "/login"


def test_logging_out_ends_the_session_and_not_only_the_cookie(page):
    client = page.logged_in("ann")
    kept = dict(client.cookies)
    assert client.act("/logout").at == "/login"

    client.cookies = kept
    assert client.get("/queue").at == "/login"


def test_who_is_logged_in_passes_the_login_by(page):
    assert page.logged_in("ann").get("/login").at == "/queue"


def test_where_nobody_may_log_in_yet_the_page_says_what_to_do(page):
    page.people.remove("ann")
    page.people.remove("eve")

    assert "edge-agent review user add" in page.client().get("/login").text


def test_a_file_of_people_that_others_may_read_lets_nobody_in(page):
    client = page.logged_in("ann")
    page.people.path.chmod(0o644)

    assert client.get("/queue").status == 503
    assert page.client().post("/login", name="ann", password=PASSWORD).status == 503
    page.people.path.chmod(0o600)
    assert client.get("/queue").status == 200
