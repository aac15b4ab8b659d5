# %% [markdown]
# # Lesson 16 · More senses
#
# *12 min to read, half a minute to run*
#
# **Question.** How do films, sounds and touch come into the space of pictures and sentences, and must each of them be taught words?
#
# The space holds unit vectors, and does not ask where they come from. Whatever can be cut into a row of tokens can be read by a transformer, and its
# vectors can be trained to lie where they belong. Each part loads trained models; the tables give the mean of three seeds, with the least and the
# largest. `python -m lessons.experiments video` (or sound, touch, smell) trains and scores them again.

# %%
import inspect

import numpy as np

from lessons import experiments, kit
from lessons.experiments import senses, smell, sound, video
from tinyclip.senses import align, descend, emergent_scores
from tinyclip.senses import smell as smelling
from tinyclip.senses import sound as hearing
from tinyclip.senses import touch as feeling
from tinyclip.senses import video as filming

lesson = kit.Lesson("16")


def row(name, condition, *scores, **labels):
    """Scores of an experiment over its seeds, claimed and printed, by their names or with labels."""
    said = []
    for score, label in {**dict(zip(scores, scores, strict=True)), **labels}.items():
        mean, least, most = experiments.get(name).spread(condition, score)
        lesson.claim(f"{name}, {condition}: {score}", mean)
        said.append(f"{label} {mean:.1%} ({least:.1%} to {most:.1%})")
    print(f"  {name}, {condition}: " + ", ".join(said))


# %% [markdown]
# ## Film: pictures in order
#
# A film is F = 8 pictures of one shape that moves, grows or shrinks. Each **frame** goes through an image tower that is frozen (it learns no more)
# and says *what* is there; no caption ever told it *where*, so a thumbnail of 4 x 4 pixels goes along. F vectors must become one. Simplest is their
# mean: each to length 1, the mean, to length 1 again. But a sum has no order, and in this world a film of "moving left", run backward, *is* one of
# "moving right". The other way is a small transformer over the frames, whose position embeddings tell early from late. Both learn as in lesson 07.

# %%
each = 2 if lesson.fast else video.EACH  # films of every sentence, one after the other
films, features = video.new_films(each), video.new_features(each)  # (B, F, S, S, 3), (B, F, D)
frames = senses.bundle().embed_images((films[:4].reshape(-1, 32, 32, 3) * 255 + 0.5).astype(np.uint8)).reshape(4, filming.FRAMES, -1)
pooled = filming.mean_direction(frames)
by_loop = [sum(frame / np.linalg.norm(frame) for frame in clip) / len(clip) for clip in frames]
lesson.compare("mean directions", [mean / np.linalg.norm(mean) for mean in by_loop], pooled)
lesson.shapes(films=films, features=features, frames=frames, pooled=pooled)

lesson.predict("films of six motions: how often does the mean name a film's own direction, and not the opposite? And the transformer?")
lesson.show(filming.film, filming.frame_features, filming.mean_direction, filming.Temporal, filming.VideoCLIP, filming.learn)
for pool in ("mean", "no positions", "transformer"):
    row("video", pool, "thing", "axis", "direction")
    row("video", pool, "film to sentence", "sentence to film")
right = {pool: lesson.results[f"video, {pool}: direction"] for pool in ("mean", "transformer")}
lesson.answer(f"{right['mean']:.1%} and {right['transformer']:.1%}. Without order one sees the path at best, as in a long exposure, not which way.")

# %% [markdown]
# "thing" is colour and shape, "axis" is whether it moves sideways, up and down, or in size; film to sentence and back is recall@1 among all of them.
# The control "no positions" is the transformer without its position embeddings: it compares frames, but attention knows no order (lesson 06).
#
# ## Break it: shuffle the frames
#
# The frames are shuffled, or one of them stands in the place of all eight. The symptom: the direction is a guess (shuffled, all else is still known).

