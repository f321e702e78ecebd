"""From the files of a bundle to a model that can judge, by what its manifest says it is.

check    as it comes in: every file against the manifest, every ONNX file vetted     no device, no session
load     a session with this device's provider, a head or terms to read it by
verify   golden pictures give what they gave where the bundle was made
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BadBundleError
from edge_agent.learn.feature_code import FeatureCode
from edge_agent.learn.head import LinearHead
from edge_agent.learn.unknown import Familiar
from edge_agent.models import arrays, engines, network_golden
from edge_agent.models.bundle import BundleFile, Manifest
from edge_agent.models.encoder import MAP_NAME, VECTOR_NAME, Encoder, RuntimeOptions
from edge_agent.models.golden import reproduce
from edge_agent.models.manifests import AnyManifest
from edge_agent.models.network import LoadedNetwork, Network, require_outputs
from edge_agent.models.network_manifest import NetworkManifest
from edge_agent.models.vetting import VetReport
from edge_agent.records import Canvas

Blob = Callable[[BundleFile], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """An encoder with a head, ready to judge: everything in it belongs together and never changes.

    `code` turns its features into the int8 that statistics are kept over; `familiar` knows what is unlike anything that
    the head was made from, None where nothing does.
    """

    digest: str
    flavour: str
    manifest: Manifest = field(repr=False)
    encoder: Encoder = field(repr=False)
    head: LinearHead = field(repr=False)
    code: FeatureCode = field(repr=False)
    familiar: Familiar | None = field(default=None, repr=False)

    @property
    def coder(self) -> str:
        """What made the codes of this model's features: encoder file and feature code, by their hashes.

        Codes of the same coder may be summed up together, those of another one may not.
        """
        return _coder(self.manifest, self.flavour)

    @property
    def canvas(self) -> Canvas:
        """The picture it takes."""
        return self.manifest.canvas

    @property
    def providers_in_use(self) -> tuple[str, ...]:
        """The execution providers of its session, the first one at work."""
        return self.encoder.providers_in_use


AnyModel = LoadedModel | LoadedNetwork


def coder_of(manifest: AnyManifest, flavour: str) -> str | None:
    """What will make the codes of a bundle that is not loaded, as `LoadedModel.coder`; None where nothing does."""
    return (
        None if isinstance(manifest, NetworkManifest) or flavour not in manifest.encoders else _coder(manifest, flavour)
    )


def _coder(manifest: Manifest, flavour: str) -> str:
    return f"{manifest.encoder(flavour).sha256}+{manifest.feature_code.sha256}"


def with_encoder(model: AnyModel) -> LoadedModel:
    """The model, which must be an encoder with a head.

    Raises:
        BadBundleError: it is a network of its own, which has no features to learn from.
    """
    if isinstance(model, LoadedNetwork):
        raise BadBundleError(
            f"model {model.manifest.name} is a {model.manifest.kind} of its own; expected an encoder with a head"
        )
    return model


def check(
    manifest: AnyManifest,
    contents: Mapping[str, bytes],
    vet: Callable[[bytes], VetReport],
    vetted: Container[str],
) -> None:
    """All that can be said of a bundle without this device's provider; files in `vetted` (sha256) were vetted before.

    Raises:
        BadBundleError: damaged, hostile or contradictory.
    """
    if isinstance(manifest, NetworkManifest):
        network_golden.from_bytes(contents[manifest.golden.name], manifest)
    else:
        check_head(manifest, contents[manifest.head.name])
        _golden_of(manifest, contents[manifest.golden.name])
        _scores_of(manifest, contents[manifest.scores.name])
        _code_of(manifest, contents[manifest.feature_code.name])
        _familiar_of(manifest, lambda file: contents[file.name])
    for file in manifest.networks.values():
        if file.sha256 not in vetted:
            _check_report(manifest, file.name, vet(contents[file.name]))


def _check_report(manifest: AnyManifest, name: str, report: VetReport) -> None:
    if report.input_px != manifest.input_px:
        raise BadBundleError(f"{name}: takes {report.input_px} px, the manifest says {manifest.input_px}")
    if isinstance(manifest, NetworkManifest):
        require_outputs(manifest, {output: tuple(shape) for output, shape in report.outputs.items()}, name)
        return
    dimension = manifest.features.dimension
    found = {output: tuple(shape) for output, shape in report.outputs.items()}
    if found.keys() != {VECTOR_NAME, MAP_NAME} or found[VECTOR_NAME] != (dimension,):
        raise BadBundleError(f"{name}: gives {found}, the manifest says an encoder with {dimension} features")


def check_head(manifest: Manifest, content: bytes) -> LinearHead:
    """The head, which must say the same of itself as the manifest does.

    Raises:
        BadBundleError: it does not, or is damaged.
    """
    head = arrays.head_from_bytes(content, dimension=manifest.features.dimension)
    found = (head.classes, head.good_classes, head.threshold, head.hold_below, head.temperature)
    stated = (
        manifest.classes,
        frozenset(manifest.good_classes),
        manifest.threshold,
        manifest.hold_below,
        manifest.temperature,
    )
    if found != stated:
        raise BadBundleError(f"head: classes, thresholds or temperature are {found}, the manifest says {stated}")
    return head


def load(
    digest: str,
    manifest: AnyManifest,
    blob: Blob,
    runtime: RuntimeOptions,
    wanted: str,
    beside: AnyModel | None = None,
) -> AnyModel:
    """A session and what reads it; `wanted` is the flavour of this device.

    `beside` is a model that is loaded: a bundle with the very same encoder, another head then, shares its session.

    Raises:
        BadBundleError: no such flavour, a damaged file, or a file ONNX Runtime refuses.
        ProviderError: an execution provider that was asked for is not in use.
    """
    flavour = manifest.flavour_for(wanted)
    file = manifest.networks[flavour]
    options = engines.prepared(runtime, file.sha256)
    if isinstance(manifest, NetworkManifest):
        network = Network.from_bytes(blob(file), manifest, options)
        return LoadedNetwork(digest=digest, flavour=flavour, manifest=manifest, network=network)
    head = check_head(manifest, blob(manifest.head))
    if isinstance(beside, LoadedModel) and shares_network(manifest, flavour, beside):
        encoder = beside.encoder
    else:
        encoder = Encoder.from_bytes(blob(file), options)
    found = (encoder.input_px, encoder.dimension, encoder.map_shape[2])
    layout = manifest.features
    expected = (manifest.input_px, layout.dimension, layout.map_slice.stop - layout.map_slice.start)
    if found != expected:
        raise BadBundleError(
            f"bundle {digest[:12]}: its encoder has input, features, map channels {found}, its manifest {expected}"
        )
    code = _code_of(manifest, blob(manifest.feature_code))
    familiar = _familiar_of(manifest, blob)
    return LoadedModel(
        digest=digest, flavour=flavour, manifest=manifest, encoder=encoder, head=head, code=code, familiar=familiar
    )


def shares_network(manifest: AnyManifest, flavour: str, other: AnyModel | None) -> bool:
    """Whether a bundle's network is the very file that `other` runs, on the same pictures."""
    if not isinstance(other, LoadedModel) or isinstance(manifest, NetworkManifest):
        return False
    mine, its = manifest.encoders.get(flavour), other.manifest.encoders.get(other.flavour)
    return mine is not None and its is not None and (mine.sha256, manifest.canvas) == (its.sha256, other.canvas)


