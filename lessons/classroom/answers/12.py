"""Lesson 12: blind spots."""

import jax.numpy as jnp
import numpy as np

from lessons.classroom.answers import right, wrong

# 12.1 binding_scores


@wrong("12.1", "do ties count as right? Then a model that sees no difference at all gets 100 %")
def binding_scores_with_ties(similarity):
    (a, b), (c, d) = similarity[:, 0].T, similarity[:, 1].T
    text, image = (a >= b) & (d >= c), (a >= c) & (d >= b)
    return {"binding_text": float(text.mean()), "binding_image": float(image.mean()), "binding_group": float((text & image).mean())}


@wrong("12.1", "is only the first picture asked, and only the first caption? Both must find their own")
def binding_scores_one_sided(similarity):
    (a, b), (c, _) = similarity[:, 0].T, similarity[:, 1].T
    text, image = a > b, a > c
    return {"binding_text": float(text.mean()), "binding_image": float(image.mean()), "binding_group": float((text & image).mean())}


@wrong("12.1", "does each of the two questions count by itself? A case is right only if both are")
def binding_scores_of_single_questions(similarity):
    (a, b), (c, d) = similarity[:, 0].T, similarity[:, 1].T
    text, image = ((a > b).mean() + (d > c).mean()) / 2, ((a > c).mean() + (d > b).mean()) / 2
    return {"binding_text": float(text), "binding_image": float(image), "binding_group": float(((a > b) & (d > c) & (a > c) & (d > b)).mean())}


@wrong("12.1", "are text and image exchanged? Text score: a picture chooses between the texts")
def binding_scores_exchanged(similarity):
    (a, b), (c, d) = similarity[:, 0].T, similarity[:, 1].T
    text, image = (a > c) & (d > b), (a > b) & (d > c)
    return {"binding_text": float(text.mean()), "binding_image": float(image.mean()), "binding_group": float((text & image).mean())}


@wrong("12.1", "is the group score the product of the other two? They are not independent: count the cases in which both hold")
def binding_scores_group_as_product(similarity):
    (a, b), (c, d) = similarity[:, 0].T, similarity[:, 1].T
    text, image = ((a > b) & (d > c)).mean(), ((a > c) & (d > b)).mean()
    return {"binding_text": float(text), "binding_image": float(image), "binding_group": float(text * image)}


@wrong("12.1", "is the smaller of the two scores taken for the group? Both must hold in one and the same case")
def binding_scores_group_as_least(similarity):
    (a, b), (c, d) = similarity[:, 0].T, similarity[:, 1].T
    text, image = ((a > b) & (d > c)).mean(), ((a > c) & (d > b)).mean()
    return {"binding_text": float(text), "binding_image": float(image), "binding_group": float(min(text, image))}


@wrong("12.1", "is it enough for the group that text or image is right? It needs both")
def binding_scores_group_by_or(similarity):
    (a, b), (c, d) = similarity[:, 0].T, similarity[:, 1].T
    text, image = (a > b) & (d > c), (a > c) & (d > b)
    return {"binding_text": float(text.mean()), "binding_image": float(image.mean()), "binding_group": float((text | image).mean())}


@wrong("12.1", "are the right ones compared with the wrong ones in sum? Each choice must be right by itself")
def binding_scores_of_sums(similarity):
    better = similarity[:, 0, 0] + similarity[:, 1, 1] > similarity[:, 0, 1] + similarity[:, 1, 0]
    return dict.fromkeys(("binding_text", "binding_image", "binding_group"), float(better.mean()))


@wrong("12.1", "are the cases counted, not their share? Divide by their number")
def binding_scores_count(similarity):
    (a, b), (c, d) = similarity[:, 0].T, similarity[:, 1].T
    text, image = (a > b) & (d > c), (a > c) & (d > b)
    return {"binding_text": float(text.sum()), "binding_image": float(image.sum()), "binding_group": float((text & image).sum())}


@right("12.1")
def binding_scores_by_loop(similarity):
    counts = {"binding_text": 0, "binding_image": 0, "binding_group": 0}
    for case in similarity.tolist():
        by_text = all(case[i][i] > case[i][1 - i] for i in range(2))
        by_image = all(case[i][i] > case[1 - i][i] for i in range(2))
        counts["binding_text"] += by_text
        counts["binding_image"] += by_image
        counts["binding_group"] += by_text and by_image
    return {name: count / len(similarity) for name, count in counts.items()}


@right("12.1")
def binding_scores_by_the_diagonal(similarity):
    own = np.diagonal(similarity, axis1=1, axis2=2)
    by_text = (own > np.diagonal(similarity[:, :, ::-1], axis1=1, axis2=2)).all(axis=1)
    by_image = (own > np.diagonal(similarity[:, ::-1], axis1=1, axis2=2)).all(axis=1)
    return {"binding_text": float(by_text.mean()), "binding_image": float(by_image.mean()), "binding_group": float((by_text & by_image).mean())}


