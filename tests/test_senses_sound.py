"""Sound: voices and pitches against Fourier sums, the log-mel spectrogram against loops and SciPy, and a WAV file read back."""

import wave
from functools import cache

import jax
import numpy as np
import pytest
from helpers import check, raises_one_sentence, seeded

from tinyclip.errors import UserError
from tinyclip.senses import sound
from tinyclip.world.scene import COLOURS, SHAPES

SECONDS = np.arange(sound.SAMPLES) / sound.RATE


@cache
def sounds():
    """Eight of each shape, every shape in all colours: (shape, colour, t)."""
    meaning = np.array([(0, colour, shape, 0, 0) for shape in range(8) for colour in range(8)])
    return np.asarray(jax.jit(sound.waveform)(jax.random.key(3), meaning), np.float64).reshape(8, 8, -1)


def strength(waveform, hertz):
    """How strongly a frequency sounds, whatever its phase."""
    fade = np.hanning(len(waveform))
    return abs((waveform * fade * np.exp(-2j * np.pi * hertz * SECONDS[: len(waveform)])).sum()) / fade.sum()


def energy(waveform, start, stop):
    return (waveform[int(start * sound.RATE) : int(stop * sound.RATE)] ** 2).mean()


def test_mel_is_a_thousand_at_a_thousand_hertz():
    check("mel of 0, 700 and 6300 Hz", sound.mel(np.array([0.0, 700.0, 6300.0])), np.array([0, 2595 * np.log10(2), 2595.0]), 1e-12)
    assert abs(sound.mel(1000.0) - 1000) < 0.1, f"the scale is made so that 1000 Hz are 1000 mel, got {sound.mel(1000.0)}"


def test_mel_filters_are_triangles_that_share_every_frequency_out():
    filters = sound.mel_filters()
    bins, bands = sound.FRAME // 2 + 1, sound.BANDS
    corner = [2595 * np.log10(1 + 4000 / 700) * i / (bands + 1) for i in range(bands + 2)]
    want = np.zeros((bins, bands))
    for k in range(bins):
        m = 2595 * np.log10(1 + 20 * k / 700)
        for b in range(bands):
            if corner[b] < m <= corner[b + 1]:
                want[k, b] = (m - corner[b]) / (corner[b + 1] - corner[b])
            elif corner[b + 1] < m < corner[b + 2]:
                want[k, b] = (corner[b + 2] - m) / (corner[b + 2] - corner[b + 1])
    check("mel_filters, a triangle at a time", filters, want, 1e-9)
    inner = [k for k in range(bins) if corner[1] <= 2595 * np.log10(1 + 20 * k / 700) <= corner[bands]]
    check("what all bands together make of a frequency", filters[inner].sum(1), np.ones(len(inner)), 1e-9, "one triangle falls as the next rises")
    assert (filters.max(0) > 0).all(), f"bands {np.flatnonzero(filters.max(0) == 0)} hear nothing: the triangles are too narrow for the frame"


def test_log_mel_agrees_with_scipy():
    import scipy.signal  # two seconds, which only the worker that needs it should wait

    waves = seeded(1).normal(size=(3, 1500))
    _, _, spectrum = scipy.signal.stft(
        waves, sound.RATE, "hann", sound.FRAME, sound.FRAME - sound.HOP, boundary=None, padded=False, scaling="spectrum"
    )
    power = np.abs(spectrum * scipy.signal.get_window("hann", sound.FRAME).sum()).transpose(0, 2, 1) ** 2
    check("log_mel, against scipy.signal.stft", sound.log_mel(waves), np.log(1e-6 + power @ sound.mel_filters()), 1e-9)


def test_log_mel_agrees_with_a_loop():
    waves, filters = seeded(2).normal(size=(2, sound.FRAME + sound.HOP + 7)), sound.mel_filters()
    want = np.zeros((2, 2, sound.BANDS))
    for b in range(2):
        for n in range(2):
            for c in (0, 11, 39):
                for k in np.flatnonzero(filters[:, c]):
                    i = np.arange(sound.FRAME)
                    faded = waves[b, n * sound.HOP + i] * (0.5 - 0.5 * np.cos(2 * np.pi * i / sound.FRAME))
                    want[b, n, c] += filters[k, c] * abs(sum(faded * np.exp(-2j * np.pi * i * k / sound.FRAME))) ** 2
                want[b, n, c] = np.log(1e-6 + want[b, n, c])
    got = np.where(np.isin(np.arange(sound.BANDS), (0, 11, 39)), sound.log_mel(waves), 0)
    check("log_mel, three bands of two frames", got, want, 1e-9, "what does not fill a whole frame at the end is left out")


def test_log_mel_of_a_pure_tone_and_of_silence():
    tone = np.cos(2 * np.pi * 1000 * SECONDS)[None]
    loudest = np.exp(sound.log_mel(tone)).sum(-1)
    # The window spreads a tone over three frequencies: N/4 of it at its own, N/8 on either side.
    around = sound.mel_filters()[49:52].sum(1) @ np.array([1 / 64, 1 / 16, 1 / 64]) * sound.FRAME**2
    check("the power of a tone of 1000 Hz, over all bands", loudest, np.full((1, sound.FRAMES), around), 1e-6, "(N/4)² at its own frequency")
    check("log_mel of silence", sound.log_mel(np.zeros((1, 800))), np.full((1, 3, sound.BANDS), np.log(1e-6)), 1e-12)


