"""The model store: content-addressed bundles on disk, and per model name one pointer that is replaced atomically.

    models/blobs/SHA256          every file of every bundle, once
    models/manifests/DIGEST.json a bundle: written last, so a manifest in place means a bundle complete
    models/pointers/NAME.json    {"active": DIGEST, "previous": DIGEST | null, "trial": ...}     (models/pointer.py)
    models/journal.jsonl         who took each step, when and why (models/journal.py)

    directory --stage--> staged --activate--> active --activate another--> previous --roll_back--> active

A kill at any point leaves the state before or the state after, and at most blobs that no manifest names; `prune` takes
those away. Readers take no lock: what a pointer names is never changed, only replaced.

Each step is in the journal before it is taken, so none is taken that the disk has no room to tell of. The way back is
the exception: a rollback goes on without its line, since the line must not wait for a disk.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from edge_agent.clock import Clock, SystemClock, rfc3339
from edge_agent.errors import AlreadyRunningError, BadBundleError, CorruptStoreError, TransientError
from edge_agent.learn.head import LinearHead
from edge_agent.learn.unknown import Familiar
from edge_agent.models import arrays, bundle, engines, loading, manifests
from edge_agent.models.bundle import BundleFile
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.files import read_bounded, read_file
from edge_agent.models.journal import GATEWAY, LEARN, Event, Journal, Step
from edge_agent.models.loading import AnyModel
from edge_agent.models.manifests import AnyManifest
from edge_agent.models.network_manifest import NetworkManifest
from edge_agent.models.pointer import Pointer, content, moved
from edge_agent.models.trial import Trial
from edge_agent.models.trials import Files, Trials
from edge_agent.models.vet import vet
from edge_agent.models.vetting import VetReport
from edge_agent.storage import lock_file, replace_file, storage_faults

DEFAULT_FLAVOUR = "u8s8"
FAMILIAR_FILE = "familiar.safetensors"
BUNDLE_LIMIT_BYTES = 256 * 1024 * 1024
# Together a second: the main thread of inspect, which writes too, must not be held up for longer.
LOCK_TRIES, LOCK_TRY_S = 20, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A bundle in the store; `state` is "active", "previous", "trial" (an open one needs it) or "staged"."""

    digest: str
    state: str
    manifest: AnyManifest


