"""Model: the active bundle of every name a camera asks for, loaded and made to reproduce its golden vectors here."""

from __future__ import annotations

from pathlib import Path

from edge_agent.config.faults import did_you_mean
from edge_agent.errors import EdgeAgentError
from edge_agent.models.store import ModelStore
from edge_agent.processes.checks.finding import Check, Context, Finding, error, ok
from edge_agent.processes.runtime_plan import runtime_plan

STORE = "models"
NO_MODEL = "edge-agent models build --activate, or models import BUNDLE --activate"


def store_of(state_dir: Path) -> ModelStore | None:
    """The model store, None where there is none yet: a check makes nothing."""
    return ModelStore(state_dir / STORE) if (state_dir / STORE / "pointers").is_dir() else None


def active(context: Context) -> tuple[Finding, ...]:
    settings = context.valid
    store = store_of(settings.storage.state_dir)
    if store is None:
        return (error(f"{settings.storage.state_dir / STORE} holds no models", NO_MODEL),)
    return tuple(_active(store, name) for name in _names(context))


def golden(context: Context) -> tuple[Finding, ...]:
    """The providers asked for must take the model, and it must compute here what it did where it was made."""
    settings = context.valid
    store = store_of(settings.storage.state_dir)
    if store is None:
        return (error("no model to try", NO_MODEL),)
    plan = runtime_plan(settings, context.root, context.machine)
    findings = []
    for name in _names(context):
        try:
            digest = store.active(name)
            if digest is None:
                findings.append(error("no model to try", NO_MODEL, name))
                continue
            model = store.verify(digest, plan.runtime, plan.flavour)
        except EdgeAgentError as fault:
            findings.append(error(str(fault), "edge-agent models rollback, or import the bundle again", name))
            continue
        findings.append(ok(f"reproduced with {model.providers_in_use[0]}, {model.flavour}", name))
    return tuple(findings)


def _names(context: Context) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for camera in context.valid.cameras.values() for name in camera.model_names))


def _active(store: ModelStore, name: str) -> Finding:
    try:
        digest = store.active(name)
        if digest is not None:
            return ok(f"{digest[:12]}, version {store.manifest(digest).version}", name)
    except EdgeAgentError as fault:
        return error(str(fault), "edge-agent models activate DIGEST", name)
    known = [path.stem for path in (store.root / "pointers").glob("*.json")]
    return error("no active bundle of this name", did_you_mean(name, known) or NO_MODEL, name)


CHECKS = (
    Check(id="model-active", group="model", title="active bundle", run=active),
    Check(id="model-golden", group="model", title="golden vectors", run=golden),
)
