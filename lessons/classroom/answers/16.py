"""Lesson 16: more senses."""

import jax.numpy as jnp
import numpy as np

from lessons.classroom.answers import right, wrong
from tinyclip.clip import l2_normalise
from tinyclip.senses.sound import FRAME, HOP, hann, mel_filters
from tinyclip.world.draw import DISTANCES

# 16.1 mean_direction


@wrong("16.1", "is each vector brought to length 1 before the mean? A long one must not count more than a short one")
def mean_direction_of_any_length(embeddings):
    return l2_normalise(jnp.asarray(embeddings).mean(axis=1))


@wrong("16.1", "has the result length 1? A mean of different unit vectors is shorter")
def mean_direction_left_short(embeddings):
    return l2_normalise(jnp.asarray(embeddings)).mean(axis=1)


@wrong("16.1", "is the mean taken over the clips of the batch? Each clip keeps a vector of its own")
def mean_direction_over_the_batch(embeddings):
    return l2_normalise(l2_normalise(jnp.asarray(embeddings)).mean(axis=0))


@wrong("16.1", "is the mean taken over the numbers of a vector? Its F frames are to be averaged, number by number")
def mean_direction_over_the_width(embeddings):
    return l2_normalise(l2_normalise(jnp.asarray(embeddings)).mean(axis=2))


