"""Training in less memory: cached gradients are the whole batch's, rematerialisation changes none, bfloat16 hardly any."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import check, check_gradients, equals, raises_one_sentence, randomised, seeded

from tinyclip.clip import CLIP, l2_normalise
from tinyclip.compiling import on_cpu
from tinyclip.config import RECIPES, CLIPConfig, TrainConfig
from tinyclip.data import Batch, WorldSource
from tinyclip.errors import UserError
from tinyclip.large_batch import in_pieces
from tinyclip.losses import contrastive_loss
from tinyclip.parallel import everywhere, make_mesh
from tinyclip.train import initial_state, loss_of, make_step, train
from tinyclip.world import get_world

B, T, V = 24, 5, 11


def a_model(loss="contrastive", **image):
    image = {"size": 8, "patch": 4, "width": 12, "depth": 1, "heads": 2, "mlp": 20} | image
    text = {"vocab": V, "context": T, "end_token": V - 1, "width": 8, "depth": 1, "heads": 2, "mlp": 14}
    return CLIPConfig.preset("nano", image=image, text=text, embed=6, loss=loss)


def a_batch(size, rows=B):
    rng = seeded(5)
    tokens = rng.integers(1, V - 1, (rows, T))
    tokens[:, -1] = V - 1
    return Batch(jnp.asarray(rng.normal(size=(rows, size, size, 3)), jnp.float32), jnp.asarray(tokens, jnp.int32), jnp.eye(rows, dtype=bool))


def gradients_of(config, batch, run):
    model = randomised(lambda: CLIP(config, rngs=nnx.Rngs(0)), 1)
    graphdef, params = nnx.split(model)
    return jax.jit(jax.value_and_grad(lambda params: loss_of(nnx.merge(graphdef, params), batch, run)), compiler_options=on_cpu(0))(params)


@pytest.mark.parametrize(("loss", "pieces"), [pytest.param("contrastive", (1, 12), marks=pytest.mark.slow), ("sigmoid", (4,))], ids=str)
def test_every_gradient_is_the_whole_batchs_the_temperatures_too(loss, pieces):
    config, batch = a_model(loss), a_batch(8)
    want, wanted = gradients_of(config, batch, TrainConfig(batch_size=B))
    for piece in pieces:
        value, gradients = gradients_of(config, batch, TrainConfig(batch_size=B, micro_batch=piece))
        check(f"the {loss} loss with micro-batches of {piece}", value, want, 1e-5)
        check_gradients(f"the {loss} loss with micro-batches of {piece}", gradients, wanted, 1e-5)


def gradients_in_pairs(loss, hard_negatives, devices, **run):
    """Of a batch of the world `pairs`: its captions are true of several pictures, and some belong to none."""
    world = get_world("pairs")
    words, tower = world.tokenizer(), {"width": 8, "depth": 1, "heads": 2, "mlp": 14}
    text = tower | {"vocab": words.vocab, "context": words.context, "end_token": words.end}
    config = CLIPConfig.preset("nano", image=tower | {"size": 16}, text=text, embed=6, loss=loss)
    run = TrainConfig(batch_size=B, hard_negatives=hard_negatives, **run)
    mesh = make_mesh(devices) if devices else None
    graphdef, params = nnx.split(randomised(lambda: CLIP(config, rngs=nnx.Rngs(0)), 1))
    source = WorldSource(world, config, run, mesh)

    def both(params, step):
        batch = source.batch(step)
        return jax.value_and_grad(lambda params: loss_of(nnx.merge(graphdef, params), batch, run))(params)

    return jax.jit(both, out_shardings=mesh and everywhere(mesh), compiler_options=on_cpu(0))(params, 0)


@pytest.mark.slow  # three programs each
@pytest.mark.parametrize("loss", ["contrastive", "sigmoid"])
@pytest.mark.parametrize("hard_negatives", ["captions", "scenes"])
def test_everything_at_once_changes_no_gradient(loss, hard_negatives):
    want, wanted = gradients_in_pairs(loss, hard_negatives, None)
    for micro_batch, remat, devices in ((4, True, 8), (12, False, 4)):
        what = f"the {loss} loss with {hard_negatives}, micro-batches of {micro_batch}, remat {remat}, {devices or 1} devices"
        value, gradients = gradients_in_pairs(loss, hard_negatives, devices, micro_batch=micro_batch, remat=remat)
        check(what, np.asarray(value), np.asarray(want), 1e-5)
        check_gradients(what, jax.device_get(gradients), jax.device_get(wanted), 1e-5)


def test_averaging_the_gradients_of_micro_batches_points_elsewhere():
    """Each of 4 micro-batches sees 15 negatives instead of 63: linear towers, pictures and texts that have little to do with each other yet."""
    rng = seeded(6)
    images, texts = (jnp.asarray(rng.normal(size=(64, 20)), jnp.float32) for _ in range(2))
    towers = tuple(jnp.asarray(rng.normal(size=(20, 8)), jnp.float32) for _ in range(2))

    def loss(towers, images, texts):
        return contrastive_loss(l2_normalise(images @ towers[0]), l2_normalise(texts @ towers[1]), 1 / 0.07)

    slope = jax.jit(jax.grad(loss))
    wanted = slope(towers, images, texts)
    parts = [slope(towers, images[16 * k :][:16], texts[16 * k :][:16]) for k in range(4)]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / 4, *parts)
    a, b = (np.concatenate([np.ravel(leaf) for leaf in tree]) for tree in (mean, wanted))
    cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert 0.5 < cosine < 0.95, f"naive accumulation should point elsewhere than the whole batch (cosine below 0.95), got {cosine:.3f}"


@pytest.mark.exercise("17.2")
def test_in_pieces_is_the_same_function_with_the_same_gradient():
    rng = seeded(9)
    rows, weights = jnp.asarray(rng.normal(size=(12, 3, 5)), jnp.float32), jnp.asarray(rng.normal(size=(5, 7)), jnp.float32)

    def of(piece):
        def loss(weights):
            embedded = in_pieces(lambda x: jnp.tanh(x @ weights).sum(1), rows, piece)
            return (embedded * jnp.arange(12.0)[:, None]).sum(), embedded

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(weights)

    inside = np.tanh(np.asarray(rows, np.float64) @ np.asarray(weights, np.float64))
    want, slope = inside.sum(1), (1 - inside**2) * np.arange(12.0)[:, None, None]
    gradient = np.einsum("bnp,bnq->pq", np.asarray(rows, np.float64), slope)
    for piece in (3, 1, 12, 0):
        (_, embedded), slopes = of(piece)
        check(f"in_pieces of 12 rows, {piece} at a time", embedded, want.astype(np.float32), 1e-5, "row i of the result belongs to row i")
        check(f"the gradient through in_pieces, {piece} at a time", slopes, gradient.astype(np.float32), 1e-5)


@pytest.mark.exercise("17.2")
def test_in_pieces_gives_the_tower_few_rows_and_forgets_the_rest():
    rng, sizes = seeded(10), []
    rows, weights = jnp.asarray(rng.normal(size=(12, 5)), jnp.float32), jnp.asarray(rng.normal(size=(5, 100)), jnp.float32)

    def encode(x, weights):
        sizes.append(len(x))
        return jnp.tanh(x @ weights).reshape(len(x), 4, 25).sum(2)

    back = jax.eval_shape(lambda weights: jax.vjp(lambda w: in_pieces(lambda x: encode(x, w), rows, 3), weights)[1], weights)
    equals("the rows that `encode` is given at once, in pieces of 3", sorted(set(sizes)), [3])
    kept = sum(leaf.size for leaf in jax.tree.leaves(back))
    assert kept < 1200, f"in_pieces: {kept} numbers are kept for the gradient, though all intermediates, 12 rows of 100, should be made again"


def temporary_bytes(config, run, rows):
    state = jax.eval_shape(lambda: initial_state(config, run))
    batch = jax.eval_shape(lambda: a_batch(config.image.size, rows))
    return jax.jit(make_step(config, run)).lower(state, batch).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.slow  # two programs, compiled as well as XLA can
def test_a_step_takes_less_memory_in_micro_batches():
    """By XLA's own account, for towers whose intermediates outweigh the batch."""
    config, rows = a_model(size=32, width=48, mlp=192), 64
    whole = temporary_bytes(config, TrainConfig(batch_size=rows), rows)
    pieces = temporary_bytes(config, TrainConfig(batch_size=rows, micro_batch=8), rows)
    assert pieces < whole / 3, f"micro-batches of 8 of {rows} should take less than a third of the {whole:,} bytes of a whole batch, got {pieces:,}"