# %%
transformer = video.model_of("transformer", experiments.get("video").load("transformer"))
texts = video.embed_sentences(transformer)
for name, tokens in {"in order": features, **video.without_order(features)}.items():
    right = lesson.claim(f"direction, {name}", video.directions(video.embed_films(transformer, tokens) @ texts.T))
    print(f"  {name:<9}: the direction is right for {right:.1%} of {len(tokens)} films")

# %% [markdown]
# ## Sound: a picture of time and pitch
#
# In this world each shape has a voice, and each colour a pitch. A sound is a row of samples. Cut it into short frames that overlap, fade each in and
# out, and ask of each how strong every frequency is (the Fourier sum); add up the frequencies in bands spaced as listeners space pitch (**mel**), and
# take the logarithm: the ear, too, hears ratios of strength. That is a **log-mel spectrogram**, and each of its frames is a token.
#
# The ear is trained against *pictures only*: its vector of a scene must find the vector of that scene's picture, by contrastive loss, the tower of
# pictures frozen. It never meets a sentence. But sentences already lie beside their pictures.

# %%
wave = hearing.speak("a red star")  # (samples,)
spectrogram = hearing.log_mel(wave[None])[0]  # (n, c)
lesson.shapes(wave=wave, spectrogram=spectrogram)
k, cut = np.arange(hearing.FRAME // 2 + 1), wave[5 * hearing.HOP :][: hearing.FRAME] * hearing.hann()  # frame 5, and its frequencies
power = [abs(sum(cut * np.exp(-2j * np.pi * f * np.arange(hearing.FRAME) / hearing.FRAME))) ** 2 for f in k]
bands = [np.log(1e-6 + sum(p * weight for p, weight in zip(power, band, strict=True))) for band in hearing.mel_filters().T]
lesson.compare("a spectrogram's frame", bands, spectrogram[5])
kit.FIGURES.mkdir(parents=True, exist_ok=True)
hearing.write_wav(kit.FIGURES / "16_a_red_star.wav", wave)
print(f"  play it: {kit.shown(kit.FIGURES / '16_a_red_star.wav')}")
lesson.show(align, descend, emergent_scores, hearing.waveform, hearing.log_mel, hearing.write_wav)
row("sound", "untrained", to_text_all="sound to sentence")
chance = experiments.get("sound").spread("aligned", "chance_text")[0]
lesson.predict(f"64 sentences (\"a red star\"), so chance is {chance:.1%}: how many sounds find theirs, by an ear that never met a sentence?")
row("sound", "aligned", to_text_all="sound to sentence", to_text_held_out="pairs never heard", to_picture_held_out="their pictures")
lesson.answer(f"{lesson.results['sound, aligned: to_text_all']:.1%}. Sounds lie at pictures, and pictures at sentences: emergent alignment.")

# %% [markdown]
# A voice at a pitch that it never had (the held-out pairs) is often misheard. That is the ear's doing: it misses such pictures as often as sentences.
#
# ## Touch: an outline, angle by angle
#
# A finger goes round the outline and feels how far it is from the middle. It can tell shapes, but no colours; and a ring, felt from outside, is as
# round as a circle. A sense can bring in no more than it senses. By chance, 1/8 are right; of shapes some 7/8 at best, as two feel the same.

# %%
lesson.show(feeling.outline, feeling.feel)
row("touch", "aligned", to_shape_all="shape", to_colour_all="colour", circle_as_circle="circle taken for a circle", circle_as_ring="for a ring")

# %% [markdown]
# ## Two senses of one scene
#
# Eye and ear were aligned apart, and can still be added: the mean direction of a film's vector and of its sound's. How often is the right one of 64
# sentences the nearest? Three draws of films, sounds and noise for each case. Neither met noise as loud in training.

# %%
ear = senses.with_params(sound.ear, experiments.get("sound").load("aligned"))
cases = {}
for name, noise in video.CASES.items():  # on the pixels, on the samples
    draws = [video.together(ear, *noise, seed) for seed in range(1 if lesson.fast else 3)]
    cases[name] = {sense: lesson.claim(f"{name}: {sense}", float(np.mean([draw[sense] for draw in draws]))) for sense in draws[0]}
    ranges = [f"{s} {cases[name][s]:.1%} ({min(d[s] for d in draws):.1%} to {max(d[s] for d in draws):.1%})" for s in draws[0]]
    print(f"  {name:<14}" + ", ".join(ranges))

# %% [markdown]
# Both together beat each alone, where one is noisy. But a sum trusts both alike: a drowned ear is sure of wrong things, and drags the eye down.
#
# ## A sense of your own
#
# Make one up: a nose with six receptors, each of which answers to every colour differently, and noisily. This is all; then one call of `align`.

# %%
template = inspect.getsource(smelling)
lesson.claim("lines of the template", len(template.splitlines()))
print(template)
nose, _ = align(senses.bundle(), senses.WORLD, smell.nose(0), smelling.smell, smelling.TELLS, steps=50 if lesson.fast else 150)
mine = emergent_scores(senses.bundle(), senses.WORLD, nose, smelling.smell, "something {colour}")
lesson.claim("a nose trained here", mine["to_text_seen"])
print(f"  trained here: {mine['to_text_seen']:.1%} of smells find their colour's sentence; chance is {mine['chance']:.1%}")
row("smell", "aligned", to_colour_all="colour", to_shape_all="shape")
lesson.show(smelling.smell)

# %%
figure = lesson.new_figure(7.6, 4.4)
grid = figure.add_gridspec(2, 3, height_ratios=(1, 2), width_ratios=(1.3, 0.7, 1.4))
one = filming.moving_world().seen.tolist().index([0, 3, 1]) * each  # a red star moving right
strip, heard, felt, found = (figure.add_subplot(place) for place in (grid[0, :], grid[1, 0], grid[1, 1], grid[1, 2]))
strip.imshow(np.concatenate([np.pad(frame, ((0, 0), (1, 1), (0, 0)), constant_values=1) for frame in films[one]], axis=1))
strip.set_title("seen: a red star moving right, 8 frames")
strip.set_axis_off()
heard.imshow(spectrogram.T, origin="lower", aspect="auto", cmap="cividis", extent=(0, hearing.SAMPLES / hearing.RATE, 0, hearing.BANDS))
heard.set(xlabel="time, s", ylabel="mel band", title="heard: a red star")
radii = np.asarray(feeling.outline("star", angles := np.linspace(0, 2 * np.pi, 181)))
felt.fill(radii * np.cos(angles), radii * np.sin(angles), facecolor=kit.ORANGE, alpha=0.4, edgecolor="black")
felt.set(ylim=(1.2, -1.2), aspect="equal", title="felt: a star")
felt.set_axis_off()
for place, (name, what) in enumerate((("sound", "text"), ("touch", "shape"), ("smell", "colour"))):
    mean, guess = (experiments.get(name).spread("aligned", score)[0] for score in (f"to_{what}_all", f"chance_{what}"))
    found.barh(place, 100 * mean, color=kit.BLUE, height=0.6)
    found.plot([100 * guess] * 2, [place - 0.4, place + 0.4], color=kit.ORANGE, linewidth=2)
    found.text(100 * guess + 3, place, "chance", color="white", va="center", fontsize=8)
found.set_yticks(range(3), [f"{name}\n({number} sentences)" for name, number in (("sound", 64), ("touch", 8), ("smell", 8))])
found.set(xlabel="its sentence is the nearest, %", xlim=(0, 100), ylim=(2.5, -0.5), title="no sentence in training")
lesson.figure(figure)
lesson.recap(
    "a mean of frames has no order; a transformer with positions has, and tells left from right",
    "a sense aligned with pictures alone comes to lie at their sentences: emergent alignment",
    "it brings in what it senses and no more; senses that were aligned apart can be added",
)
lesson.try_this("in `together` in lessons/experiments/video.py, leave `seen` out of the stack", "\"both\" is then the sound alone.")
lesson.try_this("in the last `align`, give (0,) as what smell tells", "asked for sizes, which do not smell, it finds colours by chance only.")
lesson.end()