def verify(model: AnyModel, blob: Blob) -> None:
    """Let a loaded model reproduce its golden answers.

    Raises:
        BadBundleError: one is further off than its tolerance, or the files are damaged.
    """
    manifest = model.manifest
    if isinstance(model, LoadedNetwork):
        network_golden.reproduce(model, network_golden.from_bytes(blob(manifest.golden), model.manifest))
        return
    manifest = model.manifest
    golden = _golden_of(manifest, blob(manifest.golden))
    scores = _scores_of(manifest, blob(manifest.scores))
    reproduce(
        model.encoder,
        model.head,
        golden.pictures,
        expected=(golden.vectors[model.flavour], scores[model.flavour]),
        tolerance=manifest.tolerances[model.flavour],
    )


def golden_of(manifest: Manifest, blob: Blob) -> arrays.Golden:
    """The golden pictures and vectors of an encoder.

    Raises:
        BadBundleError: damaged.
    """
    return _golden_of(manifest, blob(manifest.golden))


def golden_pictures(manifest: AnyManifest, blob: Blob) -> NDArray[np.uint8]:
    """The golden pictures of a bundle of any kind, uint8 [n, h, w, 3] BGR.

    Raises:
        BadBundleError: damaged.
    """
    if isinstance(manifest, NetworkManifest):
        return network_golden.from_bytes(blob(manifest.golden), manifest).pictures
    return golden_of(manifest, blob).pictures


def _golden_of(manifest: Manifest, content: bytes) -> arrays.Golden:
    return arrays.golden_from_bytes(
        content,
        input_px=manifest.input_px,
        dimension=manifest.features.dimension,
        flavours=set(manifest.encoders),
    )


def _code_of(manifest: Manifest, content: bytes) -> FeatureCode:
    return arrays.code_from_bytes(content, dimension=manifest.features.dimension)


def _familiar_of(manifest: Manifest, blob: Blob) -> Familiar | None:
    if manifest.familiar is None:
        return None
    return arrays.familiar_from_bytes(blob(manifest.familiar), dimension=manifest.features.dimension)


def _scores_of(manifest: Manifest, content: bytes) -> arrays.Vectors:
    return arrays.scores_from_bytes(content, classes=len(manifest.classes), flavours=set(manifest.encoders))