@wrong("16.1", "is every clip given its middle frame? All F frames count alike")
def mean_direction_of_the_middle_frame(embeddings):
    embeddings = jnp.asarray(embeddings)
    return l2_normalise(embeddings[:, embeddings.shape[1] // 2])


@wrong("16.1", "are lengths divided by as they are? Opposite vectors have a mean of length 0: l2_normalise is careful there")
def mean_direction_that_divides_by_zero(embeddings):
    embeddings = jnp.asarray(embeddings)
    mean = (embeddings / jnp.linalg.norm(embeddings, axis=-1, keepdims=True)).mean(axis=1)
    return mean / jnp.linalg.norm(mean, axis=-1, keepdims=True)


@wrong("16.1", "is a vector's length the sum of its numbers' sizes? It is the root of the sum of their squares")
def mean_direction_by_absolute_values(embeddings):
    embeddings = jnp.asarray(embeddings)
    mean = (embeddings / jnp.abs(embeddings).sum(axis=-1, keepdims=True)).mean(axis=1)
    return l2_normalise(mean)


@right("16.1")
def mean_direction_by_a_sum(embeddings):
    embeddings = jnp.asarray(embeddings)
    total = jnp.einsum("bfe,bf->be", embeddings, 1 / jnp.sqrt((embeddings**2).sum(-1) + 1e-12))
    return total / jnp.maximum(jnp.linalg.norm(total, axis=1, keepdims=True), 1e-6)


# 16.2 log_mel


@wrong("16.2", "does each frame fade in and out? Cut off hard, its ends would sound")
def log_mel_without_a_window(waveforms):
    starts = range(0, waveforms.shape[1] - FRAME + 1, HOP)
    frames = np.stack([waveforms[:, start : start + FRAME] for start in starts], axis=1)
    turns = np.outer(np.arange(FRAME), np.arange(FRAME // 2 + 1)) / FRAME
    power = (frames @ np.cos(2 * np.pi * turns)) ** 2 + (frames @ np.sin(2 * np.pi * turns)) ** 2
    return np.log(1e-6 + power @ mel_filters())


@wrong("16.2", "is it the amplitude that goes into the mel bands? They add up power, its square")
def log_mel_of_amplitudes(waveforms):
    starts = range(0, waveforms.shape[1] - FRAME + 1, HOP)
    frames = np.stack([waveforms[:, start : start + FRAME] for start in starts], axis=1) * hann()
    return np.log(1e-6 + np.abs(np.fft.rfft(frames)) @ mel_filters())


@wrong("16.2", "is the logarithm of base 10? The docstring wants the natural one")
def log_mel_in_tens(waveforms):
    starts = range(0, waveforms.shape[1] - FRAME + 1, HOP)
    frames = np.stack([waveforms[:, start : start + FRAME] for start in starts], axis=1) * hann()
    return np.log10(1e-6 + np.abs(np.fft.rfft(frames)) ** 2 @ mel_filters())


@wrong("16.2", "is the logarithm taken before the mel bands add up? Powers add, their logarithms do not")
def log_mel_with_the_logarithm_first(waveforms):
    starts = range(0, waveforms.shape[1] - FRAME + 1, HOP)
    frames = np.stack([waveforms[:, start : start + FRAME] for start in starts], axis=1) * hann()
    return np.log(1e-6 + np.abs(np.fft.rfft(frames)) ** 2) @ mel_filters()


@wrong("16.2", "do the frames lie end to end? A new one starts after HOP samples, before the last has ended")
def log_mel_of_frames_end_to_end(waveforms):
    starts = range(0, waveforms.shape[1] - FRAME + 1, FRAME)
    frames = np.stack([waveforms[:, start : start + FRAME] for start in starts], axis=1) * hann()
    return np.log(1e-6 + np.abs(np.fft.rfft(frames)) ** 2 @ mel_filters())


@wrong("16.2", "is the sine missing? A tone that starts a quarter of a turn later would then be silent")
def log_mel_of_cosines_alone(waveforms):
    starts = range(0, waveforms.shape[1] - FRAME + 1, HOP)
    frames = np.stack([waveforms[:, start : start + FRAME] for start in starts], axis=1) * hann()
    return np.log(1e-6 + np.fft.rfft(frames).real ** 2 @ mel_filters())


@wrong("16.2", "is the last frame missing? A frame that ends with the last sample still fits")
def log_mel_without_the_last_frame(waveforms):
    starts = range(0, waveforms.shape[1] - FRAME, HOP)
    frames = np.stack([waveforms[:, start : start + FRAME] for start in starts], axis=1) * hann()
    return np.log(1e-6 + np.abs(np.fft.rfft(frames)) ** 2 @ mel_filters())


@wrong("16.2", "what is the logarithm of silence? The 1e-6 belongs inside it")
def log_mel_of_silence(waveforms):
    starts = range(0, waveforms.shape[1] - FRAME + 1, HOP)
    frames = np.stack([waveforms[:, start : start + FRAME] for start in starts], axis=1) * hann()
    with np.errstate(divide="ignore"):
        return 1e-6 + np.log(np.abs(np.fft.rfft(frames)) ** 2 @ mel_filters())


@wrong("16.2", "is it np.hanning? That one is 0 at both ends of the frame; the window of this ear is `hann()`")
def log_mel_with_another_window(waveforms):
    starts = range(0, waveforms.shape[1] - FRAME + 1, HOP)
    frames = np.stack([waveforms[:, start : start + FRAME] for start in starts], axis=1) * np.hanning(FRAME)
    return np.log(1e-6 + np.abs(np.fft.rfft(frames)) ** 2 @ mel_filters())


@wrong("16.2", "is the Fourier sum divided by the frame's length? It is wanted as it is")
def log_mel_of_a_mean(waveforms):
    starts = range(0, waveforms.shape[1] - FRAME + 1, HOP)
    frames = np.stack([waveforms[:, start : start + FRAME] for start in starts], axis=1) * hann()
    return np.log(1e-6 + np.abs(np.fft.rfft(frames) / FRAME) ** 2 @ mel_filters())


@wrong("16.2", "is 1e-6 the least that is taken? It is added, to loud and quiet alike")
def log_mel_of_the_larger(waveforms):
    starts = range(0, waveforms.shape[1] - FRAME + 1, HOP)
    frames = np.stack([waveforms[:, start : start + FRAME] for start in starts], axis=1) * hann()
    return np.log(np.maximum(1e-6, np.abs(np.fft.rfft(frames)) ** 2 @ mel_filters()))


@right("16.2")
def log_mel_by_fft(waveforms):
    windows = np.lib.stride_tricks.sliding_window_view(waveforms, FRAME, axis=1)[:, ::HOP]
    spectrum = np.fft.rfft(windows * hann(), axis=-1)
    return np.log(np.einsum("bnk,kc->bnc", spectrum.real**2 + spectrum.imag**2, mel_filters()) + 1e-6)


@right("16.2")
def log_mel_sound_by_sound(waveforms):
    rows = []
    for sound in waveforms:
        row, start = [], 0
        while start + FRAME <= len(sound):
            row.append(np.log(np.abs(np.fft.rfft(sound[start : start + FRAME] * hann())) ** 2 @ mel_filters() + 1e-6))
            start += HOP
        rows.append(row)
    return np.array(rows)


# 16.3 outline


def _bisect(inside, low, high):
    for _ in range(16):
        middle = (low + high) / 2
        low, high = jnp.where(inside(middle), middle, low), jnp.where(inside(middle), high, middle)
    return low


@wrong("16.3", "is it the first edge on the way out? A ring has an inner one too, and the outermost is wanted")
def outline_of_the_first_edge(shape, angles):
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    radii = jnp.linspace(0, 1.5, 3001)[:, None]
    signs = DISTANCES[shape](radii * cos, radii * sin) <= 0
    crossed = signs[1:] != signs[:-1]
    return jnp.where(crossed.any(0), radii[:-1, 0][jnp.argmax(crossed, axis=0)], 0.0)


@wrong("16.3", "do the angles run the other way round? y points down here, so they run clockwise")
def outline_counter_clockwise(shape, angles):
    cos, sin = jnp.cos(angles), -jnp.sin(angles)
    radii = jnp.linspace(0, 1.5, 601)
    inside = DISTANCES[shape](radii[:, None] * cos, radii[:, None] * sin) <= 0
    last = jnp.max(jnp.where(inside, radii[:, None], -1), axis=0)
    low = _bisect(lambda radius: DISTANCES[shape](radius * cos, radius * sin) <= 0, last, last + radii[1])
    return jnp.where(last < 0, 0.0, low)


@wrong("16.3", "do the angles begin at the top? They are counted from the right")
def outline_from_the_top(shape, angles):
    cos, sin = jnp.cos(angles - jnp.pi / 2), jnp.sin(angles - jnp.pi / 2)
    radii = jnp.linspace(0, 1.5, 601)
    inside = DISTANCES[shape](radii[:, None] * cos, radii[:, None] * sin) <= 0
    last = jnp.max(jnp.where(inside, radii[:, None], -1), axis=0)
    low = _bisect(lambda radius: DISTANCES[shape](radius * cos, radius * sin) <= 0, last, last + radii[1])
    return jnp.where(last < 0, 0.0, low)


@wrong("16.3", "is it the distance from the middle to the nearest edge? Each angle has a ray, and a radius of its own")
def outline_by_the_distance_in_the_middle(shape, angles):
    nothing = jnp.zeros_like(jnp.asarray(angles))
    return jnp.abs(DISTANCES[shape](nothing, nothing))


@wrong("16.3", "does a ray that never meets the shape give less than 0? The docstring wants 0 there")
def outline_below_zero(shape, angles):
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    radii = jnp.linspace(0, 1.5, 601)
    inside = DISTANCES[shape](radii[:, None] * cos, radii[:, None] * sin) <= 0
    last = jnp.max(jnp.where(inside, radii[:, None], -1), axis=0)
    return _bisect(lambda radius: DISTANCES[shape](radius * cos, radius * sin) <= 0, last, last + radii[1])


@wrong("16.3", "is the edge found to one step of the grid only? Between the last point inside and the next, halve on")
def outline_on_the_grid(shape, angles):
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    radii = jnp.linspace(0, 1.5, 151)[:, None]
    inside = DISTANCES[shape](radii * cos, radii * sin) <= 0
    return jnp.max(jnp.where(inside, radii, 0.0), axis=0)


@right("16.3")
def outline_by_many_steps_from_outside(shape, angles):
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    radii = jnp.linspace(1.5, 0, 6001)[:, None]
    inside = DISTANCES[shape](radii * cos, radii * sin) <= 0
    first = jnp.argmax(inside, axis=0)
    high = radii[jnp.maximum(first - 1, 0), 0]
    low = _bisect(lambda radius: DISTANCES[shape](radius * cos, radius * sin) <= 0, radii[first, 0], high)
    return jnp.where(inside.any(0), low, 0.0)
