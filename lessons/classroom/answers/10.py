"""Lesson 10: training. The three parts of an optimiser's step, by hand."""

import math

import jax
import numpy as np

from lessons.classroom.answers import right, wrong
from tinyclip.by_hand.training import clip_by_global_norm, decays, learning_rate, named_leaves, tree_of

# 10.1 learning_rate


@wrong("10.1", "does the warm-up begin at 1? At step 0 the rate is 0")
def learning_rate_from_step_one(step, run):
    warmup = min(run.warmup, run.steps // 2)
    if step < warmup:
        return run.learning_rate * (step + 1) / warmup
    return run.learning_rate * (1 + math.cos(math.pi * (step - warmup) / (run.steps - warmup))) / 2


@wrong("10.1", "does the cosine count the steps of the warm-up? It begins where the warm-up ends, at the peak")
def learning_rate_with_a_cosine_from_the_start(step, run):
    warmup = min(run.warmup, run.steps // 2)
    if step < warmup:
        return run.learning_rate * step / warmup
    return run.learning_rate * (1 + math.cos(math.pi * step / run.steps)) / 2


@wrong("10.1", "does the cosine last as long as the whole run? It has what the warm-up leaves")
def learning_rate_that_does_not_reach_0(step, run):
    warmup = min(run.warmup, run.steps // 2)
    if step < warmup:
        return run.learning_rate * step / warmup
    return run.learning_rate * (1 + math.cos(math.pi * (step - warmup) / run.steps)) / 2


@wrong("10.1", "does the rate jump to twice its peak? 1 + cosine goes from 2 to 0")
def learning_rate_not_halved(step, run):
    warmup = min(run.warmup, run.steps // 2)
    if step < warmup:
        return run.learning_rate * step / warmup
    return run.learning_rate * (1 + math.cos(math.pi * (step - warmup) / (run.steps - warmup)))


@wrong("10.1", "does the rate fall below 0? The cosine alone goes from 1 to -1: shift and halve it")
def learning_rate_below_zero(step, run):
    warmup = min(run.warmup, run.steps // 2)
    if step < warmup:
        return run.learning_rate * step / warmup
    return run.learning_rate * math.cos(math.pi * (step - warmup) / (run.steps - warmup))


@wrong("10.1", "is it a quarter of a cosine? From the peak to 0 it takes half a wave, flat at both ends")
def learning_rate_of_a_quarter_wave(step, run):
    warmup = min(run.warmup, run.steps // 2)
    if step < warmup:
        return run.learning_rate * step / warmup
    return run.learning_rate * math.cos(math.pi / 2 * (step - warmup) / (run.steps - warmup))


@wrong("10.1", "does the rate fall in a straight line? After the warm-up it follows a cosine")
def learning_rate_in_straight_lines(step, run):
    warmup = min(run.warmup, run.steps // 2)
    if step < warmup:
        return run.learning_rate * step / warmup
    return run.learning_rate * (run.steps - step) / (run.steps - warmup)


@wrong("10.1", "what if the warm-up is longer than the run? It takes half of the run at most")
def learning_rate_with_an_uncut_warmup(step, run):
    if step < run.warmup:
        return run.learning_rate * step / run.warmup
    return run.learning_rate * (1 + math.cos(math.pi * (step - run.warmup) / (run.steps - run.warmup))) / 2


@wrong("10.1", "is the wave's angle in radians? Half a wave is π")
def learning_rate_in_degrees(step, run):
    warmup = min(run.warmup, run.steps // 2)
    if step < warmup:
        return run.learning_rate * step / warmup
    return run.learning_rate * (1 + math.cos(180 * (step - warmup) / (run.steps - warmup))) / 2


@wrong("10.1", "what if there is no warm-up? Then step 0 must not be divided by it")
def learning_rate_divided_by_no_warmup(step, run):
    warmup = min(run.warmup, run.steps // 2)
    if step <= warmup:
        return run.learning_rate * step / warmup
    return run.learning_rate * (1 + math.cos(math.pi * (step - warmup) / (run.steps - warmup))) / 2


@right("10.1")
def learning_rate_by_squared_cosine(step, run):
    rise = min(run.warmup, run.steps // 2)
    if rise and step <= rise:
        return run.learning_rate * (step / rise)
    done = (step - rise) / (run.steps - rise)
    return run.learning_rate * float(np.cos(np.pi * done / 2)) ** 2


# 10.2 clip_by_global_norm


@wrong("10.2", "is every array cut by itself? The norm is that of all numbers of all arrays together")
def clip_by_global_norm_each(gradient, most):
    def cut(leaf):
        norm = math.sqrt(float((leaf * leaf).sum()))
        return leaf * leaf.dtype.type(min(1.0, most / max(norm, 1e-30)))

    return tree_of([(path, cut(leaf)) for path, leaf in named_leaves(gradient)])


@wrong("10.2", "is every number cut by itself? That bends the direction: all must shrink by one factor")
def clip_by_global_norm_by_value(gradient, most):
    return tree_of([(path, np.clip(leaf, -most, most)) for path, leaf in named_leaves(gradient)])


@wrong("10.2", "is a short gradient stretched? What is short enough stays as it is")
def clip_by_global_norm_stretches(gradient, most):
    norm = math.sqrt(sum(float((leaf * leaf).sum()) for _, leaf in named_leaves(gradient)))
    return tree_of([(path, leaf * leaf.dtype.type(most / max(norm, 1e-30))) for path, leaf in named_leaves(gradient)])


@wrong("10.2", "did you forget the root? The length is the root of the sum of squares")
def clip_by_global_norm_without_a_root(gradient, most):
    norm = sum(float((leaf * leaf).sum()) for _, leaf in named_leaves(gradient))
    return tree_of([(path, leaf * leaf.dtype.type(min(1.0, most / max(norm, 1e-30)))) for path, leaf in named_leaves(gradient)])


@wrong("10.2", "are the arrays' lengths added? Add their squares, and take one root at the end")
def clip_by_global_norm_sum_of_norms(gradient, most):
    norm = sum(math.sqrt(float((leaf * leaf).sum())) for _, leaf in named_leaves(gradient))
    return tree_of([(path, leaf * leaf.dtype.type(min(1.0, most / max(norm, 1e-30)))) for path, leaf in named_leaves(gradient)])


@wrong("10.2", "is it the largest number instead of the length of all?")
def clip_by_global_norm_largest(gradient, most):
    norm = max(float(np.abs(leaf).max()) for _, leaf in named_leaves(gradient))
    return tree_of([(path, leaf * leaf.dtype.type(min(1.0, most / max(norm, 1e-30)))) for path, leaf in named_leaves(gradient)])


@wrong("10.2", "is it the root of the mean of squares? A length is the root of their sum")
def clip_by_global_norm_mean(gradient, most):
    leaves = named_leaves(gradient)
    norm = math.sqrt(sum(float((leaf * leaf).sum()) for _, leaf in leaves) / sum(leaf.size for _, leaf in leaves))
    return tree_of([(path, leaf * leaf.dtype.type(min(1.0, most / max(norm, 1e-30)))) for path, leaf in leaves])


@wrong("10.2", "is it only divided by its length? It should become `most` long")
def clip_by_global_norm_to_one(gradient, most):
    norm = math.sqrt(sum(float((leaf * leaf).sum()) for _, leaf in named_leaves(gradient)))
    return tree_of([(path, leaf / leaf.dtype.type(norm) if norm > most else leaf) for path, leaf in named_leaves(gradient)])


@wrong("10.2", "are the arrays changed in place? Whoever holds the gradient still needs it as it was")
def clip_by_global_norm_in_place(gradient, most):
    norm = math.sqrt(sum(float((leaf * leaf).sum()) for _, leaf in named_leaves(gradient)))
    for _, leaf in named_leaves(gradient):
        leaf *= min(1.0, most / max(norm, 1e-30))
    return gradient


@wrong("10.2", "does a float64 factor turn float32 arrays into float64? A plain Python number leaves their kind alone")
def clip_by_global_norm_in_float64(gradient, most):
    leaves = named_leaves(gradient)
    norm = np.sqrt(np.sum([np.sum(leaf.astype(np.float64) ** 2) for _, leaf in leaves]))
    return tree_of([(path, leaf * np.minimum(1.0, most / np.maximum(norm, 1e-30))) for path, leaf in leaves])


@wrong("10.2", "what is the factor of a gradient of zeros? Its length is 0")
def clip_by_global_norm_divides_by_zero(gradient, most):
    norm = math.sqrt(sum(float((leaf * leaf).sum()) for _, leaf in named_leaves(gradient)))
    return tree_of([(path, leaf * leaf.dtype.type(min(1.0, most / norm))) for path, leaf in named_leaves(gradient)])


@wrong("10.2", "is something added to the length before dividing? The cut gradient is then a little too short")
def clip_by_global_norm_a_little_too_short(gradient, most):
    norm = math.sqrt(sum(float((leaf * leaf).sum()) for _, leaf in named_leaves(gradient)))
    return tree_of([(path, leaf * leaf.dtype.type(min(1.0, most / (norm + 1e-6)))) for path, leaf in named_leaves(gradient)])


@right("10.2")
def clip_by_global_norm_by_jax_tree(gradient, most):
    norm = float(np.linalg.norm(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])))
    if norm <= most:
        return gradient
    return jax.tree.map(lambda leaf: leaf * (most / norm), gradient)


# 10.3 adamw


@wrong("10.3", "are the averages freed from their start at 0? At first they are too small by 1 - 0.9ᵗ and 1 - 0.98ᵗ")
def adamw_without_correction(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    rate, moved = learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        update = means[path] / (np.sqrt(squares[path]) + 1e-6)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        moved.append((path, leaf - rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "is it the rate of the next step? `learning_rate` counts from 0, as `step` does; t alone is step + 1")
def adamw_with_the_next_rate(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, rate, moved = step + 1, learning_rate(step + 1, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        update = means[path] / (1 - 0.9**t) / (np.sqrt(squares[path] / (1 - 0.98**t)) + 1e-6)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        moved.append((path, leaf - rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "does t count from 0? After the first step the averages have seen one gradient: t is step + 1")
def adamw_with_t_from_zero(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    rate, moved = learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        update = means[path] / (1 - 0.9**step) / (np.sqrt(squares[path] / (1 - 0.98**step)) + 1e-6)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        moved.append((path, leaf - rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "is the weight decay part of the gradient? Then Adam scales it away: it is added to the update, after that")
def adamw_with_coupled_decay(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, rate, moved = step + 1, learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path] + (run.weight_decay * leaf if decays(path, leaf) else 0)
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        update = means[path] / (1 - 0.9**t) / (np.sqrt(squares[path] / (1 - 0.98**t)) + 1e-6)
        moved.append((path, leaf - rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "does everything decay, biases and the temperature too? `decays` says what does")
def adamw_decays_all(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, rate, moved = step + 1, learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        update = means[path] / (1 - 0.9**t) / (np.sqrt(squares[path] / (1 - 0.98**t)) + 1e-6) + run.weight_decay * leaf
        moved.append((path, leaf - rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "did you forget the weight decay?")
def adamw_without_decay(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, rate, moved = step + 1, learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        moved.append((path, leaf - rate * means[path] / (1 - 0.9**t) / (np.sqrt(squares[path] / (1 - 0.98**t)) + 1e-6)))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "is the weight decay left unscaled? The learning rate multiplies it like the rest of the update")
def adamw_with_unscaled_decay(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, rate, moved = step + 1, learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        after = leaf - rate * means[path] / (1 - 0.9**t) / (np.sqrt(squares[path] / (1 - 0.98**t)) + 1e-6)
        moved.append((path, after - run.weight_decay * leaf if decays(path, leaf) else after))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "does eps stand inside the root? There 1e-6 is as large as a slope of 0.001: it is added after the root")
def adamw_with_eps_inside(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, rate, moved = step + 1, learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        update = means[path] / (1 - 0.9**t) / np.sqrt(squares[path] / (1 - 0.98**t) + 1e-6)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        moved.append((path, leaf - rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "is eps 1e-8, as most libraries have it? CLIP takes 1e-6 for its ViTs")
def adamw_with_the_usual_eps(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, rate, moved = step + 1, learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        update = means[path] / (1 - 0.9**t) / (np.sqrt(squares[path] / (1 - 0.98**t)) + 1e-8)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        moved.append((path, leaf - rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "is beta 2 0.999, as most libraries have it? CLIP takes 0.98 for its ViTs")
def adamw_with_the_usual_beta(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, rate, moved = step + 1, learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.999 * squares.get(path, 0) + 0.001 * g * g
        update = means[path] / (1 - 0.9**t) / (np.sqrt(squares[path] / (1 - 0.999**t)) + 1e-6)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        moved.append((path, leaf - rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "did you forget the root? The mean is divided by the root of the mean square")
def adamw_without_a_root(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, rate, moved = step + 1, learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        update = means[path] / (1 - 0.9**t) / (squares[path] / (1 - 0.98**t) + 1e-6)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        moved.append((path, leaf - rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "is the gradient cut to run.clip_norm before it enters the averages?")
def adamw_without_clipping(params, gradient, moments, step, run):
    gradients = dict(named_leaves(gradient))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, rate, moved = step + 1, learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        update = means[path] / (1 - 0.9**t) / (np.sqrt(squares[path] / (1 - 0.98**t)) + 1e-6)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        moved.append((path, leaf - rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "are the corrected averages kept? Correct them for this step's update only, and hand on the plain ones")
def adamw_keeps_corrected_moments(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, rate, moved = step + 1, learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = (0.9 * means.get(path, 0) + 0.1 * g) / (1 - 0.9**t)
        squares[path] = (0.98 * squares.get(path, 0) + 0.02 * g * g) / (1 - 0.98**t)
        update = means[path] / (np.sqrt(squares[path]) + 1e-6)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        moved.append((path, leaf - rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "do the averages begin anew at every step? `moments` brings those of the step before")
def adamw_forgets(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares, t, rate, moved = {}, {}, step + 1, learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path], squares[path] = 0.1 * g, 0.02 * g * g
        update = means[path] / (1 - 0.9**t) / (np.sqrt(squares[path] / (1 - 0.98**t)) + 1e-6)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        moved.append((path, leaf - rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "does the step go uphill? The update is taken off")
def adamw_uphill(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, rate, moved = step + 1, learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        update = means[path] / (1 - 0.9**t) / (np.sqrt(squares[path] / (1 - 0.98**t)) + 1e-6)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        moved.append((path, leaf + rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "is the rate always the peak? learning_rate(step, run) says what it is at this step")
def adamw_at_the_peak(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, moved = step + 1, []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        update = means[path] / (1 - 0.9**t) / (np.sqrt(squares[path] / (1 - 0.98**t)) + 1e-6)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        moved.append((path, leaf - run.learning_rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "does -= change the parameters that were given? Return new ones")
def adamw_in_place(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    means, squares = ({} if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, rate = step + 1, learning_rate(step, run)
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means.get(path, 0) + 0.1 * g
        squares[path] = 0.98 * squares.get(path, 0) + 0.02 * g * g
        update = means[path] / (1 - 0.9**t) / (np.sqrt(squares[path] / (1 - 0.98**t)) + 1e-6)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        leaf -= rate * update
    return params, {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@wrong("10.3", "do the averages begin as float64 zeros? Then all that they touch becomes float64")
def adamw_in_float64(params, gradient, moments, step, run):
    gradients = dict(named_leaves(clip_by_global_norm(gradient, run.clip_norm)))
    zeros = {path: np.zeros(leaf.shape) for path, leaf in named_leaves(params)}
    means, squares = (dict(zeros) if moments is None else dict(named_leaves(moments[name])) for name in ("mean", "square"))
    t, rate, moved = step + 1, learning_rate(step, run), []
    for path, leaf in named_leaves(params):
        g = gradients[path]
        means[path] = 0.9 * means[path] + 0.1 * g
        squares[path] = 0.98 * squares[path] + 0.02 * g * g
        update = means[path] / (1 - 0.9**t) / (np.sqrt(squares[path] / (1 - 0.98**t)) + 1e-6)
        if decays(path, leaf):
            update = update + run.weight_decay * leaf
        moved.append((path, leaf - rate * update))
    return tree_of(moved), {"mean": tree_of(list(means.items())), "square": tree_of(list(squares.items()))}


@right("10.3")
def adamw_by_jax_tree(params, gradient, moments, step, run):
    gradient = clip_by_global_norm(gradient, run.clip_norm)
    if moments is None:
        moments = {name: jax.tree.map(np.zeros_like, params) for name in ("mean", "square")}
    mean = jax.tree.map(lambda m, g: m + 0.1 * (g - m), moments["mean"], gradient)
    square = jax.tree.map(lambda v, g: v + 0.02 * (g**2 - v), moments["square"], gradient)
    unbiased, spread, rate = 1 - 0.9 ** (step + 1), 1 - 0.98 ** (step + 1), learning_rate(step, run)

    def move(path, leaf, m, v):
        kept = 1 - rate * run.weight_decay if decays(tuple(part.key for part in path), leaf) else 1.0
        return kept * leaf - rate * (m / unbiased) / ((v / spread) ** 0.5 + 1e-6)

    return jax.tree_util.tree_map_with_path(move, params, mean, square), {"mean": mean, "square": square}