class ModelStore:
    """The store under `root`, usually STATE/models. Safe for several threads and processes: writers take turns.

    `vetting`, `write` and `journal` are what the product uses; a test hands in others to see what happens when they
    fail. `by` of each step is who stands for it: `journal.GATEWAY`, `LEARN` or `operator(NAME)`.
    """

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock | None = None,
        vetting: Callable[[bytes], VetReport] = vet,
        limit_bytes: int = BUNDLE_LIMIT_BYTES,
        write: Callable[[Path, bytes], None] = replace_file,
        journal: Journal | None = None,
    ) -> None:
        self.root = root
        self.journal = journal or Journal(root)
        self._clock = clock or SystemClock()
        self._vet = vetting
        self._limit_bytes = limit_bytes
        self._write = write
        self._blobs, self._manifests, self._pointers = root / "blobs", root / "manifests", root / "pointers"
        files = Files(
            writing=self._writing, read=self._pointer, write=self._point, manifest=self.manifest, told=self.journal.told
        )
        self.trials = Trials(files, self._clock)

    def stage(self, bundle_dir: Path, *, by: str = GATEWAY) -> str:
        """Take a bundle directory into the store and return its digest; twice is as good as once.

        Raises:
            BadBundleError: truncated, altered, hostile or contradictory; the store is as it was.
            StorageFullError, StorageReadOnlyError, TransientError: not stored; try again later.
        """
        manifest_bytes = read_bounded(bundle_dir / bundle.MANIFEST_NAME, bundle.MANIFEST_MAX_BYTES)
        manifest = manifests.read(manifest_bytes)
        size = sum(file.size for file in manifest.files)
        if size > self._limit_bytes:
            raise BadBundleError(
                f"{bundle_dir}: {size} bytes, at most {self._limit_bytes} are accepted (models.bundle_limit_bytes)"
            )
        contents = {file.name: read_file(bundle_dir / file.name, file) for file in manifest.files}
        with self._writing():
            # What is a network of a bundle in the store was vetted when it came in; any other blob was not.
            vetted = {file.sha256 for known in self._readable().values() for file in known.networks.values()}
            loading.check(manifest, contents, self._vet, vetted)
            digest = bundle.digest(manifest_bytes)
            if digest in self._digests():
                return self._keep(manifest, manifest_bytes, contents)
            with self.journal.told(self._step(Event.IMPORTED, manifest.name, digest, by)):
                return self._keep(manifest, manifest_bytes, contents)

    def with_head(self, digest: str, head: LinearHead, version: str, familiar: Familiar | None = None) -> str:
        """Stage the same encoder with another head: a few small files and a manifest. Returns the new digest.

        `familiar` is what the head's samples look like; what the base bundle knew of others is not taken over.

        Raises:
            BadBundleError: no such bundle, or the head does not fit its encoder.
            StorageFullError, StorageReadOnlyError, TransientError: not stored; try again later.
        """
        base = self.manifest(digest)
        if isinstance(base, NetworkManifest):
            raise BadBundleError(
                f"bundle {digest[:12]} is a {base.kind} of its own; only an encoder takes another head"
            )
        golden = loading.golden_of(base, self._blob)
        head_bytes = arrays.head_to_bytes(head)
        scores_bytes = arrays.scores_to_bytes(arrays.scores_of(head, golden))
        contents = {base.head.name: head_bytes, base.scores.name: scores_bytes}
        if familiar is not None:
            contents[FAMILIAR_FILE] = arrays.familiar_to_bytes(familiar)
        manifest = replace(
            base,
            version=version,
            created=rfc3339(self._clock.utc_s()),
            head=bundle.describe(head_bytes, base.head.name),
            scores=bundle.describe(scores_bytes, base.scores.name),
            classes=head.classes,
            good_classes=tuple(sorted(head.good_classes)),
            threshold=head.threshold,
            hold_below=head.hold_below,
            temperature=head.temperature,
            trained_on="site",
            familiar=None if familiar is None else bundle.describe(contents[FAMILIAR_FILE], FAMILIAR_FILE),
        )
        manifest_bytes = bundle.to_bytes(manifest)
        # Read back what was written: a head that a gateway would refuse must not get a digest.
        loading.check_head(bundle.from_bytes(manifest_bytes), head_bytes)
        with self._writing():
            return self._keep(manifest, manifest_bytes, contents)

    def activate(
        self, name: str, digest: str, runtime: RuntimeOptions, flavour: str = DEFAULT_FLAVOUR, *, by: str = GATEWAY
    ) -> AnyModel:
        """Load a staged bundle, let it reproduce its golden vectors on this device, and only then point `name` at it.

        Raises:
            BadBundleError: damaged, of another name, or wrong on this device; the pointer is as it was.
            ProviderError: an execution provider that was asked for is not in use; the pointer is as it was.
            StorageFullError, StorageReadOnlyError, TransientError: try again later.
        """
        model = self.verify(digest, runtime, flavour)
        if model.manifest.name != name:
            raise BadBundleError(f"bundle {digest[:12]} is a model {model.manifest.name!r}, not {name!r}")
        with self._writing():
            pointer = self._pointer(name)
            if pointer is None or pointer.active != digest:
                before = pointer.active if pointer else None
                after_it = moved(pointer, digest, before, self._clock.utc_s(), content(model.manifest))
                with self.journal.told(self._step(Event.ACTIVATED, name, digest, by, before)):
                    self._point(name, after_it)
        return model

    def roll_back(self, name: str, *, by: str = GATEWAY, reasons: tuple[str, ...] = ()) -> str:
        """Exchange active and previous of `name`; the digest that is active now.

        Raises:
            BadBundleError: there is no previous bundle, or a file of it is damaged; the pointer is as it was.
        """
        with self._writing():
            pointer = self._pointer(name)
            if pointer is None or pointer.previous is None:
                raise BadBundleError(f"model {name!r} has no previous bundle to roll back to")
            manifest = self.manifest(pointer.previous)
            for file in manifest.files:
                self._blob(file)
            step = self._step(Event.ROLLED_BACK, name, pointer.previous, by, pointer.active, reasons)
            after_it = moved(pointer, pointer.previous, pointer.active, self._clock.utc_s(), content(manifest))
            with self.journal.told(step, must=False):
                self._point(name, after_it)
            return pointer.previous

    def propose(
        self, name: str, digest: str, *, by: str = LEARN, reasons: tuple[str, ...] = (), won: int = 0, sealed: int = 0
    ) -> Trial:
        """Put a staged bundle on trial: `Trials.propose`."""
        return self.trials.propose(name, digest, by=by, reasons=reasons, won=won, sealed=sealed)

    def trial(self, name: str) -> Trial | None:
        """The trial of this model that goes on, else the last one: `Trials.of`."""
        return self.trials.of(name)

    def active(self, name: str) -> str | None:
        """The digest that is active for `name`, None before the first activation.

        Raises:
            CorruptStoreError: the pointer file is damaged.
        """
        pointer = self._pointer(name)
        return pointer.active if pointer else None

    def previous(self, name: str) -> str | None:
        """The digest that a rollback of `name` would return to, None where there is none.

        Raises:
            CorruptStoreError: the pointer file is damaged.
        """
        pointer = self._pointer(name)
        return pointer.previous if pointer else None

    def load(self, digest: str, runtime: RuntimeOptions, flavour: str = DEFAULT_FLAVOUR) -> AnyModel:
        """A bundle as a session and what reads it, its files checked against their hashes.

        Raises:
            BadBundleError: no such bundle or flavour, a damaged file, or a file ONNX Runtime refuses.
            ProviderError: an execution provider that was asked for is not in use.
        """
        return loading.load(digest, self.manifest(digest), self._blob, runtime, flavour)

    def network_bytes(self, digest: str, flavour: str) -> bytes:
        """The ONNX file of one flavour, checked against its hash.

        Raises:
            BadBundleError: no such bundle or flavour, or the file is damaged.
        """
        manifest = self.manifest(digest)
        return self._blob(manifest.networks[manifest.flavour_for(flavour)])

    def verify(
        self, digest: str, runtime: RuntimeOptions, flavour: str = DEFAULT_FLAVOUR, *, beside: AnyModel | None = None
    ) -> AnyModel:
        """Load a bundle and let it reproduce its golden vectors and scores here; nothing is changed.

        `beside` is a model that is loaded: another head for its encoder shares its session.

        Raises:
            BadBundleError: as `load`, or a golden vector or score is not reproduced within its tolerance.
            ProviderError: an execution provider that was asked for is not in use.
        """
        model = loading.load(digest, self.manifest(digest), self._blob, runtime, flavour, beside)
        loading.verify(model, self._blob)
        return model

    def golden_pictures(self, digest: str) -> NDArray[np.uint8]:
        """The golden pictures of a bundle, uint8 [n, h, w, 3] BGR of the size that it takes.

        Raises:
            BadBundleError: no such bundle, or a damaged file.
        """
        return loading.golden_pictures(self.manifest(digest), self._blob)

    def size_bytes(self, digest: str) -> int:
        """Bytes of all files of a bundle, shared ones among them.

        Raises:
            BadBundleError: no such bundle.
        """
        return sum(file.size for file in self.manifest(digest).files)

    def builds_engine(self, digest: str, runtime: RuntimeOptions, flavour: str = DEFAULT_FLAVOUR) -> bool:
        """Whether loading this bundle here will first build an engine, which can take minutes.

        Raises:
            BadBundleError: no such bundle or flavour.
        """
        manifest = self.manifest(digest)
        return engines.to_be_built(runtime, manifest.networks[manifest.flavour_for(flavour)].sha256)

    def prune_engines(self, runtime: RuntimeOptions) -> None:
        """Remove engines of encoders that are in no bundle any more, and those of other runtimes.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError: something could not be removed.
        """
        manifests = self._readable().values()
        engines.prune(runtime, {file.sha256 for manifest in manifests for file in manifest.networks.values()})

    def manifest(self, digest: str) -> AnyManifest:
        """The manifest of a staged bundle.

        Raises:
            BadBundleError: there is none, or it is damaged.
        """
        if bundle.SHA256.fullmatch(digest) is None:
            raise BadBundleError(f"{digest!r} is not a bundle digest (64 hexadecimal digits)")
        path = self._manifests / f"{digest}.json"
        if not path.is_file():
            raise BadBundleError(f"no bundle {digest} in {self.root}; import it first")
        content = read_bounded(path, bundle.MANIFEST_MAX_BYTES)
        if bundle.digest(content) != digest:
            raise BadBundleError(f"{path}: altered, its digest is {bundle.digest(content)}; import the bundle again")
        return manifests.read(content)

    def list(self) -> tuple[StoredModel, ...]:
        """Every bundle that can be read: by name, active and previous first, then the newest.

        Raises:
            CorruptStoreError: a pointer is damaged.
        """
        states = self._states()
        models = [
            StoredModel(digest=digest, state=states.get(digest, "staged"), manifest=manifest)
            for digest, manifest in self._readable().items()
        ]
        order = {"active": 0, "previous": 1, "trial": 2, "staged": 3}
        models.sort(key=lambda model: model.manifest.created, reverse=True)
        models.sort(key=lambda model: (model.manifest.name, order[model.state]))
        return tuple(models)

    def prune(self, keep: int) -> tuple[str, ...]:
        """Remove all but the `keep` newest staged bundles of each name, and the blobs that nobody names any more.

        Active and previous bundles and those on trial stay. Returns the digests that were removed.

        Raises:
            BadBundleError: a bundle cannot be read, so nobody knows which blobs are its own; nothing is removed.
        """
        with self._writing(), storage_faults(self.root):
            for digest in self._digests():
                self.manifest(digest)
            kept: dict[str, int] = {}
            removed = []
            for model in self.list():
                if model.state == "staged":
                    kept[model.manifest.name] = kept.get(model.manifest.name, 0) + 1
                    if kept[model.manifest.name] > keep:
                        (self._manifests / f"{model.digest}.json").unlink()
                        removed.append(model.digest)
            wanted = {file.sha256 for digest in self._digests() for file in self.manifest(digest).files}
            for path in self._blobs.iterdir():
                if path.name not in wanted:
                    path.unlink()
            # Half-written files of writers that were killed: whoever writes now would hold the lock.
            for directory in (self._manifests, self._pointers):
                for path in directory.glob(".*.new"):
                    path.unlink()
            return tuple(removed)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer at a time, of any thread or process; the kernel lets go when its process dies.

        The folders are made here: whoever only looks leaves nothing behind.
        """
        with storage_faults(self.root):
            for directory in (self._blobs, self._manifests, self._pointers):
                directory.mkdir(parents=True, exist_ok=True)
        with self._lock():
            yield

    def _lock(self) -> IO[str]:
        """The writers' lock: most hold it for milliseconds, and are waited for."""
        never = threading.Event()
        for _ in range(LOCK_TRIES):
            with contextlib.suppress(AlreadyRunningError):
                return lock_file(self.root / ".lock", "writer of models")
            self._clock.wait(never, LOCK_TRY_S)
        raise TransientError(f"{self.root}: another process is changing models; try again")

    def _step(
        self,
        event: Event,
        name: str,
        digest: str,
        by: str,
        from_digest: str | None = None,
        reasons: tuple[str, ...] = (),
    ) -> Step:
        return Step(
            event=event,
            name=name,
            digest=digest,
            by=by,
            at_utc_s=self._clock.utc_s(),
            from_digest=from_digest,
            reasons=reasons,
        )

    def _keep(self, manifest: AnyManifest, manifest_bytes: bytes, contents: dict[str, bytes]) -> str:
        """Blobs first, the manifest last: it is the commit."""
        for file in manifest.files:
            if not self._holds(file):
                if file.name not in contents:
                    raise BadBundleError(
                        f"{self._blobs / file.sha256} ({file.name}) is damaged; import the bundle again"
                    )
                self._write(self._blobs / file.sha256, contents[file.name])
        digest = bundle.digest(manifest_bytes)
        path = self._manifests / f"{digest}.json"
        if not path.is_file() or path.read_bytes() != manifest_bytes:
            self._write(path, manifest_bytes)
        return digest

    def _holds(self, file: BundleFile) -> bool:
        try:
            self._blob(file)
        except BadBundleError:
            return False
        return True

    def _blob(self, file: BundleFile) -> bytes:
        return read_file(self._blobs / file.sha256, file)

    def unreadable(self) -> Mapping[str, str]:
        """Bundles whose manifest is damaged, or of a version that is not read any more, each with the reason."""
        return {digest: str(found) for digest, found in self._examined().items() if isinstance(found, BadBundleError)}

    def _readable(self) -> dict[str, AnyManifest]:
        return {digest: found for digest, found in self._examined().items() if not isinstance(found, BadBundleError)}

    def _examined(self) -> dict[str, AnyManifest | BadBundleError]:
        return {digest: self._manifest_or_fault(digest) for digest in self._digests()}

    def _manifest_or_fault(self, digest: str) -> AnyManifest | BadBundleError:
        try:
            return self.manifest(digest)
        except BadBundleError as error:
            return error

    def _digests(self) -> Sequence[str]:
        return sorted(path.stem for path in self._manifests.glob("*.json") if bundle.SHA256.fullmatch(path.stem))

    def _states(self) -> dict[str, str]:
        states = {}
        for path in self._pointers.glob("*.json"):
            pointer = self._pointer(path.stem)
            if pointer is not None:
                states[pointer.active] = "active"
                if pointer.previous is not None:
                    states.setdefault(pointer.previous, "previous")
                for digest in pointer.on_trial:
                    states.setdefault(digest, "trial")
        return states

    def _pointer(self, name: str) -> Pointer | None:
        if bundle.NAME.fullmatch(name) is None:
            raise BadBundleError(f"{name!r} is not a model name (like {bundle.NAME.pattern})")
        path = self._pointers / f"{name}.json"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return Pointer.from_bytes(content)
        except BadBundleError as error:
            raise CorruptStoreError(f"{path}: {error}; choose a bundle with `edge-agent models activate`") from error

    def _point(self, name: str, pointer: Pointer) -> None:
        self._write(self._pointers / f"{name}.json", pointer.to_bytes())
