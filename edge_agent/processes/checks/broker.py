"""Broker: name and port, the real TLS handshake, our certificate, and a message there and back through the ACL."""

from __future__ import annotations

import datetime
import socket

from edge_agent.processes.broker_options import branch_of, mqtt_options
from edge_agent.processes.checks.certificate import Certificate, from_der, read_certificate
from edge_agent.processes.checks.finding import Check, Context, Finding, error, ok, warning
from edge_agent.processes.checks.round_trip import Trip, round_trip
from edge_agent.sync.broker import explain, parse_url, tls_context
from edge_agent.sync.mqtt import FAILURE

DAY_S = 86_400
WARN_DAYS = 14  # two weeks: a plant renews certificates in a planned stop
LOOPBACK = ("localhost", "127.0.0.1", "::1")
TRIP_S = 3.0  # for the broker's answers once we are connected


def reachable(context: Context) -> tuple[Finding, ...]:
    options = mqtt_options(context.valid)
    address = parse_url(options.url)
    begun_s = context.clock.mono_s()
    try:
        with socket.create_connection((address.host, address.port), timeout=options.connect_timeout_s) as stream:
            peer = stream.getpeername()[0]
    except OSError as fault:
        return (error(f"{address.text}: {explain(fault, options)}", "look at mqtt.url and at the network"),)
    return (ok(f"{address.text} is {peer}, {(context.clock.mono_s() - begun_s) * 1000:.0f} ms"),)


def encrypted(context: Context) -> tuple[Finding, ...]:
    options = mqtt_options(context.valid)
    address = parse_url(options.url)
    if not address.tls:
        if address.host in LOOPBACK:
            return (ok("not used; the broker is on this machine"),)
        return (warning("not used: anyone on the network can read and forge messages", "use mqtts:// or wss://"),)
    try:
        with (
            socket.create_connection((address.host, address.port), timeout=options.connect_timeout_s) as stream,
            tls_context(options).wrap_socket(stream, server_hostname=address.host) as secured,
        ):
            version, content = secured.version(), secured.getpeercert(binary_form=True)
    except OSError as fault:  # ssl.SSLError and socket.gaierror among them
        return (error(explain(fault, options), "look at mqtt.ca_file and at the broker's certificate"),)
    try:
        certificate = from_der(content or b"")
    except ValueError as fault:
        return (warning(f"{version}; the broker's certificate cannot be read ({fault})", "look at the broker"),)
    return (_validity(f"{version}, the broker's certificate", certificate, context),)


def own_certificate(context: Context) -> tuple[Finding, ...]:
    path = context.valid.mqtt.cert_file
    if path is None:
        return (ok("none is configured"),)
    try:
        certificate = read_certificate(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as fault:
        return (error(f"{path}: {fault}", "mqtt.cert_file takes a PEM certificate"),)
    gateway = context.valid.site.gateway
    if certificate.common_name != gateway:
        text = f"{path}: its common name is {certificate.common_name}, the gateway is {gateway}"
        return (warning(text, "the ACL compares the two: change site.gateway or the certificate"),)
    return (_validity(str(path), certificate, context),)


def _validity(what: str, certificate: Certificate, context: Context) -> Finding:
    now_s = context.clock.utc_s()
    end = datetime.datetime.fromtimestamp(certificate.not_after_utc_s, tz=datetime.timezone.utc).date()
    if now_s < certificate.not_before_utc_s:
        return error(f"{what} is not valid yet", "is this gateway's clock right?")
    days = int((certificate.not_after_utc_s - now_s) // DAY_S)
    if days < 0:
        return error(f"{what} expired on {end}", "renew it")
    if days < WARN_DAYS:
        return warning(f"{what} expires on {end}, in {days} days", "renew it")
    return ok(f"{what} is valid until {end}")


def through_the_acl(context: Context) -> tuple[Finding, ...]:
    """Both directions: what the gateway may write, and that the broker lets it subscribe to its commands."""
    settings = context.valid
    branch = branch_of(settings)
    # A client id of its own: the same one twice, and the broker throws the running daemon off.
    options = mqtt_options(settings, client_id=f"{settings.site.gateway}-check")
    trip = round_trip(options, branch, context.clock, TRIP_S)
    return (_of_trip(trip, branch.prefix),)


def _of_trip(trip: Trip, prefix: str) -> Finding:
    own = f"{prefix}#"
    # Mosquitto 2.0.11 closes the connection right after it refused a message: the refusal is what counts.
    if trip.published is not None and trip.published >= FAILURE:
        return error(f"publishing is refused: {trip.published_reason} ({trip.published})", f"let it write {own}")
    if trip.lost is not None:
        # MQTT 3.1.1 has no word for a refusal: brokers close the connection, or stay silent.
        refused = f"does the ACL forbid it? let it write {own}"
        return error(trip.lost, refused if trip.connected else "look at user, password and certificate")
    if not trip.connected:
        return error("no connection within the time", "look at the broker's log")
    if trip.published is None:
        return error("the broker does not acknowledge a message", "look at the broker's log")
    if trip.subscribed is None or max(trip.subscribed, default=0) >= FAILURE:
        return error(f"subscribing is refused: {trip.subscribed}", f"let it read {prefix}cmd/#")
    if trip.delivered_s is None:
        # Mosquitto grants a forbidden subscription and stays silent: only delivery proves it.
        text = (
            "accepted, but not delivered back: the ACL drops it silently, or does not let the gateway read its branch"
        )
        return warning(text, f"let it read {own}")
    return ok(f"{own}, there and back in {trip.delivered_s * 1000:.0f} ms")


CHECKS = (
    Check(id="broker-reachable", group="broker", title="name and port", run=reachable),
    Check(id="broker-tls", group="broker", title="encryption", run=encrypted),
    Check(id="broker-certificate", group="broker", title="our certificate", run=own_certificate),
    Check(id="broker-round-trip", group="broker", title="round trip through the ACL", run=through_the_acl),
)
