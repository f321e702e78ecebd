"""`edge-agent review` as people start it: its people, its port, its TLS, its end."""

import contextlib
import http.client
import io
import re
import signal
import socket
import ssl
import subprocess
import sys

import pytest

from edge_agent.cli import main
from edge_agent.config.reference import SMALLEST
from edge_agent.errors import EXIT_CONFIG, EXIT_FAULT, EXIT_OK, EXIT_TEMPORARY, EXIT_UNAVAILABLE
from tests.fakes.broker import Authority
from tests.review.plant import DEADLINE_S, PASSWORD, Client, fill


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "agent.yaml"
    path.write_text(SMALLEST + f"storage: {{state_dir: {tmp_path}/state, runtime_dir: {tmp_path}/run}}\n")
    (tmp_path / "state").mkdir()
    return path


@pytest.fixture
def edge(config, capsys, monkeypatch):
    """`edge-agent review user ...` with a password on stdin; (exit code, stdout, stderr)."""

    def run(*words, password=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(password + "\n"))
        code = main(["review", "user", *words, "--config", str(config)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@contextlib.contextmanager
def started(config, *words):
    """The process, and where it says it answers."""
    command = [sys.executable, "-m", "edge_agent", "review", "--config", str(config), "--listen", "127.0.0.1:0", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = ""
        while (where := re.search(r"page=(https?)://[^ ]*:(\d+)/", said)) is None:
            line = process.stderr.readline()
            assert line, said
            said += line
        yield process, where, said
    finally:
        process.kill()
        process.communicate()


def test_people_are_added_listed_given_new_passwords_and_taken_away(edge):
    assert edge("list")[:2] == (EXIT_OK, "nobody yet; edge-agent review user add NAME\n")
    assert edge("add", "ann", password=PASSWORD)[1] == "ann may use the page as reviewer\n"
    assert edge("add", "eve", "--role", "adjudicator", password=PASSWORD)[0] == EXIT_OK
    assert [line.split()[:2] for line in edge("list")[1].splitlines()] == [["ann", "reviewer"], ["eve", "adjudicator"]]
    assert edge("password", "ann", password=PASSWORD[::-1])[1] == "ann has a new password\n"
    assert edge("remove", "ann")[0] == EXIT_OK
    assert "ann" not in edge("list")[1]


def test_what_cannot_be_is_refused_in_one_line(edge):
    edge("add", "ann", password=PASSWORD)

    code, _, err = edge("add", "ANN", password=PASSWORD)
    assert (code, "ann is here already" in err) == (EXIT_FAULT, True)
    code, _, err = edge("add", "bob", password=PASSWORD[:5])
    assert (code, "expected 10 to 256" in err) == (EXIT_FAULT, True)
    code, _, err = edge("remove", "bob")
    assert (code, "nobody is called 'bob'" in err) == (EXIT_FAULT, True)


def test_the_page_answers_takes_labels_and_ends_when_told(config, edge, tmp_path):
    fill(tmp_path / "state" / "evidence", 2)
    edge("add", "ann", password=PASSWORD)

    with started(config) as (process, where, _):
        client = Client(int(where[2]))
        assert client.post("/login", name="ann", password=PASSWORD).status == 303
        assert client.get("/queue").status == 200
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)
        assert process.returncode == EXIT_OK


def test_it_loads_nothing_that_judges_sees_or_sends(config):
    probe = "import edge_agent.processes.review, sys; print({name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert not {"cv2", "numpy", "onnxruntime", "paho", "torch"} & set(re.findall(r"'(\w+)'", done.stdout))


def test_with_a_certificate_it_speaks_https_and_its_cookie_never_goes_without(config, edge, tmp_path):
    authority = Authority(tmp_path)
    authority.issue("page")
    edge("add", "ann", password=PASSWORD)
    words = ("--cert", str(next(tmp_path.rglob("page.crt"))), "--key", str(next(tmp_path.rglob("page.key"))))

    with started(config, *words) as (_, where, said):
        assert where[1] == "https"
        assert "tls=no" not in said
        context = ssl.create_default_context(cafile=next(tmp_path.rglob("ca.crt")))
        context.check_hostname = False
        connection = http.client.HTTPSConnection("127.0.0.1", int(where[2]), context=context, timeout=DEADLINE_S)
        origin = {"Origin": f"https://127.0.0.1:{where[2]}"}
        connection.request("POST", "/login", f"name=ann&password={PASSWORD.replace(' ', '+')}", origin)
        answer = connection.getresponse()
        assert answer.status == 303
        assert "secure" in answer.getheader("set-cookie").lower()
        connection.close()


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_beyond_this_machine_without_a_certificate_it_warns(config, listen):
    with started(config, "--listen", listen) as (_, _, said):
        assert "tls=no: passwords and pictures cross the network in the clear" in said
        assert "nobody can log in yet" in said


def refused(config, *words):
    """A start that comes to nothing: (exit code, stderr)."""
    command = [sys.executable, "-m", "edge_agent", "review", "--config", str(config), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_a_port_in_use_and_an_address_that_is_not_there_yet_are_tried_again_later(config):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, err = refused(config, "--listen", f"127.0.0.1:{port}")

    assert code == EXIT_TEMPORARY
    assert f"127.0.0.1:{port}: Address already in use" in err
    code, err = refused(config, "--listen", "203.0.113.7:8480")
    assert (code, "`ip addr` shows" in err) == (EXIT_TEMPORARY, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cert", "none.pem", "--key", "none.pem"], "none.pem"),
        (["--cert", "none.pem"], "review.key_file: expected key_file beside cert_file"),
        (["--listen", "everywhere"], "review.listen: expected ADDRESS:PORT"),
    ],
)
def test_a_certificate_that_is_not_there_and_a_wrong_address_are_a_persons_to_mend(config, words, told):
    code, err = refused(config, *words)

    assert code == EXIT_CONFIG
    assert told in err


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "jinja2"])
def test_without_its_packages_it_says_which_line_installs_them(config, package):
    block = f"import sys; sys.modules[{package!r}] = None; from edge_agent.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", block, "review", "--config", str(config)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=DEADLINE_S)

    assert done.returncode == EXIT_UNAVAILABLE
    assert f"{package} is not installed; pip install 'edge-agent[review]'" in done.stderr


def test_the_configuration_may_stand_before_or_after_user(config, edge, capsys):
    edge("add", "ann", password=PASSWORD)

    assert main(["review", "--config", str(config), "user", "list"]) == EXIT_OK
    assert "ann" in capsys.readouterr().out


def test_two_pages_of_one_state_directory_are_refused(config):
    with started(config) as _:
        code, err = refused(config, "--listen", "127.0.0.1:0")

    assert (code, "already in use by another review process" in err) == (EXIT_CONFIG, True)
