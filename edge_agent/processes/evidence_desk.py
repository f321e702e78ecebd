"""What becomes of a judged picture beside its verdict: it is offered to the evidence store, which keeps some.

inspect thread --witness--> rules of its camera --> writer's thread --> STATE/evidence      never waits, never fails
main thread    --settle, declare-->  rules after a reload; the classes that people may say
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import numpy as np

from edge_agent.capture.likeness import perceptual_hash
from edge_agent.capture.picture import Image, encode_heat, encode_jpeg, encode_png
from edge_agent.clock import Clock
from edge_agent.config.settings import Settings
from edge_agent.errors import EdgeAgentError
from edge_agent.evidence.candidate import Candidate, Encoded
from edge_agent.evidence.catalogue import Catalogue
from edge_agent.evidence.label_book import LabelBook
from edge_agent.evidence.labels import LabelSource
from edge_agent.evidence.store import EvidenceStore
from edge_agent.evidence.writer import EvidenceWriter, WriterLimits
from edge_agent.inspect.loop import Heat
from edge_agent.models.loading import AnyModel
from edge_agent.processes.evidence_place import FOLDER, keep_rules, store_rules
from edge_agent.processes.learn_request import asking
from edge_agent.records import Frame, Inspection, Sample
from edge_agent.sync.alarms import Condition

log = logging.getLogger(__name__)

SUBJECT = "evidence"
JPEG_QUALITY = 95
# What waits undeveloped counts as memory of inspection, which has little: 16 pictures of 640 x 480.
LIMITS = WriterLimits(pictures=32, memory_bytes=16 * 1024 * 1024)


class EvidenceDesk:
    """The inspect process's side of the evidence store."""

    def __init__(
        self, settings: Settings, clock: Clock, rng: np.random.Generator, note: Callable[[Condition], None]
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._note = note
        self._declared: dict[str, tuple[str, ...]] = {}
        self._dead = False
        self._writer = EvidenceWriter(
            settings.storage.state_dir / FOLDER,
            store_rules(settings),
            keep_rules(settings),
            clock,
            rng,
            trouble=self._trouble,
            limits=LIMITS,
        )

    def witness(self, frame: Frame, inspection: Inspection, heat: Heat | None, *, differs: bool = False) -> None:
        """A frame, its verdict, where the model sees a defect, whether one on trial differs; inspect thread."""
        camera = self._settings.cameras.get(frame.camera)
        if camera is None or self._dead:
            return
        if not self._writer.is_alive():
            # A fault of ours: inspection goes on, and a person is told once.
            self._dead = True
            self._trouble(
                "evidence-fault", active=True, text="the writer's thread died; nothing is kept until a restart"
            )
            return
        candidate = Candidate(
            inspection=inspection,
            task=camera.recipes.get(frame.recipe or "", camera.model),
            held_bytes=frame.image.nbytes,
            likeness=functools.partial(perceptual_hash, frame.image),
            unlikeness=inspection.unlikeness,
            encode=functools.partial(_encoded, frame.image, self._settings.keeping(frame.camera).format),
            heat=None if heat is None else functools.partial(encode_heat, heat),
            differs=differs,
        )
        self._writer.offer(candidate)

    def settle(self, settings: Settings) -> None:
        """Keep by these rules from now on; main thread."""
        self._settings = settings
        self._writer.keep = keep_rules(settings)

    def declare(self, models: Mapping[str, AnyModel]) -> None:
        """Let people say the classes of these models; main thread. What cannot be written now is said again later."""
        for name, model in models.items():
            classes = model.manifest.classes
            if self._declared.get(name) == classes:
                continue
            try:
                with self._book() as book:
                    book.declare(name, classes)
            except EdgeAgentError as error:
                log.warning("evidence=undeclared model=%s reason=%s", name, error)
                return
            self._declared[name] = classes

    def label(self, sample: str, label: str, *, by: str, identity: str, new_class: bool) -> Sample:
        """Write down what somebody says over MQTT, once however often it comes; main thread.

        Raises:
            BadLabelError: no such sample, no such class.
            TransientError, CorruptStoreError: nothing was written.
        """
        with self._book() as book:
            return book.say(sample, label, by=by, source=LabelSource.MQTT, identity=identity, new_class=new_class)

    def said(self, identities: Iterable[str], good_classes: Collection[str]) -> dict[str, bool]:
        """Which of these samples people have spoken of, and whether each is a defect; main thread.

        What cannot be read now is asked for again later.
        """
        root = self._settings.storage.state_dir / FOLDER
        if not root.is_dir():
            return {}
        try:
            store = EvidenceStore(root, store_rules(self._settings))
            try:
                catalogue = Catalogue(store.database)
                known = {identity: catalogue.find_one(identity) for identity in identities}
            finally:
                store.close()
        except EdgeAgentError as error:
            log.warning("evidence=unread reason=%s", error)
            return {}
        return {
            identity: sample.truth not in good_classes
            for identity, sample in known.items()
            if sample is not None and sample.truth is not None
        }

    @contextlib.contextmanager
    def _book(self) -> Iterator[LabelBook]:
        state_dir = self._settings.storage.state_dir
        store = EvidenceStore(state_dir / FOLDER, store_rules(self._settings))
        try:
            yield LabelBook(store, self._clock, told=asking(state_dir))
        finally:
            store.close()

    def close(self, timeout_s: float) -> int:
        """Keep what waits; returns how many pictures were lost."""
        return self._writer.close(timeout_s)

    def _trouble(self, code: str, active: bool, text: str) -> None:
        self._note(Condition(code=code, subject=SUBJECT, active=active, text=text))


def _encoded(image: Image, kind: str) -> Encoded:
    content, suffix = (encode_png(image), ".png") if kind == "png" else (encode_jpeg(image, JPEG_QUALITY), ".jpg")
    return Encoded(content=content, suffix=suffix, width_px=image.shape[1], height_px=image.shape[0])
