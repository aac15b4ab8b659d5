"""Sound: each shape has a voice, each colour a pitch. A waveform becomes a log-mel spectrogram, and its frames become tokens.

`log_mel` is written out in NumPy, the Fourier sum included; `hear` is what training uses, the same numbers from an FFT on the device.
B sounds · t samples · n frames · c mel bands. Lesson 16.
"""

import wave
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..errors import UserError
from ..world import read_anywhere
from ..world.scene import COLOURS, SHAPES

RATE = 8000  # samples a second
SAMPLES = 4000  # half a second
FRAME, HOP = 400, 200  # samples: a frame of 50 ms every 25 ms, so frequencies lie 20 Hz apart
BANDS = 40
FRAMES = (SAMPLES - FRAME) // HOP + 1
TELLS = (1, 2)  # of a meaning of the world `single`: colour and shape

PITCHES = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)  # Hz, a major scale from A3: one note a colour
VOICES = {  # shape -> attack and decay in seconds, beats a second, and how loud each harmonic is
    "circle": (0.01, 9.0, 0, (1, 0, 0, 0, 0, 0, 0, 0)),  # a pure tone
    "square": (0.01, 9.0, 0, (1, 0, 1 / 3, 0, 1 / 5, 0, 1 / 7, 0)),  # the harmonics of a square wave
    "triangle": (0.01, 9.0, 0, (1, 0, 1 / 9, 0, 1 / 25, 0, 1 / 49, 0)),  # of a triangle wave
    "star": (0.01, 9.0, 0, (1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 7, 1 / 8)),  # of a sawtooth
    "heart": (0.02, 9.0, 4, (1, 1 / 2, 1 / 4, 0, 0, 0, 0, 0)),  # it beats
    "cross": (0.01, 9.0, 0, (1, 1, 0, 1, 0, 0, 0, 1)),  # an organ: nothing but octaves
    "ring": (0.005, 0.12, 0, (0.4, 0.1, 0.7, 0.1, 1, 0.1, 0.7, 0.1)),  # a bell, which dies away
    "moon": (0.4, 9.0, 0, (1, 0.3, 0.1, 0, 0, 0, 0, 0)),  # it swells
}


def waveform(key: Array, meaning: Int[Array | np.ndarray, "B 5"]) -> Float[Array, "B t"]:
    """What scenes of the world `single` sound like, between -1 and 1, at random levels, onsets and phases, with a little noise. jit-able."""
    _, colour, shape, _, _ = jnp.asarray(meaning).T
    B = len(colour)
    phases, levels, onsets, noise = jax.random.split(key, 4)
    voices = (jnp.asarray([voice[part] for voice in map(VOICES.get, SHAPES)], jnp.float32)[shape] for part in range(4))
    attack, decay, beats, harmonics = (voice.reshape(B, -1) for voice in voices)  # (B, 1) each, (B, 8)
    since = jnp.arange(SAMPLES) / RATE - jax.random.uniform(onsets, (B, 1), maxval=0.1)  # seconds from the onset, (B, t)
    time = jnp.maximum(since, 0)
    envelope = (1 - jnp.exp(-time / attack)) * jnp.exp(-time / decay) * jnp.where(beats > 0, (1 - jnp.cos(2 * np.pi * beats * time)) / 2, 1)
    phase = jax.random.uniform(phases, (8, B, 1), maxval=2 * np.pi)
    pitch = jnp.asarray(PITCHES, jnp.float32)[colour][:, None]
    tone = sum(harmonics[:, k, None] * jnp.sin(2 * np.pi * (k + 1) * pitch * time + phase[k]) for k in range(8))
    level = jax.random.uniform(levels, (B, 1), minval=0.2, maxval=0.9)
    return level * envelope * tone / harmonics.sum(1, keepdims=True) + 0.01 * jnp.clip(jax.random.normal(noise, since.shape), -5, 5)


