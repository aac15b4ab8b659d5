# %% [markdown]
# # Lesson 15 · Fairness
#
# *9 min to read, ten seconds to run*
#
# **Question.** How can a model be right on average and fail some, how does one find out, what repairs it, and at what price?
#
# A model learns what its pictures have in common, also what they have in common by accident. We plant such an accident, so that we know the cause:
# nearly all red things are circles. Then we ask the model for shapes, and look who is named wrongly.

# %%
import jax
import numpy as np

from lessons.experiments import fairness
from lessons.kit import BLUE, GREEN, GREY, ORANGE, RED, Lesson
from tinyclip.config import TrainConfig
from tinyclip.evaluate import draw_bytes
from tinyclip.fairness import balanced_chances, effective_number, equalised_odds, gap, group_accuracies, wilson_interval

lesson = Lesson("15")
experiment, GROUPS = fairness.EXPERIMENT, fairness.GROUPS

# %% [markdown]
# ## A collection with an accident in it
#
# The world is `sixteen`, 4 colours and 4 shapes, through a bad camera: strong grain, so that a colour is mostly plain and a shape often in doubt. A
# **collection** is a fixed number of such pictures. In the *fair* one all 16 kinds are equally frequent. In the *biased* one, a quarter of the things
# are red and 95 % of those are circles; each other colour has all shapes equally often. So the accident runs both ways, but not equally far.

# %%
collection = fairness.Collection(biased=True, run=TrainConfig(**fairness.RUN, seed=0))
meaning = collection.meaning  # (number of pictures, F); its columns 1 and 2 are colour and shape, and 0 is red, or a circle
red, circle = meaning[:, 1] == 0, meaning[:, 2] == 0
lesson.shapes(pictures=collection.pictures, meaning=meaning)
print(f"  of the red things, {lesson.claim('circles among the red', float(circle[red].mean())):.0%} are circles;", end=" ")
print(f"of the circles, {lesson.claim('red among the circles', float(red[circle].mean())):.0%} are red")
print("  " + ", ".join(f"{count} {who}" for who, count in zip(GROUPS, np.bincount(fairness.groups_of(meaning)), strict=True)))

# %% [markdown]
# ## Accuracy, group by group
#
# Small models were trained on collections like these, all in the same way (`python -m lessons.experiments fairness`, three seeds each). The test: new
# pictures, as many of each kind, and the four sentences "a circle", "a square", "a triangle", "a star". Of each group, what share is named rightly?
# Then the **gap**: the best group's accuracy less the worst group's. The control is the model of the fair collection.

# %%
meaning = fairness.new_pictures()[0]  # (B, F)
group = fairness.groups_of(meaning)  # (B,), 0 to 3
said = {name: fairness.answers(experiment.load(name)) for name in ("fair", "biased")}  # (B,), the shape that the model says
right = {name: answer == meaning[:, 2] for name, answer in said.items()}
lesson.predict("in which group does the biased model do worst? And is any group better off than with the fair model?")
accuracies = {}
for name in said:
    accuracies[name] = group_accuracies(right[name], group, len(GROUPS))
    by_loop = [sum(r for r, g in zip(right[name], group, strict=True) if g == own) / sum(g == own for g in group) for own in range(len(GROUPS))]
    lesson.compare(f"accuracies of groups, {name}", by_loop, accuracies[name])
    print("  " + name.ljust(7) + ", ".join(f"{who} {share:.0%}" for who, share in zip(GROUPS, accuracies[name], strict=True)))
    lesson.claim(f"gap, {name}", gap(accuracies[name]))
worst = lesson.claim("worst group of the biased model", GROUPS[int(accuracies["biased"].argmin())])
gain = lesson.claim("red circles gain", float(accuracies["biased"][0] - accuracies["fair"][0]))
lesson.answer(f"{worst}. Red circles gain {100 * gain:.0f} points: the model says circle to what is red.")
lesson.show(group_accuracies, gap, equalised_odds)

# %% [markdown]
# ## One answer, two kinds of error
#
# Take one answer: "circle", yes or no. The **true positive rate** is the share of yes among circles, the **false positive rate** that among all else.
# Are they the same for red things and for others? If both are, the answer has **equalised odds** (Hardt et al. 2016): whoever deserves a yes has the
# same chance of it, and so has whoever does not. A false yes may be a false alarm: it matters who bears them.

