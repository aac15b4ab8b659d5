"""The exercises of lesson 16 in sound and touch: closed forms and plain loops."""

import numpy as np
import pytest
from helpers import check, jitted, seeded

from tinyclip.senses import sound, touch


@pytest.mark.exercise("16.2")
def test_log_mel_frame_by_frame():
    rng = seeded(16)
    waves = rng.normal(size=(2, sound.FRAME + 2 * sound.HOP)) * rng.uniform(0.2, 1, (2, 1)) * [[1], [1e-4]]  # the second is nearly silent
    fade = [(1 - np.cos(2 * np.pi * i / sound.FRAME)) / 2 for i in range(sound.FRAME)]
    turns = np.exp(-2j * np.pi * np.outer(np.arange(sound.FRAME // 2 + 1), np.arange(sound.FRAME)) / sound.FRAME)  # (k, w)
    expected = []
    for wave in waves:
        for start in (0, sound.HOP, 2 * sound.HOP):
            spectrum = turns @ (wave[start : start + sound.FRAME] * fade)
            expected.append(np.log(1e-6 + sum(abs(value) ** 2 * row for value, row in zip(spectrum, sound.mel_filters(), strict=True))))
    check("log_mel of 2 noises of 3 frames", sound.log_mel(waves), np.array(expected).reshape(2, 3, -1), 1e-5,
          "a frame starts every HOP samples, as long as FRAME samples are left")  # fmt: skip


@pytest.mark.exercise("16.2")
def test_log_mel_of_silence_and_of_a_tone_at_any_phase():
    silence = sound.log_mel(np.zeros((1, sound.FRAME)))
    check("log_mel of silence", silence, np.full((1, 1, sound.BANDS), np.log(1e-6)), 1e-9, "silence has the power 0, and ln 1e-6 is finite")
    angle = 2 * np.pi * 31 * np.arange(sound.FRAME) / sound.FRAME
    tones = sound.log_mel(np.stack([np.cos(angle), np.sin(angle)]))
    check("log_mel of a sine, against a cosine", tones[1], tones[0], 1e-6, "a tone is equally loud wherever its wave begins")


@pytest.mark.exercise("16.3")
def test_outlines_that_are_round():
    angles = seeded(17).uniform(0, 2 * np.pi, 20).astype(np.float32)
    circle, ring = (np.asarray(touch.outline(shape, angles)) for shape in ("circle", "ring"))
    check("outline of a circle", circle, np.full(20, 0.95, np.float32), 1e-4, "its radius is 0.95 everywhere")
    check("outline of a ring", ring, np.full(20, 0.98, np.float32), 1e-4, "its outer edge has radius 0.98")
    check("outline of a circle, jitted", jitted("outline of a circle", lambda angles: touch.outline("circle", angles), angles), circle, 1e-5)


@pytest.mark.exercise("16.3")
def test_outlines_that_are_not_alike_on_all_sides():
    angles = np.append(seeded(18).uniform(0, 2 * np.pi, 16), [0, np.pi / 2, np.pi, 3 * np.pi / 2]).astype(np.float32)
    corners, radii = [(0.0, -1.0), (0.95, 0.8), (-0.95, 0.8)], []  # of the triangle, y pointing down
    for angle in angles:
        ray, met = (np.cos(angle), np.sin(angle)), []
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
            outward = (by - ay, ax - bx)  # at right angles to the side
            towards = outward[0] * ray[0] + outward[1] * ray[1]
            met += [(outward[0] * ax + outward[1] * ay) / towards] if towards > 1e-9 else []
        radii.append(min(met))  # the first of the sides' lines that the ray meets
    check("outline of a triangle", np.asarray(touch.outline("triangle", angles)), np.array(radii, np.float32), 1e-4, "it stands on its base")
    moon = np.asarray(touch.outline("moon", angles))[[16, 18]]
    check("outline of a moon: right and left", moon, np.array([0, 1], np.float32), 1e-4,
          "to the right the ray meets nothing, to the left the rim")  # fmt: skip