def test_the_device_computes_the_same_spectrogram():
    waves = sounds()[:, 2].astype(np.float32)
    on_device = jax.jit(sound.log_mel_on_device)(waves)
    by_hand = sound.log_mel(waves.astype(np.float64)).astype(np.float32)
    check("log_mel_on_device, against log_mel", on_device, by_hand, 1e-5)
    assert by_hand.shape == (8, sound.FRAMES, sound.BANDS), f"half a second has {sound.FRAMES} frames of {sound.BANDS} bands, got {by_hand.shape}"


def test_hearing_is_the_spectrogram_of_a_fresh_sound():
    meaning = np.array([(0, 3, 5, 1, 1), (1, 6, 2, 0, 2)])
    waves = np.asarray(jax.jit(sound.waveform)(jax.random.key(5), meaning), np.float64)
    hear = jax.jit(sound.hear)
    heard = np.asarray(hear(jax.random.key(5), meaning))
    check("hear", heard, (sound.log_mel(waves) / 3).astype(np.float32), 1e-5, "the log-mel spectrogram, divided by 3")
    again = np.asarray(hear(jax.random.key(6), meaning))
    assert np.abs(heard - again).mean() > 0.05, "another key should give another sound of the same scene: level, onset, phase and noise differ"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_voice_sounds_its_harmonics_at_the_pitch_of_the_colour(shape):
    harmonics = np.array(sound.VOICES[shape][3])
    for colour, wave_ in enumerate(sounds()[SHAPES.index(shape)]):
        f = 220 * 2 ** ([0, 2, 4, 5, 7, 9, 11, 12][colour] / 12)
        heard = np.array([strength(wave_, k * f) for k in range(1, 9)])
        heard = heard / heard.max()
        wrong = np.abs(heard - harmonics / harmonics.max()).max()
        assert wrong < 0.12, f"the harmonics of {shape} in {list(COLOURS)[colour]} should be as {harmonics.round(2)}, got {heard.round(2)}"


def test_voices_differ_in_time_as_well():
    def share(shape, early, late):
        waves = sounds()[SHAPES.index(shape)]
        return np.mean([energy(wave_, *late) / energy(wave_, *early) for wave_ in waves])

    start, end = (0.12, 0.2), (0.42, 0.5)
    held, dies, swells = share("circle", start, end), share("ring", start, end), share("moon", start, end)
    assert 0.7 < held < 1.3, f"a circle should sound evenly, but its end has {held:.2f} of its beginning's power"
    assert dies < 0.1, f"a ring should die away, but its end has {dies:.2f} of its beginning's power"
    assert swells > 2, f"a moon should swell, but its end has {swells:.2f} times its beginning's power"
    beats = sounds()[SHAPES.index("heart")].reshape(8, 50, -1)  # in steps of 10 ms
    power = (beats**2).mean(2)
    ratio = power.min(1) / power.max(1)
    assert (ratio < 0.05).all() and (power[:, 15:].min(1) < 0.2 * power.max(1)).all(), f"a heart should fall silent between beats, got {ratio}"


def test_sounds_stay_within_what_a_file_holds():
    loudest = np.abs(sounds()).max((1, 2))
    assert (loudest < 0.96).all(), f"levels are at most 0.9, and noise 0.05, so nothing may pass 0.95: got {loudest.round(2)}"
    assert max(sound.PITCHES) * 8 < sound.RATE / 2, "the highest harmonic must stay below half the sampling rate, or it sounds as another"
    assert (np.abs(sounds()).max(2) > 0.05).all(), "every sound should be heard above its noise"


def test_speak_says_what_the_sentence_says():
    said = sound.speak("a small blue star in the top left", seed=4)
    meaning = np.array([(0, list(COLOURS).index("blue"), SHAPES.index("star"), 0, 0)])
    check("speak of a blue star", said, np.asarray(jax.jit(sound.waveform)(jax.random.key(4), meaning))[0], 1e-6)
    f = sound.PITCHES[list(COLOURS).index("pink")]
    heard = sound.speak("a pink circle")
    assert strength(heard, f) > 5 * strength(heard, 1.06 * f), "a pink circle should sound at the pitch of pink"
    with pytest.raises(UserError, match="elephant"):
        sound.speak("a red elephant")


def test_a_wav_file_holds_the_sound(tmp_path):
    samples = np.array([0, 0.5, -0.5, 1, -1, 3, -3], np.float32)
    sound.write_wav(tmp_path / "a.wav", samples)
    with wave.open(str(tmp_path / "a.wav")) as file:
        form = (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes())
        assert form == (1, 2, 8000, 7), f"want one channel, 2 bytes a sample, 8000 a second, 7 samples; got {form}"
        read = np.frombuffer(file.readframes(7), "<i2")
    check("the samples in the file", read, np.array([0, 16384, -16384, 32767, -32767, 32767, -32767]), 1e-12, "what is beyond -1..1 is cut off")
    raises_one_sentence(UserError, lambda: sound.write_wav(tmp_path / "a.wav" / "b.wav", samples), "could not write", "b.wav")
