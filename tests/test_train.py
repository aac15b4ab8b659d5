"""The training step and its loop: what one update does, and that runs repeat, resume and skip as promised."""

import math
import threading
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import check, randomised, seeded

from tinyclip.clip import CLIP, l2_normalise
from tinyclip.config import CLIPConfig, ImageConfig, TextConfig, TrainConfig
from tinyclip.data import Batch
from tinyclip.losses import contrastive_loss, sigmoid_loss
from tinyclip.train import State, decays, floor_of, initial_state, loss_of, make_model, make_optimizer, make_step, train
from tinyclip.transformer import Linear

B, S, T, V, END = 8, 6, 4, 11, 10
IMAGE = ImageConfig(size=S, patch=3, width=12, depth=1, heads=3, mlp=16)
TEXT = TextConfig(vocab=V, context=T, end_token=END, width=10, depth=1, heads=2, mlp=14)
CONFIG = CLIPConfig(image=IMAGE, text=TEXT, embed=9)
SIGMOID = CLIPConfig(image=IMAGE, text=TEXT, embed=9, loss="sigmoid")
RUN = TrainConfig(steps=12, batch_size=B, warmup=3, learning_rate=2e-3, weight_decay=0.1, chunk=5, seed=0)
LN_100 = math.log(100)


class Toy:
    """A source of random pairs, other ones every step; a NaN picture at step `bad`; it counts how often its batch is traced."""

    def __init__(self, bad=-1, fixed=False):
        self.bad, self.fixed, self.traces = bad, fixed, 0

    def inputs(self, start, stop):
        return np.arange(start, stop)

    def batch(self, inputs):
        self.traces += 1
        step = 0 if self.fixed else inputs
        noise = jnp.sin(1000 * jnp.sin((step + 1.37) * jnp.arange(1.0, B * S * S * 3 + 1)))  # random enough, and quick to compile
        pair = (B * step + 11 * jnp.arange(B)) % 81  # eight different sentences of two words
        tokens = jnp.stack([jnp.zeros(B, int), 1 + pair // 9, 1 + pair % 9, jnp.full(B, END)], axis=1)
        images = noise.reshape(B, S, S, 3)
        return Batch(jnp.where(inputs == self.bad, jnp.nan, images), tokens, jnp.eye(B, dtype=bool))


class Small(CLIP):
    """Two matrices in place of two towers: what the loop promises does not depend on the model, and this one compiles at once."""

    def __init__(self, config, *, rngs):
        self.image_projection = Linear(S * S * 3, config.embed, rngs=rngs)
        self.text_projection = Linear(T * V, config.embed, bias=False, rngs=rngs)
        self.log_logit_scale = nnx.Param(jnp.full((), 2.0, float))
        self.logit_bias, self.config = None, config

    def encode_image(self, images, intermediates=False):
        return l2_normalise(self.image_projection(images.reshape(len(images), -1)))

    def encode_text(self, tokens, intermediates=False):
        return l2_normalise(self.text_projection(jax.nn.one_hot(tokens, V).reshape(len(tokens), -1)))


def run_small(run, source, state=None):
    """All reports of a run of the small model, with copied states."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinyclip.train.CLIP", Small)
        patch.setattr("tinyclip.train.blueprint", lambda config: nnx.split(nnx.eval_shape(lambda: Small(config, rngs=nnx.Rngs(0)))))
        return [report._replace(state=copied(report.state)) for report in train(CONFIG, run, source, state)]


def a_state(config=CONFIG, run=RUN, log_scale=None):
    """A state with random parameters, made without compiling."""
    model = randomised(lambda: CLIP(config, rngs=nnx.Rngs(0)), 7)
    if log_scale is not None:
        model.log_logit_scale[...] = jnp.float32(log_scale)
    params = nnx.state(model, nnx.Param)
    return State(params, make_optimizer(run).init(params), jnp.zeros((), jnp.int32))


def leaves(params):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]}


def copied(state):
    return jax.tree.map(jnp.array, state)


def all_equal(a, b):
    a, b = leaves(a), leaves(b)
    return [name for name in a if not np.array_equal(a[name], b[name], equal_nan=True)]


@pytest.fixture(scope="module")
def step():
    """One jitted step at full learning rate from the first, shared by the tests of single steps."""
    return jax.jit(make_step(CONFIG, TrainConfig(steps=1000, batch_size=B, warmup=0, learning_rate=2e-3, clip_norm=1.0)))


@pytest.fixture(scope="module")
def batch():
    return jax.jit(Toy().batch)(jnp.asarray(0))


@pytest.fixture(scope="module")
def compiled():
    """For `base`: the names of the programs that XLA compiles, or finds compiled, each with its thread."""
    return []


@pytest.fixture(scope="module")
def base(compiled):
    """A whole run of 12 steps in chunks of 5, and the source that counts."""

    def note(event, seconds, **about):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append((about["fun_name"], threading.current_thread()))

    source = Toy()
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        return run_small(RUN, source), source
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


# Which parameters decay


def test_weight_decay_is_for_matrices_and_token_embeddings_only():
    params = nnx.state(randomised(lambda: CLIP(SIGMOID, rngs=nnx.Rngs(0))), nnx.Param)
    marked = jax.tree_util.tree_flatten_with_path(jax.tree.map_with_path(decays, params))[0]
    for path, marks in marked:
        name = jax.tree_util.keystr(path)
        want = "['kernel']" in name or "['token_embedding']" in name
        assert marks == want, f"weight decay: {name} should {'' if want else 'not '}decay"
    count = sum(bool(marks) for _, marks in marked)
    assert count == 2 * 6 + 1 + 1 + 2, f"weight decay: want 16 leaves (12 in blocks, patches, tokens, 2 projections), got {count}"


# The optimiser, on two small leaves


def adamw(gradients, params, run, *, b2=0.98, eps=1e-6, clip=True, decoupled=True, decay_all=False, warmup=None):
    """AdamW by its formulas, with warm-up, cosine and a clipped global norm; the parameters after every step."""
    p = {name: value.astype(float) for name, value in params.items()}
    m, v, history = ({name: 0 * value for name, value in p.items()} for _ in range(2)), None, []
    m, v = m
    warmup = run.warmup if warmup is None else warmup
    for t, g in enumerate(gradients):
        norm = math.sqrt(sum((value**2).sum() for value in g.values()))
        g = {name: value * (min(1, run.clip_norm / norm) if clip else 1) for name, value in g.items()}
        done = (t - warmup) / (run.steps - warmup)
        rate = run.learning_rate * (t / warmup if t < warmup else (1 + math.cos(math.pi * done)) / 2)
        for name in p:
            decay = run.weight_decay * p[name] if decay_all or name == "kernel" else 0
            grad = g[name] + (0 if decoupled else decay)
            m[name], v[name] = 0.9 * m[name] + 0.1 * grad, b2 * v[name] + (1 - b2) * grad**2
            ratio = m[name] / (1 - 0.9 ** (t + 1)) / (np.sqrt(v[name] / (1 - b2 ** (t + 1))) + eps)
            p[name] = p[name] - rate * (ratio + (decay if decoupled else 0))
        history.append(p.copy())
    return {name: np.stack([step[name] for step in history]) for name in p}


def test_the_optimiser_is_adamw_as_clip_has_it():
    run = TrainConfig(steps=12, warmup=4, learning_rate=0.05, weight_decay=0.4, clip_norm=1.0)
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(3, 4)), "bias": rng.normal(size=4)}
    sizes = [1e-6, 1e-6, 2e-6, 40.0, 0.1, 1.0, 0.3, 5.0, 0.02, 1.0, 0.5, 0.5]  # of the gradients: some are cut, some not
    gradients = [{name: size * rng.normal(size=value.shape) for name, value in params.items()} for size in sizes]
    optimizer = make_optimizer(run)

    def one(carry, gradient):
        params, state = carry
        updates, state = optimizer.update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        return (params, state), params

    with jax.enable_x64(True):
        start = jax.tree.map(jnp.asarray, params)
        stacked = jax.tree.map(lambda *leaf: jnp.stack(leaf), *gradients)
        _, got = jax.jit(lambda carry, xs: jax.lax.scan(one, carry, xs))((start, optimizer.init(start)), stacked)
    variants = {
        "are the gradients not cut to a global norm?": {"clip": False},
        "beta 2 is 0.999, the default: CLIP has 0.98": {"b2": 0.999},
        "eps is 1e-8, the default: CLIP has 1e-6": {"eps": 1e-8},
        "is the decay part of the gradient? It should be decoupled": {"decoupled": False},
        "do biases decay?": {"decay_all": True},
        "is there no warm-up?": {"warmup": 0},
    }
    want = adamw(gradients, params, run)
    for name in ("bias", "kernel"):
        wrong = {question: adamw(gradients, params, run, **change)[name] for question, change in variants.items()}
        check(f"the {name} during 12 steps of AdamW", got[name], want[name], 1e-5, mistakes=wrong)
    check("the kernel after the first step of a warm-up", got["kernel"][0], params["kernel"], 0, "warm-up starts at a rate of 0")
    last, best = np.abs(got["bias"][-1] - got["bias"][-2]).max(), np.abs(got["bias"][5] - got["bias"][4]).max()
    assert last < 0.05 * best, (
        f"the last step moves the bias by {last:.2g}, the sixth by {best:.2g}: the cosine should bring the rate down to 0"
    )


def test_a_warmup_longer_than_the_run_is_cut_to_half_of_it():
    run = TrainConfig(steps=4, warmup=1000, learning_rate=0.1, weight_decay=0.0)
    optimizer, params = make_optimizer(run), {"bias": jnp.zeros(2)}
    state, moves = optimizer.init(params), []
    for _ in range(4):
        updates, state = optimizer.update({"bias": jnp.ones(2)}, state, params)
        moves.append(-float(updates["bias"][0]))
    check(
        "the rate in a run of 4 steps",
        np.float32(moves),
        np.float32([0, 0.05, 0.1, 0.05]),
        1e-4,
        "warm-up over 2 steps, then cosine over 2",
    )


# One step


def test_one_step_lowers_the_loss_of_the_same_batch_and_counts(step, batch):
    state = a_state()
    state_1, first = step(state, batch)
    state_2, second = step(state_1, batch)
    assert second.loss < first.loss, (
        f"one step should lower the loss on its own batch, but {first.loss:.4f} became {second.loss:.4f}: is the sign wrong?"
    )
    assert (int(state_1.step), int(state_2.step)) == (1, 2), (
        f"state.step should count the steps done, got {state_1.step} and {state_2.step}"
    )
    assert not all_equal(state.params, a_state().params), "a step must not change the state it is given"


def test_measures_tell_the_loss_norm_scale_and_floor_before_the_update(step, batch):
    state = a_state()
    model = make_model(CONFIG, state.params)
    _, measures = step(state, batch)
    value, gradient = jax.jit(lambda params: jax.value_and_grad(lambda p: loss_by_hand(model, p, batch))(params))(state.params)
    check("measures.loss", measures.loss, value, 1e-5, "the loss of the batch before the update")
    norm = math.sqrt(sum((np.asarray(leaf, float) ** 2).sum() for leaf in jax.tree.leaves(gradient)))
    cut = replace(RUN, clip_norm=norm / 3)
    for measured in (measures, jax.jit(make_step(CONFIG, cut))(a_state(), batch)[1]):
        check("measures.gradient_norm", measured.gradient_norm, np.float32(norm), 1e-5, "the norm of the whole gradient, before it is cut")
    check("measures.floor", measures.floor, np.float32(0), 0, "eight different captions impose nothing")
    assert bool(measures.finite), "measures.finite: this step was finite"


@pytest.mark.parametrize(("shared", "floor"), [(True, math.log(B)), (False, 0.0)])
def test_the_floor_is_that_of_the_targets_in_use(batch, shared, floor):
    alike = batch._replace(positives=jnp.ones((B, B), bool))
    _, measures = jax.jit(make_step(CONFIG, replace(RUN, shared_positives=shared)))(a_state(), alike)
    hint = f"{B} pictures of {B} captions that all fit share their targets, ln {B}" if shared else "each picture has one target: its own caption"
    check(f"measures.floor with shared_positives={shared}", measures.floor, np.float32(floor), 1e-6, hint)


def loss_by_hand(model, params, batch):
    graphdef = nnx.graphdef(model)
    return contrastive_loss(*nnx.merge(graphdef, params)(batch.images, batch.tokens))


@pytest.mark.parametrize(("start", "want"), [(LN_100 + 2, LN_100), (-1.0, 0.0)], ids=["above ln 100", "below 0"])
def test_the_log_logit_scale_is_clamped_after_the_update(step, batch, start, want):
    state, measures = step(a_state(log_scale=start), batch)
    check(
        "log_logit_scale after a step",
        state.params["log_logit_scale"][...],
        np.float32(want),
        1e-6,
        "it is clamped to [0, ln 100] after the update",
    )
    check("measures.logit_scale", measures.logit_scale, np.float32(math.exp(want)), 1e-5, "the scale after the update, exponentiated")


def test_the_clamp_is_not_in_the_forward_pass_so_the_scale_keeps_its_gradient(batch):
    graphdef, params = nnx.split(randomised(lambda: CLIP(CONFIG, rngs=nnx.Rngs(0)), 7))
    params = nnx.to_pure_dict(params)

    def loss(log_scale):
        return loss_of(nnx.merge(graphdef, nnx.State(params | {"log_logit_scale": log_scale})), batch, RUN)

    slope = jax.jit(jax.grad(loss))
    for value in (LN_100 + 0.5, -0.5):
        got = abs(float(slope(jnp.float32(value))))
        assert got > 1e-4, (
            f"loss_of: at log_logit_scale {value:.2f} the scale gets no gradient: clamp after the update, or it never comes back"
        )


def test_the_sigmoid_loss_has_no_clamp(batch):
    state, _ = jax.jit(make_step(SIGMOID, RUN))(a_state(SIGMOID, log_scale=LN_100 + 1), batch)  # the rate is 0 at the first step
    got = state.params["log_logit_scale"][...]
    check("log_logit_scale of a sigmoid model after a step", got, np.float32(LN_100 + 1), 1e-6, mistakes={
        "the clamp is CLIP's alone: trained sigmoid models have scales above 100": np.float32(LN_100),
    })  # fmt: skip


def test_a_step_that_is_not_finite_changes_nothing_and_says_so(step, batch):
    state = a_state()
    bad = batch._replace(images=batch.images.at[2, 0, 0, 0].set(jnp.nan))
    after, measures = step(state, bad)
    assert not bool(measures.finite), "measures.finite should be False after a NaN picture"
    changed = all_equal(after.params, state.params)
    assert not changed, f"a step that is not finite must change no parameter, but {changed[0]} changed"
    changed = all_equal(after.opt_state, state.opt_state)
    assert not changed, (
        f"a step that is not finite must not touch the optimiser, but {changed[0]} changed: its averages would stay NaN for ever"
    )
    assert int(after.step) == 1, "a skipped step is a step done: the batches go on"
    kept = np.float32(np.exp(leaves(state.params)["['log_logit_scale'].value"]))
    check(
        "measures.logit_scale of a skipped step",
        measures.logit_scale,
        kept,
        1e-6,
        "report the scale that was kept, not the one thrown away",
    )


# loss_of, floor_of, make_model


def test_loss_of_takes_the_runs_loss_and_its_positives(batch):
    positives = jnp.asarray(np.arange(B)[:, None] // 2 == np.arange(B)[None, :] // 2)
    batch = batch._replace(positives=positives)
    alone, shared = (TrainConfig(batch_size=B, shared_positives=flag) for flag in (False, True))
    for config in (CONFIG, SIGMOID):
        model = randomised(lambda config=config: CLIP(config, rngs=nnx.Rngs(0)), 7)
        got = jax.jit(
            lambda model=model: (loss_of(model, batch, alone), loss_of(model, batch, shared), model(batch.images, batch.tokens))
        )()
        *values, (images, texts, scale) = got
        for value, truth, name in zip(values, (None, positives), ("own captions", "shared positives"), strict=True):
            if config is CONFIG:
                want = contrastive_loss(images, texts, scale, truth)
            else:
                want = sigmoid_loss(images, texts, scale, model.logit_bias[...], truth)
            check(
                f"loss_of a {config.loss} model with {name}",
                value,
                want,
                1e-6,
                "are shared_positives, the bias and the kind of loss heeded?",
            )


def test_only_the_similarities_are_asked_for_in_exact_float32(batch):
    """A card rounds float32 products to ten bits of mantissa if it may, and at a scale of 100 that would show in the logits."""
    for config in (CONFIG, SIGMOID):
        graphdef, params = nnx.split(CLIP(config, rngs=nnx.Rngs(0)))
        with jax.default_matmul_precision(None):  # as it is outside the tests
            found = jax.make_jaxpr(jax.grad(lambda params, graph=graphdef: loss_of(nnx.merge(graph, params), batch, RUN)))(params).jaxpr
        exact = {}  # is the product one of embeddings? -> is it exact?
        for equation in found.eqns:
            if equation.primitive.name == "dot_general":
                shapes = {variable.aval.shape for variable in equation.invars}
                similarity = shapes <= {(B, config.embed), (config.embed, B), (B, B)}
                exact.setdefault(similarity, set()).add(equation.params["precision"] is not None)
        assert exact == {True: {True}, False: {False}}, (
            f"loss_of a {config.loss} model: products of embeddings should be exact and no others, but exact are {exact}"
        )


@pytest.mark.exercise("7.4")
def test_floor_of_is_half_the_mean_log_count_of_each_direction():
    distinct, alike = jnp.asarray(np.eye(3, dtype=bool)), jnp.asarray(np.ones((3, 3), bool))
    check("floor_of distinct captions", floor_of(distinct), np.float32(0), 0, "each caption is true of one picture: no floor")
    check("floor_of equal captions", floor_of(alike), np.float32(math.log(3)), 1e-6, "each of 3 pictures must guess among 3: ln 3")
    lopsided = np.array([[1, 1, 1], [0, 1, 0], [0, 0, 1]], bool)
    want = (math.log(3) / 3 + 2 * math.log(2) / 3) / 2
    hint = "pictures have 3, 1, 1 true captions, and captions are true of 1, 2, 2 pictures"
    check(f"floor_of {lopsided.astype(int).tolist()}", floor_of(jnp.asarray(lopsided)), np.float32(want), 1e-6, hint)


@pytest.mark.exercise("7.4")
def test_floor_of_counts_extra_captions_for_pictures_only():
    pictures, captions = 4, 7
    positives = np.eye(pictures, captions, dtype=bool) | (seeded(1).random((pictures, captions)) < 0.3)
    positives[0, 5] = positives[2, 1] = True
    positives[:, 6] = False
    rows = [math.log(sum(row)) for row in positives.tolist()]
    columns = [math.log(sum(row[j] for row in positives.tolist())) for j in range(pictures)]
    of_pictures, of_captions = (", ".join(f"{x:.4g}" for x in logs) for logs in (rows, columns))
    hint = f"the logarithms are {of_pictures} of the pictures and {of_captions} of their own captions"
    want = np.float32((sum(rows) + sum(columns)) / (2 * pictures))
    check(f"floor_of {pictures} pictures and {captions} captions", floor_of(jnp.asarray(positives)), want, 1e-6, hint)


def test_make_model_gives_the_model_with_these_parameters():
    params = a_state().params
    changed = all_equal(nnx.state(make_model(CONFIG, params), nnx.Param), params)
    assert not changed, f"make_model: {changed[0]} is not the given one"


def test_op_by_op_for_a_card_the_first_parameters_are_the_same(monkeypatch):
    monkeypatch.setattr("tinyclip.train.CLIP", Small)
    want = leaves(initial_state(CONFIG, RUN).params)
    compiled, usual = [], jax.jit
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "jit", lambda f, **about: usual(lambda key: compiled.append(key) or f(key), **about))
    shapes = []
    for name, leaf in leaves(initial_state(CONFIG, RUN, meanwhile=lambda state: shapes.append(state.step.shape)).params).items():
        check(f"initial_state: {name}, made op by op", leaf, want[name], 1e-6)
    assert shapes == [()], "initial_state: `meanwhile` should be called on a card, too, once"
    assert len(compiled) == 1, "initial_state: on a card the whole should be traced for its shapes only, and not compiled as one program"


def test_the_seed_decides_the_first_parameters(monkeypatch):
    monkeypatch.setattr("tinyclip.train.CLIP", Small)
    first, other = (leaves(initial_state(CONFIG, TrainConfig(seed=seed)).params) for seed in (0, 1))
    name = "['image_projection']['kernel'].value"
    assert not np.array_equal(first[name], other[name]), "initial_state: two seeds give the same parameters: is the seed used?"


def test_the_bias_of_the_sigmoid_loss_starts_as_if_one_pair_of_the_batch_were_true():
    state = jax.jit(lambda: initial_state(SIGMOID, TrainConfig(batch_size=64)))()
    check("initial_state: the logit_bias for batches of 64", state.params["logit_bias"][...], np.float32(-math.log(64)), 1e-6)


# The loop


def test_reports_come_after_every_chunk_with_one_number_a_step(base):
    reports, _ = base
    stops = [int(report.state.step) for report in reports]
    assert stops == [5, 10, 12], f"train: 12 steps in chunks of 5 should report after steps 5, 10 and 12, got {stops}"
    for report, steps in zip(reports, (5, 5, 2), strict=True):
        for name, value in report.measures._asdict().items():
            assert value.shape == (steps,), (
                f"train: {name} should have one number for each of the chunk's {steps} steps, got shape {value.shape}"
            )
        assert report.measures.finite.all() and report.seconds > 0, "train: finite should be True and seconds positive in an ordinary chunk"


def test_the_step_is_compiled_once_a_chunk_length(base, compiled):
    _, source = base
    assert source.traces <= 2, (
        f"train: 3 chunks of two lengths traced the batch {source.traces} times: is the chunk jitted anew every time?"
    )
    threads = [thread for name, thread in compiled if name == "jit(<lambda>)"]
    assert len(threads) == 2, f"train: chunks of two lengths were compiled {len(threads)} times: is what compiled beside the initialisation used?"
    assert threads[0] is not threading.main_thread(), "train: the first chunk should compile beside the initialisation, in a thread of its own"


def test_the_same_seed_twice_is_the_same_bit_for_bit(base):
    again, first = run_small(RUN, Toy()), base[0]
    changed = all_equal(again[-1].state, first[-1].state)
    assert not changed, f"train: the same seed twice, and {changed[0]} differs"


@pytest.mark.parametrize("chunk", [0, 1])
def test_a_resumed_run_is_the_same_bit_for_bit(base, chunk):
    reports, _ = base
    rest = run_small(RUN, Toy(), copied(reports[chunk].state))
    stops, want = [int(report.state.step) for report in rest], [10, 12][chunk:]
    assert stops == want, f"train: a run resumed at step {reports[chunk].state.step} should report after {want}, got {stops}"
    changed = all_equal(rest[-1].state, reports[-1].state)
    assert not changed, (
        f"train: resumed from a copied state, {changed[0]} differs: does a step depend on something that is not in the state?"
    )


def test_chunks_start_at_absolute_multiples_even_after_an_odd_stop(base):
    state = base[0][0].state._replace(step=jnp.asarray(7, jnp.int32))
    stops = [int(report.state.step) for report in run_small(RUN, Toy(), copied(state))]
    assert stops == [10, 12], f"train: resumed at step 7 with chunks of 5, the next reports are after 10 and 12, got {stops}"


@pytest.mark.parametrize("chunk", [4, 12])
def test_the_size_of_the_chunks_does_not_matter(base, chunk):
    reports, _ = base
    others = run_small(TrainConfig(**{**RUN.__dict__, "chunk": chunk}), Toy())
    for name, value in leaves(reports[-1].state.params).items():
        check(
            f"{name} after a run in chunks of {chunk} instead of 5",
            leaves(others[-1].state.params)[name],
            value,
            1e-5,
            "chunks only group steps",
        )
    losses, want = (np.concatenate([report.measures.loss for report in run]) for run in (others, reports))
    check(f"the losses of a run in chunks of {chunk} instead of 5", losses, want, 1e-4, "step s must see batch s in any chunking")


def test_a_nan_batch_is_skipped_and_the_run_goes_on():
    reports = run_small(TrainConfig(**{**RUN.__dict__, "chunk": 1}), Toy(bad=4))
    finite = [bool(report.measures.finite[0]) for report in reports]
    assert finite == [s != 4 for s in range(12)], f"train: a NaN picture at step 4 should make exactly that step not finite, got {finite}"
    changed = all_equal(reports[4].state.params, reports[3].state.params)
    assert not changed, f"train: the step with a NaN picture changed {changed[0]}"
    for before, after in ((3, 2), (6, 5), (7, 6)):
        assert all_equal(reports[before].state.params, reports[after].state.params), (
            f"train: step {before} changed nothing: training should go on"
        )


@pytest.mark.slow  # it would take a good part of the fast suite's four minutes
def test_eight_fixed_pairs_are_learned_by_heart_in_less_than_100_steps():
    wide = CLIPConfig(image=ImageConfig(S, 3, 48, 1, 3, 96), text=TextConfig(V, T, END, 32, 1, 2, 64), embed=24)
    run = TrainConfig(steps=99, batch_size=B, warmup=5, learning_rate=1e-2, weight_decay=0.0, chunk=99)
    source = Toy(fixed=True)
    (report,) = train(wide, run, source, a_state(wide, run, math.log(1 / 0.07)))
    model, batch = make_model(wide, report.state.params), jax.jit(source.batch)(jnp.asarray(0))
    images, texts, _ = jax.jit(lambda: model(batch.images, batch.tokens))()
    found = (np.asarray(images @ texts.T).argmax(1) == np.arange(B)).mean()
    assert found == 1, f"training: after 99 steps on 8 fixed pairs every picture should find its sentence, but {found:.0%} do"
    first, last = report.measures.loss[0], report.measures.loss[-1]
    assert last < first / 5, (
        f"training: the loss on 8 fixed pairs should fall to a fifth at least, but it went from {first:.3f} to {last:.3f}"
    )