@pytest.mark.slow  # two programs, compiled as well as XLA can
@pytest.mark.parametrize("loss", ["contrastive", "sigmoid"])
def test_a_step_in_micro_batches_needs_no_matrix_of_logits(loss):
    """Of 8,192 pairs it would take 268 MB, and its gradient as much again; what is known of each pair, a byte and a count, stays."""
    rows = 8192
    whole = temporary_bytes(a_model(loss), TrainConfig(batch_size=rows), rows)
    pieces = temporary_bytes(a_model(loss), TrainConfig(batch_size=rows, micro_batch=64), rows)
    assert whole > 8 * rows**2, f"with the matrix, a step should take 8 bytes a pair and more, or there is nothing to save: {whole:,}"
    assert pieces < 6 * rows**2, f"a step of {rows:,} pairs in micro-batches takes {pieces:,} bytes: is there a matrix of logits?"


@pytest.mark.slow  # two programs
def test_remat_keeps_less_for_the_way_back_and_changes_no_gradient():
    """What is kept is what the way back is a function of. (XLA:CPU computes again so early that its memory does not sink; the bytes kept do.)"""
    config, batch = a_model(depth=2), a_batch(8)  # towers whose intermediates outweigh the loss's
    model = randomised(lambda: CLIP(config, rngs=nnx.Rngs(0)), 1)
    graphdef, params = nnx.split(model)

    def loss(params, run):
        return loss_of(nnx.merge(graphdef, params), batch, run)

    def kept(run):
        back = jax.eval_shape(lambda params: jax.vjp(partial(loss, run=run), params)[1], params)
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(back))

    without, remat, pieces, both = (TrainConfig(batch_size=B, micro_batch=m, remat=r) for m in (0, 8) for r in (False, True))
    assert kept(remat) < kept(without) / 3, f"--remat should keep less than a third of {kept(without):,} bytes, but keeps {kept(remat):,}"
    assert kept(both) <= kept(pieces), f"of micro-batches nothing is kept: --remat should add nothing to {kept(pieces):,}, but {kept(both):,} are"
    gradients = [jax.jit(jax.grad(partial(loss, run=run)), compiler_options=on_cpu(0))(params) for run in (remat, without)]
    check_gradients("the gradients with --remat", *gradients, 1e-5)


