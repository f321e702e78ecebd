"""Serve the page on which people label pictures, on this machine or the plant's LAN; and say who may use it.

Examples:
  edge-agent review user add ann                     asks for a password; ann may label
  edge-agent review user add eve --role adjudicator  eve also settles disputes
  edge-agent review                                  http://127.0.0.1:8480, until Ctrl-C
  edge-agent review --listen 0.0.0.0:8480 --cert page.pem --key page.key

Nothing leaves the plant: the page reads the evidence store, writes labels into it, and reaches nothing else. As a
service: systemctl enable --now edge-agent-review.
"""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import json
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import EXIT_OK, ProviderError

if TYPE_CHECKING:
    from edge_agent.review.people import People

SUMMARY = "serve the page on which people label pictures, on the plant's LAN; who may use it"
PACKAGES = ("jinja2", "starlette", "uvicorn")
ROLES = ("reviewer", "adjudicator")


def configure(parser: argparse.ArgumentParser) -> None:
    shared = argparse.ArgumentParser(add_help=False)
    # Left out it must not undo what stood before `user`.
    shared.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="as for review")
    parser.add_argument("--config", metavar="FILE", help="configuration (default: ./agent.yaml, then /etc/edge-agent)")
    parser.add_argument("--listen", metavar="ADDRESS:PORT", help="instead of review.listen (default 127.0.0.1:8480)")
    parser.add_argument("--cert", metavar="FILE", type=Path, help="certificate (PEM), instead of review.cert_file")
    parser.add_argument("--key", metavar="FILE", type=Path, help="its private key (PEM)")
    what = parser.add_subparsers(dest="what", metavar="user", title="people")
    user = what.add_parser("user", help="who may use the page: add, remove, list, password")
    actions = user.add_subparsers(dest="action", metavar="ACTION", required=True)
    state = argparse.ArgumentParser(add_help=False)
    state.add_argument("--state", metavar="DIR", type=Path, help="state directory, instead of the configuration's")
    parents = [shared, state]
    add = actions.add_parser("add", parents=parents, help="a new person; the password is asked for, or read from stdin")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--role", choices=ROLES, default=ROLES[0], help="an adjudicator also settles disputes")
    password = actions.add_parser("password", parents=parents, help="a new password; ends the person's sessions")
    password.add_argument("name", metavar="NAME")
    remove = actions.add_parser("remove", parents=parents, help="take a person away; their labels stay")
    remove.add_argument("name", metavar="NAME")
    people = actions.add_parser("list", parents=parents, help="everybody")
    people.add_argument("--output", choices=("text", "json"), default="text", help="json prints one value for scripts")


def run(arguments: argparse.Namespace) -> int:
    if arguments.what == "user":
        return _people(arguments)
    from edge_agent.config.locate import locate

    return page(locate(arguments.config), arguments.listen, arguments.cert, arguments.key)


def page(config_file: Path, listen: str | None = None, cert: Path | None = None, key: Path | None = None) -> int:
    """Serve the page; what is None is as in the configuration.

    Raises:
        ProviderError: the packages of the page are not installed.
    """
    try:
        from edge_agent.processes import review
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in PACKAGES:
            raise
        raise ProviderError(f"the package {package} is not installed; pip install 'edge-agent[review]'") from error
    return review.main(config_file, review.Wished(listen=listen, cert_file=cert, key_file=key))


def _people(arguments: argparse.Namespace) -> int:
    from edge_agent.clock import SystemClock
    from edge_agent.review.passwords import hashed
    from edge_agent.review.people import People, Person, Role

    people = People(_state_dir(arguments))
    if arguments.action == "list":
        return _list(people, arguments.output)
    if arguments.action == "remove":
        print(f"{people.remove(arguments.name).name} may no longer use the page; what they said stays")
        return EXIT_OK
    if arguments.action == "password":
        known = people.known(arguments.name)
        person = dataclasses.replace(known, password=hashed(_password(), secrets.token_bytes(16)))
        people.replace(person)
        print(f"{person.name} has a new password")
        return EXIT_OK
    people.check_new(arguments.name)
    person = Person(
        name=arguments.name,
        role=Role(arguments.role),
        password=hashed(_password(), secrets.token_bytes(16)),
        since_utc_s=SystemClock().utc_s(),
    )
    people.add(person)
    print(f"{person.name} may use the page as {person.role.value}")
    return EXIT_OK


def _state_dir(arguments: argparse.Namespace) -> Path:
    from edge_agent.config.locate import locate
    from edge_agent.config.settings import load

    if arguments.state is not None:
        return Path(arguments.state)
    return load(locate(arguments.config), secrets_of=()).storage.state_dir


def _list(people: People, output: str) -> int:
    from edge_agent.clock import rfc3339

    everybody = people.all()
    if output == "json":
        plain = [{"name": one.name, "role": one.role.value, "since": rfc3339(one.since_utc_s)} for one in everybody]
        print(json.dumps(plain, indent=2))
        return EXIT_OK
    for one in everybody:
        print(f"{one.name:24} {one.role.value:12} since {rfc3339(one.since_utc_s)[:10]}")
    if not everybody:
        print("nobody yet; edge-agent review user add NAME")
    return EXIT_OK


def _password() -> str:
    """From a prompt, twice, or from the first line of stdin: never from the command line, which others can see."""
    from edge_agent.review.passwords import BadPasswordError, check_password

    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
        check_password(password)
        return password
    password = getpass.getpass("Password: ")
    check_password(password)
    if getpass.getpass("Once more: ") != password:
        raise BadPasswordError("the two passwords differ; nothing was changed")
    return password
