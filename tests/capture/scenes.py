"""A camera over a station: a holder that stays, a part that changes, a lens, a lamp, and a sensor with its noise."""

import cv2
import numpy as np

HEIGHT, WIDTH = 240, 320


def scene(seed, *, light=1.0, blur_px=0.6, shift_px=0, holder=True, noise=2.0):
    """uint8 [240, 320, 3]: the same for the same arguments; another part and other noise for another seed."""
    rng = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), 1.0)
    picture = 110 + 14 * grain / grain.std()
    for _ in range(6):
        start, end = ((int(rng.integers(60, WIDTH - 60)), int(rng.integers(20, HEIGHT - 20))) for _ in range(2))
        cv2.line(picture, start, end, float(rng.uniform(60, 180)), 2)
    if holder:
        for x in (0, WIDTH - 40):
            cv2.rectangle(picture, (x, 40), (x + 40, 200), 60.0, cv2.FILLED)
            for y in (70, 120, 170):
                cv2.circle(picture, (x + 20, y), 8, 170.0, cv2.FILLED)
    picture = np.roll(picture, shift_px, axis=1)
    picture = cv2.GaussianBlur(picture, (0, 0), blur_px) * light
    picture = picture + rng.normal(0, noise, picture.shape)
    return cv2.merge([picture.clip(0, 255).astype(np.uint8)] * 3)
