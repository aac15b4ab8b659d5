# %% [markdown]
# # Lesson 01 · Similarity
#
# *4 min to read, a few seconds to run*
#
# **Question.** What does it mean that two things are near each other in an embedding space?
#
# An *embedding* is a list of numbers that stands for something: for a picture, or for a sentence. Four numbers are enough to see how it works;
# our models have 64 or 32. A list of E numbers is a **vector**, an arrow in a space of E dimensions. Everything in this course rests on one question:
# how alike are two arrows?

# %%
import jax.numpy as jnp
import numpy as np

from lessons.kit import BLUE, GREY, ORANGE, Lesson
from tinyclip import clip, evaluate, plots

lesson = Lesson("01")

# %% [markdown]
# ## Three sentences, made up
#
# Suppose someone had already found a vector for each of three sentences. The four numbers of each say, by and large: how much *animal*, how much
# *sleeping*, how much *snow*, how much *ball*. The third sentence is long and loud: most of its numbers are large.

# %%
sentences = ["a cat sleeping", "a dog sleeping in the snow", "a snowy, snowy day with a ball, a ball and a cat!"]
vectors = np.array([[2.0, 2.0, 0.0, 0.0], [2.0, 1.8, 1.2, 0.0], [4.0, 1.5, 6.0, 5.0]])  # (3 sentences, E = 4)
lesson.shapes(vectors=vectors)

# %% [markdown]
# ## The dot product
#
# Multiply number by number and add up: `x · y = x₁y₁ + x₂y₂ + …`. It is large where both are large. First in plain loops, then in one line.


# %%
def dot_by_loop(x, y):
    total = 0.0
    for a, b in zip(x, y, strict=True):
        total += a * b
    return total


by_loop = np.array([[dot_by_loop(x, y) for y in vectors] for x in vectors])
dots = vectors @ vectors.T  # (3, 3): all pairs at once
lesson.compare("dot products", by_loop, dots)
print(dots.round(1))

# %%
lesson.predict("by dot product, which sentence is nearest to 'a cat sleeping' (leaving itself out): the dog, or the loud one?")
nearest_by_dot = int(dots[0, 1:].argmax()) + 1
lesson.claim("nearest by dot product", nearest_by_dot)
lesson.answer(f"{sentences[nearest_by_dot]!r}, with {dots[0, nearest_by_dot]:.1f} against {dots[0, 3 - nearest_by_dot]:.1f}. It is loud, not near.")

# %% [markdown]
# ## Length, and taking it away
#
# The length of a vector is `|x| = √(x · x)`: Pythagoras. A loud vector has a large dot product with everything. Divide each vector by its length,
# and every arrow ends on the **unit sphere**; the dot product of two unit vectors is the **cosine** of the angle between them: 1 for the same
# direction, 0 at right angles, −1 for opposite ones. Only direction is left, and direction is what the sentence is *about*. The library does the
# same in JAX, whose arrays (`jnp`) work like NumPy's and can also run on a GPU.
#
# In the code, `axis=1` adds up along each row, and `keepdims` keeps the three lengths in a column, so that each row is divided by its own.

# %%
lengths = np.sqrt((vectors**2).sum(axis=1, keepdims=True))  # (3, 1)
unit = vectors / lengths  # (3, 4)
lesson.compare("unit vectors", unit, clip.l2_normalise(jnp.asarray(vectors, jnp.float32)))
lesson.show(clip.l2_normalise)

cosines = unit @ unit.T  # (3, 3)
nearest_by_cosine = int(cosines[0, 1:].argmax()) + 1
lesson.claim("nearest by cosine", nearest_by_cosine)
lesson.claim("cosine with the dog", cosines[0, 1])
lesson.claim("cosine with the loud one", cosines[0, 2])
print(cosines.round(2))
print(f"by cosine, the nearest to {sentences[0]!r} is {sentences[nearest_by_cosine]!r}: normalising changed who is nearest\n")

# %% [markdown]
# On the unit sphere, near and alike are one thing: the squared distance of two unit vectors is 2 − 2 · cosine, from 0 (the same) to 4 (opposite).
# The mean of it over pairs that belong together is a measure of how well a space fits, which papers call **alignment**.

# %%
distances = np.array([sum((a - b) ** 2 for a, b in zip(unit[0], y, strict=True)) for y in unit])  # from the first to each
lesson.compare("squared distances", distances, 2 - 2 * cosines[0])
lesson.compare("alignment", distances.mean(), evaluate.alignment(np.repeat(unit[:1], 3, axis=0), unit))
lesson.show(evaluate.alignment)

# %% [markdown]
# ## Break it: normalise along the wrong axis
#
# `sum(axis=0)` runs down the sentences instead of along the numbers. Nothing complains: the shapes still fit. The symptom is that a vector's
# cosine with itself is no longer 1.

# %%
wrong = vectors / np.sqrt((vectors**2).sum(axis=0, keepdims=True))
diagonal = (wrong @ wrong.T).diagonal()
print(f"with the wrong axis, the cosine of each sentence with itself is {diagonal.round(2)} instead of 1")
lesson.claim("a sentence with itself, wrong axis", diagonal[0])

# %% [markdown]
# ## The similarity matrix
#
# All of CLIP is read off such a table: row *i*, column *j* holds the cosine of picture *i* with sentence *j*. Here are the three sentences as
# arrows: two of their four numbers, before and after. (The other two are out of sight, so on the right an arrow may look shorter than 1.)

# %%
figure = lesson.new_figure(7.2, 3.0)
left, right = figure.subplots(1, 2)
for axes, points, title in ((left, vectors, "as they are: dot products"), (right, unit, "length 1: cosines")):
    for k, (point, colour) in enumerate(zip(points[:, [0, 2]], (BLUE, ORANGE, GREY), strict=True)):
        axes.annotate("", point, (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "lw": 2})
        axes.annotate(("cat", "dog", "loud")[k], point, color=colour, xytext=(3, 3), textcoords="offset points")
    reach = 1.15 * points[:, [0, 2]].max()
    axes.set(xlim=(-0.05 * reach, reach), ylim=(-0.05 * reach, reach), xlabel="animal", ylabel="snow", title=title, aspect="equal")
lesson.figure(figure)
lesson.show(plots.similarity_matrix)

# %%
lesson.recap(
    "a dot product is large for near directions, and for loud vectors",
    "dividing by the length leaves direction alone; the dot product is then the cosine",
    "a table of cosines, pictures by sentences, is all that CLIP ever looks at",
)
lesson.try_this(
    "make the loud vector louder: after `vectors = …`, write `vectors[2] *= 100`",
    "its dot products with the others grow a hundredfold, its cosines do not move.",
)
lesson.try_this("give the dog a 0 for snow", "its cosine with the cat rises to more than 0.99: nothing tells them apart but how much they sleep.")
lesson.end()