# %%
red, circle = meaning[:, 1] == 0, meaning[:, 2] == 0
for name in said:
    yes = said[name] == 0
    rate = [[sum(yes[(circle == truth) & (red == who)]) / sum((circle == truth) & (red == who)) for who in (True, False)] for truth in (True, False)]
    more_true, more_false = equalised_odds(yes, circle, red)
    lesson.compare(f"equalised odds, {name}", [rate[0][0] - rate[0][1], rate[1][0] - rate[1][1]], [more_true, more_false])
    for what, shares, more in zip(("circles", "other shapes"), rate, (more_true, more_false), strict=True):
        print(f"  {name:<7}{what} called circle: {shares[0]:.0%} of red ones, {shares[1]:.0%} of others")
        lesson.claim(f"{what} called circle, {name}: red less others", more)

# %% [markdown]
# ## Break it: test on pictures like those of training
#
# The usual test set is a part of the same collection that one trained on, and the usual score is one number. Draw two thousand new pictures as the
# biased collection draws them. The symptom: the biased model comes out *ahead* of the fair one, and the group that it fails hardly occurs.

# %%
NUMBER = 2000
scenes = fairness.world(True).sample(jax.random.key(16), NUMBER, "test")
usual, pictures = np.asarray(scenes.meaning), draw_bytes(fairness.world(True), scenes, fairness.SIZE)
usual_right = {name: fairness.answers(experiment.load(name), given=(usual, pictures)) == usual[:, 2] for name in said}
for name in said:
    print(f"  {name:<7}right on average: {lesson.claim(f'usual test, {name}', float(usual_right[name].mean())):.1%}")
failed = fairness.groups_of(usual) == 1
hits, number = int(usual_right["biased"][failed].sum()), lesson.claim("other red things in the usual test", int(failed.sum()))
group_accuracies(usual_right["biased"], fairness.groups_of(usual), len(GROUPS))  # raises an error if a group has no member
low, high = wilson_interval(hits, number)
print(f"  {GROUPS[1]}: {hits} of {number} right, so a share between {low:.0%} and {high:.0%} (with 95 % confidence)\n")
lesson.claim("width of the interval", high - low)

# %% [markdown]
# That the biased model is ahead is no slip: on such pictures the accident is *information*, and using it is what training rewards. A test finds the
# harm only if it asks each group, and has enough of each.
#
# ## Two repairs
#
# **Rebalance**: draw the same pictures with such chances that all 16 kinds come equally often. The few red squares, triangles and stars are then
# drawn again and again. What does that cost? Drawn with uneven chances p, the collection is worth (Σp)² / Σp² pictures drawn evenly.
#
# **Swapped captions**: add a hard negative for each picture, its colour with another shape: "a red square" for a red circle (the cure of lesson 12).
#
# Columns: *odds*, others called circle, red less others; *even*, *usual*, shapes right, all kinds alike or as when biased; *colour*, colours right.

# %%
kinds, few = fairness.kinds_of(collection.meaning), fairness.groups_of(collection.meaning) == 1
chances = balanced_chances(kinds)
lesson.compare("chances", [1 / (16 * sum(kinds == kind)) for kind in kinds[:50]], chances[:50])
worth = lesson.claim("effective number, rebalanced", effective_number(chances))
print(f"  {len(chances)} pictures, rebalanced, are worth {worth:.0f}; some come {chances.max() / chances.min():.0f} times as often as others")
known = fairness.answers(experiment.load("rebalanced"), given=(collection.meaning[few], collection.pictures[few])) == collection.meaning[few, 2]
lesson.claim("repeated pictures named rightly", float(known.mean()))
print(f"  the {few.sum()} {GROUPS[1]} that are repeated: {known.mean():.0%} named rightly after the training\n")
lesson.show(wilson_interval, balanced_chances, effective_number)
COLUMNS = ("gap", "false circles, red less others", "all kinds even", "kinds as in the biased collection", "colour")
print(f"  {'mean of three seeds, %':<34}" + "".join(f"{title:>9}" for title in ("gap", "odds", "even", "usual", "colour")))
for condition in experiment.conditions:
    means = [experiment.spread(condition.name, column)[0] for column in COLUMNS]
    print(f"  {condition.name:<34}" + "".join(f"{100 * mean:9.1f}" for mean in means))
    lesson.claim(f"mean gap, {condition.name}", means[0])
    lesson.claim(f"mean on usual pictures, {condition.name}", means[3])
    lesson.claim(f"mean of all others, {condition.name}", experiment.spread(condition.name, GROUPS[3])[0])

