"""What looks alike has like fingerprints, what does not has others."""

import cv2
import numpy as np
import pytest

from edge_agent.capture.likeness import perceptual_hash


def scene(seed, size=(240, 320)):
    """A smooth random picture: what cameras see is no white noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)


def distance(one, other):
    return (perceptual_hash(one) ^ perceptual_hash(other)).bit_count()


def test_a_picture_has_one_fingerprint_of_64_bits():
    picture = scene(1)

    assert perceptual_hash(picture) == perceptual_hash(picture.copy())
    assert 0 <= perceptual_hash(picture) < 2**64


@pytest.mark.parametrize("seed", range(10))
def test_noise_compression_size_and_brightness_hardly_change_it(seed):
    picture = scene(seed)
    rng = np.random.default_rng(seed)
    noisy = np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
    squeezed = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], cv2.IMREAD_COLOR)
    darker = (picture * 0.8).astype(np.uint8)

    for changed in (noisy, squeezed, darker, cv2.resize(picture, (160, 120), interpolation=cv2.INTER_AREA)):
        assert distance(picture, changed) <= 4


def test_other_pictures_are_far_away():
    distances = [distance(scene(one), scene(other)) for one in range(15) for other in range(one)]

    assert min(distances) > 10
    assert 24 < np.mean(distances) < 40


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (7, 3, 3)])
def test_even_and_tiny_pictures_have_one_too(shape):
    assert perceptual_hash(np.full(shape, 90, np.uint8)) == perceptual_hash(np.full(shape, 90, np.uint8))
