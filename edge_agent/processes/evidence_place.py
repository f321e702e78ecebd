"""The evidence store as a configuration, or a state directory alone, says; and how pictures for it are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent.capture.header import read_header
from edge_agent.capture.likeness import perceptual_hash
from edge_agent.capture.picture import decode
from edge_agent.config.evidence import Keeping
from edge_agent.config.locate import locate
from edge_agent.config.settings import Settings, load
from edge_agent.errors import BadEvidenceError
from edge_agent.evidence.grouping import SealRules
from edge_agent.evidence.importing import Examined
from edge_agent.evidence.keeping import KeepRules
from edge_agent.evidence.retention import Bounds
from edge_agent.evidence.store import EvidenceStore, StoreRules
from edge_agent.records import HoldReason, KeepReason

FOLDER = "evidence"
DEFAULT_STATE = Path("/var/lib/edge-agent")
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "WebP": ".webp", "TIFF": ".tif"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePlace:
    """Where the store is. `rules` None takes those that it was last opened with; `cameras` None knows no cameras."""

    root: Path
    rules: StoreRules | None
    cameras: tuple[str, ...] | None = None

    def open(self, *, begin: bool = False) -> EvidenceStore:
        """The store; `begin` makes a new one where there is none.

        Raises:
            BadEvidenceError: there is none, and none was to be begun.
            CorruptStoreError, TransientError.
        """
        if not begin and not self.root.exists():
            raise BadEvidenceError(
                f"{self.root}: no evidence yet; the daemon or `edge-agent evidence import` begins it"
            )
        return EvidenceStore(self.root, self.rules)


def place_of(config: str | None, state: Path | None) -> EvidencePlace:
    """The store that the options of a verb mean: a state directory named alone is used by its own rules.

    Raises:
        ConfigError: the configuration has faults.
    """
    path = locate(config)
    if config or (state is None and path.exists()):
        settings = load(path, secrets_of=())
        root = (state or settings.storage.state_dir) / FOLDER
        return EvidencePlace(root=root, rules=store_rules(settings), cameras=tuple(settings.cameras))
    return EvidencePlace(root=(state or DEFAULT_STATE) / FOLDER, rules=None)


def store_rules(settings: Settings) -> StoreRules:
    """What the store decides by."""
    keys = settings.evidence
    return StoreRules(
        # Gateways of one plant see the same parts: they set aside the same.
        seal=SealRules(seed=settings.site.root, share=keys.sealed_share, block_s=keys.group_minutes * 60.0),
        bounds=Bounds(limit_bytes=keys.limit_bytes, floor_bytes=keys.min_free_bytes),
        people_needed=keys.opinions,
        never_delete=frozenset(keys.never_delete),
    )


def keep_rules(settings: Settings) -> Mapping[str, KeepRules]:
    """What each camera keeps."""
    return {name: _keep_rules(settings.keeping(name)) for name in settings.cameras}


def _keep_rules(keys: Keeping) -> KeepRules:
    return KeepRules(
        reasons=frozenset(KeepReason(word) for word in keys.keep),
        hold_reasons=frozenset(HoldReason(word) for word in keys.hold_reasons),
        near_threshold=keys.near_threshold,
        unlike_from=keys.unlike_from,
        pass_share=keys.pass_share,
        per_hour=keys.per_hour,
        alike_bits=keys.alike_bits,
    )


def examine(content: bytes) -> Examined:
    """What there is to know of an encoded picture.

    Raises:
        BadPictureError: it cannot be decoded.
    """
    image = decode(content)
    return Examined(
        suffix=_SUFFIXES[read_header(content).kind],
        width_px=image.shape[1],
        height_px=image.shape[0],
        likeness=perceptual_hash(image),
    )
