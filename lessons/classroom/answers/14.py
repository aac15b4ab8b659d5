"""Lesson 14: the gap and the geometry."""

import numpy as np

from lessons.classroom.answers import right, wrong
from tinyclip.geometry import to_unit

# 14.1 close_gap


@wrong("14.1", "are the moved vectors brought back to length 1? A moved point no longer lies on the sphere")
def close_gap_without_mending_lengths(images, texts, share):
    step = share / 2 * (texts.mean(0) - images.mean(0))
    return images + step, texts - step


@wrong("14.1", "does each set go the whole way? Each makes half of the way, or they pass each other")
def close_gap_by_twice_as_much(images, texts, share):
    step = share * (texts.mean(0) - images.mean(0))
    return to_unit(images + step), to_unit(texts - step)


@wrong("14.1", "do they move apart? The arrow from the pictures to the captions is the captions' mean minus the pictures'")
def close_gap_the_wrong_way(images, texts, share):
    step = share / 2 * (images.mean(0) - texts.mean(0))
    return to_unit(images + step), to_unit(texts - step)


@wrong("14.1", "do both sets move the same way? They come together only if one goes along the arrow and the other against it")
def close_gap_side_by_side(images, texts, share):
    step = share / 2 * (texts.mean(0) - images.mean(0))
    return to_unit(images + step), to_unit(texts + step)


@wrong("14.1", "do only the pictures move? Each of the two sets makes half of the way")
def close_gap_pictures_only(images, texts, share):
    return to_unit(images + share * (texts.mean(0) - images.mean(0))), texts


@wrong("14.1", "is the arrow measured again after the pictures have moved? Both halves belong to the same arrow")
def close_gap_one_after_the_other(images, texts, share):
    images = to_unit(images + share / 2 * (texts.mean(0) - images.mean(0)))
    return images, to_unit(texts - share / 2 * (texts.mean(0) - images.mean(0)))


@wrong("14.1", "is it the mean of all numbers? The mean of a set of points is a point: take it down the rows")
def close_gap_mean_of_all_numbers(images, texts, share):
    step = share / 2 * (texts.mean() - images.mean())
    return to_unit(images + step), to_unit(texts - step)


@wrong("14.1", "is the arrow cut to length 1? How long it is, is the gap")
def close_gap_along_a_unit_arrow(images, texts, share):
    arrow = texts.mean(0) - images.mean(0)
    step = share / 2 * arrow / np.linalg.norm(arrow)
    return to_unit(images + step), to_unit(texts - step)


@wrong("14.1", "is each mean taken off its own set? That puts both around 0, whatever the share, and closes more than the gap")
def close_gap_by_centring(images, texts, share):
    return to_unit(images - share * images.mean(0)), to_unit(texts - share * texts.mean(0))


@wrong("14.1", "are the given points changed in place? += changes them for everybody who holds them")
def close_gap_in_place(images, texts, share):
    step = share / 2 * (texts.mean(0) - images.mean(0))
    images += step
    texts -= step
    return to_unit(images), to_unit(texts)


@right("14.1")
def close_gap_point_by_point(images, texts, share):
    middle = {"images": sum(images) / len(images), "texts": sum(texts) / len(texts)}
    arrow = middle["texts"] - middle["images"]
    moved = [image + 0.5 * share * arrow for image in images], [text - 0.5 * share * arrow for text in texts]
    return tuple(np.array([point / np.sqrt((point * point).sum()) for point in points]) for points in moved)


@right("14.1")
def close_gap_by_means_to_be(images, texts, share):
    m, n = np.einsum("be->e", images) / images.shape[0], np.einsum("be->e", texts) / texts.shape[0]
    m_new, n_new = (1 - share / 2) * m + share / 2 * n, (1 - share / 2) * n + share / 2 * m
    a, b = images - m + m_new, texts - n + n_new
    return a / np.sqrt((a**2).sum(-1))[:, None], b / np.sqrt((b**2).sum(-1))[:, None]


# 14.2 ranks


@wrong("14.2", "argsort says who stands at each place; whose place is asked? Turn that list round")
def ranks_by_argsort(values):
    return np.argsort(values, kind="stable").astype(float)


@wrong("14.2", "argsort says who stands at each place; whose place is asked? Turn that list round")
def ranks_by_argsort_as_it_is(values):
    return np.argsort(values)


@wrong("14.2", "do values that tie get different places? They share the mean of their places")
def ranks_without_ties(values):
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(float)


@wrong("14.2", "do the places begin at 1? Here the smallest is at 0")
def ranks_from_one(values):
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(sizes) - (sizes - 1) / 2)[group]


@wrong("14.2", "do values that tie all get the first of their places? It is the mean of them")
def ranks_first_place(values):
    return np.searchsorted(np.sort(values), values).astype(float)


@wrong("14.2", "do values that tie all get the last of their places? It is the mean of them")
def ranks_last_place(values):
    return np.searchsorted(np.sort(values), values, side="right") - 1.0


@wrong("14.2", "does a crowd of equal values take one place only? Three that tie take up three places")
def ranks_dense(values):
    return np.unique(values, return_inverse=True)[1].astype(float)


@wrong("14.2", "do the places count from the largest? Here the smallest is at 0")
def ranks_from_the_largest(values):
    _, group, sizes = np.unique(-values, return_inverse=True, return_counts=True)
    return (np.cumsum(sizes) - (sizes + 1) / 2)[group]


@wrong("14.2", "how many values stand before a group of equal ones, and where is the group's middle? It is half a place off")
def ranks_half_a_place_off(values):
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(sizes) - sizes / 2)[group]


@right("14.2")
def ranks_by_counting(values):
    below = (values[None, :] < values[:, None]).sum(1)
    equal = (values[None, :] == values[:, None]).sum(1)
    return below + (equal - 1) / 2


@right("14.2")
def ranks_by_walking(values):
    order, places, k = np.argsort(values), np.zeros(len(values)), 0
    while k < len(values):
        end = k
        while end + 1 < len(values) and values[order[end + 1]] == values[order[k]]:
            end += 1
        places[order[k : end + 1]] = (k + end) / 2
        k = end + 1
    return places