def mel(hertz: Float[np.ndarray, "*f"] | float) -> Float[np.ndarray, "*f"] | float:
    """Frequency as the ear spaces it, in mel: 2595 log10(1 + f / 700), O'Shaughnessy's formula, as in HTK."""
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


@cache
def mel_filters() -> Float[np.ndarray, "k c"]:
    """How much each of the k frequencies counts in each mel band: triangles of height 1, whose corners are evenly spaced in mel up to RATE / 2."""
    frequency = mel(np.arange(FRAME // 2 + 1) * RATE / FRAME)[:, None]  # (k, 1)
    corners = np.linspace(0, mel(RATE / 2), BANDS + 2)
    left, top, right = corners[:-2], corners[1:-1], corners[2:]  # (c,) each
    return np.maximum(0, np.minimum((frequency - left) / (top - left), (right - frequency) / (right - top)))


def hann() -> Float[np.ndarray, "w"]:
    """A frame fades in and out, (1 - cos) / 2, so that its cut ends do not sound."""
    return (1 - np.cos(2 * np.pi * np.arange(FRAME) / FRAME)) / 2


def log_mel(waveforms: Float[np.ndarray, "B t"]) -> Float[np.ndarray, "B n c"]:
    """Log-mel spectrograms, written out: frames, window, Fourier sum (`np.fft.rfft` gives the same), power, mel bands, log(1e-6 + ·).

    As many frames as fit whole into a wave of any length; natural logarithm.
    """
    starts = range(0, waveforms.shape[1] - FRAME + 1, HOP)
    frames = np.stack([waveforms[:, start : start + FRAME] for start in starts], axis=1) * hann()  # (B, n, w)
    turns = np.outer(np.arange(FRAME), np.arange(FRAME // 2 + 1)) / FRAME  # of each frequency k at each sample
    power = (frames @ np.cos(2 * np.pi * turns)) ** 2 + (frames @ np.sin(2 * np.pi * turns)) ** 2  # (B, n, k)
    return np.log(1e-6 + power @ mel_filters())


def log_mel_on_device(waveforms: Float[Array, "B t"]) -> Float[Array, "B n c"]:
    """`log_mel` by JAX's FFT, for use inside a jitted step."""
    rows = np.arange(0, waveforms.shape[1] - FRAME + 1, HOP)[:, None] + np.arange(FRAME)  # (n, w)
    spectrum = jnp.fft.rfft(waveforms[:, rows] * jnp.asarray(hann(), jnp.float32))
    power = spectrum.real**2 + spectrum.imag**2
    return jnp.log(1e-6 + power @ jnp.asarray(mel_filters(), jnp.float32))


def hear(key: Array, meaning: Int[Array | np.ndarray, "B 5"]) -> Float[Array, "B n c"]:
    """The sense of hearing: a fresh sound of every scene, as a log-mel spectrogram brought to around 0 with a spread of about 1."""
    return log_mel_on_device(waveform(key, meaning)) / 3


def speak(sentence: str, seed: int = 0) -> Float[np.ndarray, "t"]:
    """The sound of what a sentence of the world `single` says ("a red circle"), at RATE; what it leaves open is drawn by lot.

    Raises `UserError` for what is no such sentence.
    """
    world, said = read_anywhere(sentence, "single")
    return np.asarray(jax.jit(waveform)(jax.random.key(seed), world.fill(said, seed)[None])[0])


def write_wav(path: Path, sound: Float[np.ndarray, "t"], rate: int = RATE) -> None:
    """One channel of 16 bits a sample; what is beyond -1..1 is cut off. Raises `UserError` if the file cannot be written."""
    samples = np.round(np.clip(sound, -1, 1) * 32767).astype("<i2")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as raw, wave.open(raw, "wb") as file:
            file.setparams((1, 2, rate, len(samples), "NONE", "not compressed"))
            file.writeframes(samples.tobytes())
    except OSError as error:
        raise UserError(f"could not write {path}: {error.strerror or error}.") from None


assert len(PITCHES) == len(COLOURS) and VOICES.keys() == set(SHAPES)