def test_a_micro_batch_must_divide_the_batch():
    for micro in (5, 48, -1):
        raises_one_sentence(UserError, lambda micro=micro: TrainConfig(batch_size=24, micro_batch=micro), f"--micro-batch is {micro}", "24")


@pytest.mark.slow  # four trainings of 200 steps
def test_in_bfloat16_training_goes_as_well_as_in_float32():
    """The towers compute in bfloat16; weights, similarities and loss stay float32. Seeds differ by more than the two kinds of numbers do."""
    world = get_world("sixteen")
    tokenizer = world.tokenizer()
    text = {"vocab": tokenizer.vocab, "context": tokenizer.context, "end_token": tokenizer.end}
    found = {}
    for dtype, seed in ((None, 0), (None, 1), (None, 2), ("bfloat16", 0)):
        config = CLIPConfig.preset("nano", text=text, dtype=dtype)
        run = TrainConfig(**(RECIPES["sixteen"]["train"] | {"steps": 200, "seed": seed}))
        reports = [(report.state.params, report.measures) for report in train(config, run, WorldSource(world, config, run))]
        found[dtype, seed] = np.concatenate([measures.loss for _, measures in reports])[150:].mean()
        kinds = {str(leaf.dtype) for leaf in [*jax.tree.leaves(reports[-1][0]), *(measures.loss for _, measures in reports)]}
        assert kinds == {"float32"}, f"with towers in {dtype or 'float32'}, weights and losses should be float32, got {sorted(kinds)}"
    half, floats = found.pop(("bfloat16", 0)), list(found.values())
    spread = max(floats) - min(floats)
    print(f"mean loss of steps 150 to 200: float32 {', '.join(f'{x:.3f}' for x in floats)}, bfloat16 {half:.3f}")
    assert abs(half - np.mean(floats)) <= 2 * spread, f"bfloat16 ends at {half:.3f}, float32 at {floats}: further apart than seeds are"