# %%
axes = lesson.new_figure(7.0, 3.6).subplots()
for row, condition in enumerate(experiment.conditions[::-1]):
    shares = [100 * experiment.spread(condition.name, who)[0] for who in GROUPS]
    axes.plot([min(shares), max(shares)], [row, row], color=GREY, lw=5, alpha=0.35, solid_capstyle="round", zorder=1)
    for who, share, colour, marker in zip(GROUPS, shares, (RED, ORANGE, BLUE, GREEN), "osDv", strict=True):
        axes.scatter(share, row, color=colour, marker=marker, s=34, zorder=2, label=None if row else who)
axes.set(yticks=range(len(experiment.conditions)), yticklabels=[condition.name for condition in experiment.conditions][::-1])
axes.set(xlabel="shapes named rightly, % (mean of three seeds)", title="The gap is the length of the bar", xlim=(40, 102))
axes.figure.legend(frameon=False, loc="outside lower center", ncols=4)
lesson.figure(axes.figure)

# %% [markdown]
# Rebalancing narrows the gap only as far as its few pictures reach: repeated so often, they are learned by heart, grain and all. With five times the
# pictures the gap comes near that of the fair collection; five times the pictures alone do little. The price, in the mean: on the usual pictures it
# is worse than the biased model, for it gave up a guess that paid there, and "all others", whom nobody had wronged, lose some points, too.
#
# Swapped captions narrow no gap (only other circles gain). They change how often a sentence is *offered*, not how often it is *true*: of a red thing
# "a red square" is as rarely true as before, and to reject it one need not look at the shape. In lesson 12 both orders were equally often true.
#
# ## What such a probe can tell about real models, and what it cannot
#
# Here we know the cause: we planted it, and the control differs in nothing else. Of a model trained on pictures of people, a probe can show that a
# gap exists, for the groups, sentences and pictures of the test. It cannot show why, nor that there is none elsewhere. A group that nobody asked
# about has no number, a small one has a wide interval, and which group somebody belongs to is another person's judgement.
#
# OpenAI's model card of CLIP (section "Bias and Fairness"; its figures are cited here, not computed) reports for the FairFace photographs: gender
# named as labelled for more than 96 % in every race category, from 96.5 % ("White") to 98.4 % ("Middle Eastern"); race for about 93 %, age for about
# 63 %. For gender even and high; yet when faces could also be given crime-related and animal categories, it found significant disparities by race and
# gender, and these shifted with the choice of the categories. A reassuring table speaks for its own sentences only. More data is no sure cure: of 14
# models (Birhane et al. 2024, abstract; cited), the larger ones became more likely, by 65 % and 69 %, to call pictures of Black men and of Latino men
# criminal when their data grew from 400 million to 2 billion pairs, the smaller ones the converse.
#
# And a gap is not the only question. The same model may describe a photograph to somebody who cannot see it, or pick a face from a crowd. In the
# first use, errors fall on those who chose it, and who can rarely check; in the second, on people who were never asked, and with equal error rates it
# is still surveillance. The card puts all deployed uses out of scope, and certain ones in surveillance and face recognition always.

# %%
lesson.recap(
    "an average hides whom a model fails: ask each group, and have enough of each",
    "what is true by accident in the data is useful there, so training keeps it; rebalancing removes it, and pays with that usefulness",
    "no gap found is a fact about the groups, sentences and pictures of the test; whether to use a model at all is another question",
)
lesson.try_this("let NUMBER be 40", "an error: nobody belongs to group 1. The usual average would have been silent about it.")
lesson.try_this("in `yes = …`, write 1 (square) for 0", "for the biased model both differences turn round: it hardly calls any red thing square.")
lesson.end()