# 12.2 pair_swaps


@wrong("12.2", "is the relation turned as well when the things are exchanged? That says the same scene again, from its other thing")
def pair_swaps_turned_round(meaning):
    meaning = jnp.asarray(meaning)
    swaps = meaning[..., jnp.asarray([(0, 5, 2, 3, 4, 1, 6), (0, 1, 6, 3, 4, 5, 2), (4, 5, 6, 3, 0, 1, 2)])]
    return swaps.at[..., 2, 3].set(jnp.where(meaning[..., 3] < 0, meaning[..., 3], meaning[..., 3] ^ 1))


@wrong("12.2", "is the relation turned instead of the things exchanged? The scene is right, but a swap keeps its words")
def pair_swaps_with_another_relation(meaning):
    meaning = jnp.asarray(meaning)
    swaps = meaning[..., jnp.asarray([(0, 5, 2, 3, 4, 1, 6), (0, 1, 6, 3, 4, 5, 2), (0, 1, 2, 3, 4, 5, 6)])]
    return swaps.at[..., 2, 3].set(jnp.where(meaning[..., 3] < 0, meaning[..., 3], meaning[..., 3] ^ 1))


@wrong("12.2", "do the sizes stay behind when the things are exchanged? A thing takes its size along")
def pair_swaps_sizes_stay(meaning):
    orders = jnp.asarray([(0, 5, 2, 3, 4, 1, 6), (0, 1, 6, 3, 4, 5, 2), (0, 5, 6, 3, 4, 1, 2)])
    return jnp.asarray(meaning)[..., orders]


@wrong("12.2", "do the sizes go along with colours and shapes? They stay where they are said")
def pair_swaps_sizes_follow(meaning):
    orders = jnp.asarray([(4, 5, 2, 3, 0, 1, 6), (4, 1, 6, 3, 0, 5, 2), (4, 5, 6, 3, 0, 1, 2)])
    return jnp.asarray(meaning)[..., orders]


@wrong("12.2", "are the first two kinds in the wrong order? Colours come first, then shapes")
def pair_swaps_shapes_first(meaning):
    orders = jnp.asarray([(0, 1, 6, 3, 4, 5, 2), (0, 5, 2, 3, 4, 1, 6), (4, 5, 6, 3, 0, 1, 2)])
    return jnp.asarray(meaning)[..., orders]


@wrong("12.2", "do the kinds stand on the first axis? They stand just before the factors")
def pair_swaps_kinds_first(meaning):
    meaning = jnp.asarray(meaning)
    return jnp.stack([meaning[..., jnp.asarray(order)] for order in ((0, 5, 2, 3, 4, 1, 6), (0, 1, 6, 3, 4, 5, 2), (4, 5, 6, 3, 0, 1, 2))])


@wrong("12.2", "is a colour copied onto the other? Keep the first before it is overwritten")
def pair_swaps_copied(meaning):
    meaning = jnp.asarray(meaning)
    colours = meaning.at[..., 1].set(meaning[..., 5])
    colours = colours.at[..., 5].set(colours[..., 1])
    shapes = meaning.at[..., 2].set(meaning[..., 6])
    shapes = shapes.at[..., 6].set(shapes[..., 2])
    return jnp.stack([colours, shapes, meaning[..., jnp.asarray((4, 5, 6, 3, 0, 1, 2))]], axis=-2)


@wrong("12.2", "is a list of meanings taken for granted? There may be a single one, or several axes of them")
def pair_swaps_of_a_list(meaning):
    orders = jnp.asarray([(0, 5, 2, 3, 4, 1, 6), (0, 1, 6, 3, 4, 5, 2), (4, 5, 6, 3, 0, 1, 2)])
    return jnp.asarray(meaning)[:, orders]


@right("12.2")
def pair_swaps_by_parts(meaning):
    first, relation, second = jnp.split(jnp.asarray(meaning), [3, 4], axis=-1)
    size_1, colour_1, shape_1 = jnp.split(first, 3, axis=-1)
    size_2, colour_2, shape_2 = jnp.split(second, 3, axis=-1)
    colours = [size_1, colour_2, shape_1, relation, size_2, colour_1, shape_2]
    shapes = [size_1, colour_1, shape_2, relation, size_2, colour_2, shape_1]
    return jnp.stack([jnp.concatenate(parts, axis=-1) for parts in (colours, shapes, [second, relation, first])], axis=-2)


@right("12.2")
def pair_swaps_with_take(meaning):
    meaning = jnp.asarray(meaning)
    columns = jnp.asarray([0, 5, 2, 3, 4, 1, 6, 0, 1, 6, 3, 4, 5, 2, 4, 5, 6, 3, 0, 1, 2])
    return jnp.take(meaning, columns, axis=-1).reshape(*meaning.shape[:-1], 3, 7)
