"""On 1, 2, 4 and 8 devices: the same loss, the same gradients, the same training. And what goes wrong, and by how much, with the classic mistakes.

The devices are pretended (`conftest.py`), the communication between them is real.
"""

import dataclasses
import math
import re
from functools import cache, partial
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check, check_gradients, differs, equals, raises_one_sentence, seeded
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P

from tinyclip import parallel
from tinyclip.config import CLIPConfig, TrainConfig
from tinyclip.data import FolderSource, WorldSource
from tinyclip.errors import UserError
from tinyclip.folder import Folder
from tinyclip.losses import contrastive_loss, sigmoid_loss
from tinyclip.parallel import AXIS, make_mesh, sharded_contrastive_loss, sharded_sigmoid_loss
from tinyclip.tokenizer import WordTokenizer
from tinyclip.train import initial_state, train
from tinyclip.world import get_world

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="only a CPU can pretend to be eight devices")

SCALE, BIAS = jnp.float32(14.3), jnp.float32(-7.0)
LOSSES = {  # name -> on a mesh, on one device; both of (images, texts, scale, bias)
    "contrastive": (lambda i, t, s, b, mesh: sharded_contrastive_loss(i, t, s, mesh), lambda i, t, s, b: contrastive_loss(i, t, s)),
    "sigmoid": (sharded_sigmoid_loss, sigmoid_loss),
}


def a_mesh(n: int) -> Mesh:
    """Made by hand, for tests that check exercises."""
    return jax.make_mesh((n,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:n])


def pairs(n, width=6, dtype=np.float32, k=0):
    x = seeded(k).normal(size=(2, n, width))
    return tuple(jnp.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True), dtype))


def with_gradients(loss):
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))


def cosine(a, b):
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (a, b))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_devices_stand_in_the_order_of_their_processes(monkeypatch):
    """As on a TPU pod, whose chips JAX would put in a ring: one process' pictures would then lie in another's rows."""
    chip = {"platform": "tpu", "device_kind": "TPU v5 lite", "core_on_chip": 0, "client": None, "slice_index": 0}
    ring = [mock.Mock(id=i, process_index=p, coords=(i % 4, i // 4, 0), **chip) for i, p in enumerate((0, 0, 1, 1, 0, 0, 1, 1))]
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for listed in (ring, ring[::-1]):
        monkeypatch.setattr(jax, "devices", lambda listed=listed: listed)
        order = [device.process_index for device in make_mesh(batch=16).devices.flat]
        assert order == [0] * 4 + [1] * 4, f"the rows of process 0 come first, then those of process 1; got {order}"


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_every_gradient_are_those_of_one_device(name):
    sharded, alone = LOSSES[name]
    args = (*pairs(24), SCALE, BIAS)
    want, wanted = with_gradients(alone)(*args)
    for n in (1, 2, 4, 8):
        value, gradients = with_gradients(partial(sharded, mesh=a_mesh(n)))(*args)
        check(f"the {name} loss of 24 pairs on {n} devices", value, want, 1e-5)
        check_gradients(f"the {name} loss of 24 pairs on {n} devices", gradients, wanted, 1e-5, "does every device's gradient come home?")


def test_rows_of_logits_made_a_block_at_a_time_change_nothing():
    args = (*pairs(24), SCALE, BIAS)
    want, wanted = with_gradients(LOSSES["contrastive"][1])(*args)
    with mock.patch.object(parallel, "BLOCK", 5):  # 12 rows a device: two blocks of 5 and one of 2, filled up
        on_two = with_gradients(partial(LOSSES["contrastive"][0], mesh=a_mesh(2)))
        value, gradients = on_two(*args)
        program = on_two.lower(*args).as_text()
    check("the contrastive loss in blocks of 5 rows on 2 devices", value, want, 1e-5)
    check_gradients("the contrastive loss in blocks of 5 rows on 2 devices", gradients, wanted, 1e-5)
    assert "5x24xf32" in program, "12 rows should be made five at a time, and not one by one because 5 does not divide them"


@pytest.mark.parametrize(("name", "most"), [("contrastive", 16 * 64), ("sigmoid", 16 * 16)])
def test_no_device_ever_holds_the_whole_matrix(name, most):
    """64 pairs on 4 devices: a device's rows are 16 of 64, and in the ring it meets 16 texts at a time."""
    program = with_gradients(partial(LOSSES[name][0], mesh=a_mesh(4))).lower(*pairs(64, 3), SCALE, BIAS).compile().as_text()
    largest = max(math.prod(map(int, shape.split(","))) for shape in re.findall(r"f32\[([\d,]+)\]", program))
    assert largest <= most, f"the {name} loss on 4 devices: the largest array on one of them has {largest} numbers, want at most {most}"
    assert largest < 64 * 64, "the whole matrix has 4,096"


@pytest.mark.parametrize("n", [2, pytest.param(4, marks=pytest.mark.exercise("17.1"))])
def test_the_ring_gives_the_sigmoid_loss_and_its_slopes(n):
    images, texts = pairs(12, 5, k=1)
    value, slopes = with_gradients(partial(sharded_sigmoid_loss, mesh=a_mesh(n)))(images, texts, jnp.float32(4.3), jnp.float32(-2.0))
    i, t, sign = np.asarray(images, np.float64), np.asarray(texts, np.float64), 2 * np.eye(12) - 1
    logits = 4.3 * i @ t.T - 2
    want = np.log1p(np.exp(-sign * logits)).sum() / 12
    check(f"the ring's loss of 12 pairs on {n} devices", value, want, 1e-5, f"the full matrix gives {want:.3f}")
    slope = -sign / (1 + np.exp(sign * logits)) / 12  # of each logit
    wanted = (4.3 * slope @ t, 4.3 * slope.T @ i, (slope * (i @ t.T)).sum(), slope.sum())
    for name, got, right in zip(("pictures", "texts", "scale", "bias"), slopes, wanted, strict=True):
        check(f"its slopes in the {name} on {n} devices", got, right, 1e-5)


@pytest.mark.exercise("17.1")
def test_the_ring_is_finite_at_a_large_scale():
    same = jnp.tile(jnp.eye(3)[:1], (8, 1))  # eight pictures and texts, all alike: 56 wrong pairs of logit 90, eight right ones
    value = sharded_sigmoid_loss(same, same, jnp.float32(100), jnp.float32(-10), a_mesh(4))
    check("the ring's loss of 8 equal pairs, scale 100, bias -10", value, np.float64(630), 1e-4, "exp(90) is beyond float32: no log of 1 + exp")


@pytest.mark.exercise("17.1")
def test_the_ring_refuses_what_cannot_be_shared():
    raised = "nothing"
    try:
        sharded_sigmoid_loss(*pairs(6, 3), SCALE, BIAS, a_mesh(4))
    except Exception as error:
        raised = type(error).__name__
    equals("what the ring raises for 6 pairs on 4 devices", raised, "UserError", "`_checked` says it in a sentence")


@pytest.mark.exercise("17.1")
def test_the_ring_holds_a_block_of_logits_at_a_time():
    """64 pairs on 4 devices: b = 16 rows each."""
    ring = jax.jit(partial(sharded_sigmoid_loss, mesh=a_mesh(4)))
    for what, function in (("the ring", ring), ("the ring's gradient", jax.jit(jax.grad(ring, argnums=(0, 1))))):
        program = function.lower(*pairs(64, 3), SCALE, BIAS).compile().as_text()
        largest = max(math.prod(map(int, shape.split(","))) for shape in re.findall(r"f32\[([\d,]+)\]", program))
        assert largest <= 256, f"{what} of 64 pairs on 4 devices: one of them holds {largest} numbers in an array, want at most (b, b) = 256"


def test_half_precision_is_compared_in_float32():
    images, texts = pairs(8, dtype=jnp.bfloat16)
    for name, (sharded, alone) in LOSSES.items():
        value = jax.jit(partial(sharded, mesh=a_mesh(2)))(images, texts, SCALE, BIAS)
        assert value.dtype == jnp.float32, f"the {name} loss of bfloat16 embeddings should be float32, got {value.dtype}"
        check(f"the {name} loss of bfloat16 embeddings", value, alone(images, texts, SCALE, BIAS), 1e-5)


def test_a_batch_that_cannot_be_shared_evenly_is_refused_in_a_sentence():
    for sharded, _ in LOSSES.values():
        raises_one_sentence(UserError, lambda sharded=sharded: sharded(*pairs(10), SCALE, BIAS, a_mesh(4)), "10", "4 devices", "8 or 12")
    raises_one_sentence(UserError, lambda: make_mesh(8, batch=3), "a batch of 3", "8 devices", "choose 8")
    raises_one_sentence(UserError, lambda: make_mesh(8, 3, "micro-batch"), "a micro-batch of 3", "8 devices")


# The classic mistakes: what they give, and how far off it is.


def test_negatives_of_the_own_device_only_give_a_lower_loss_that_is_wrong():
    """Each device asks its pairs only about its own rows: 8 devices with 8 pairs each see 7 negatives, not 63."""
    n, B = 8, 64
    images, texts = pairs(B, 64)

    @partial(jax.shard_map, mesh=a_mesh(n), in_specs=P(AXIS), out_specs=P())
    def local(images, texts):
        return jax.lax.pmean(contrastive_loss(images, texts, 5.0), AXIS)

    right, wrong = contrastive_loss(images, texts, 5.0), jax.jit(local)(images, texts)
    assert abs(float(right - wrong) - math.log(n)) < 0.15, (
        f"for unrelated pairs, local negatives should cost about ln {n} = {math.log(n):.2f} less, got {float(right):.3f} and {float(wrong):.3f}"
    )


def test_gathering_without_the_way_back_gives_the_right_loss_and_a_wrong_gradient():
    """As `all_gather` does in frameworks where it has no gradient: what other devices would send home is lost."""
    n, B = 4, 32
    images, texts = pairs(B, 16)

    def one_sided(keep):
        @partial(jax.shard_map, mesh=a_mesh(n), in_specs=P(AXIS), out_specs=P())
        def loss(images, texts):
            gather = lambda x: keep(jax.lax.all_gather(x, AXIS, tiled=True))  # noqa: E731
            own = 10.0 * (images * texts).sum(-1)
            rows = jax.nn.logsumexp(10.0 * images @ gather(texts).T, axis=1) + jax.nn.logsumexp(10.0 * texts @ gather(images).T, axis=1)
            return jax.lax.pmean((rows / 2 - own).mean(), AXIS)

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(images, texts)

    want, wanted = jax.value_and_grad(lambda i, t: contrastive_loss(i, t, 10.0), argnums=(0, 1))(images, texts)
    value, gradients = one_sided(lambda x: x)
    check("gathered with gradient", value, want, 1e-5)
    check_gradients("gathered with gradient", gradients, wanted, 1e-5)
    value, gradients = one_sided(jax.lax.stop_gradient)
    check("gathered without gradient, the loss itself", value, want, 1e-5, "the mistake does not show in the loss")
    off = cosine(gradients, wanted)
    assert 0.5 < off < 0.99, f"without the way back the gradient should point elsewhere (cosine below 0.99), got {off:.4f}"


# Training


def a_run(world="pairs", **changes):
    toy = get_world(world)
    tokenizer = toy.tokenizer()
    text = {"vocab": tokenizer.vocab, "end_token": tokenizer.end, "context": tokenizer.context, "width": 16, "depth": 1, "heads": 2, "mlp": 32}
    image = {"size": 16, "width": 16, "depth": 1, "heads": 2, "mlp": 32}
    config = CLIPConfig.preset("nano", image=image, text=text)
    return toy, config, TrainConfig(**({"steps": 6, "chunk": 3, "batch_size": 16, "hard_negatives": "captions", "warmup": 1} | changes))


def trained(mesh, **changes):
    toy, config, run = a_run(**changes)
    reports = train(config, run, WorldSource(toy, config, run, mesh), mesh=mesh)
    measures = [(jax.device_get(report.state.params), report.measures) for report in reports]
    return measures[-1][0], np.concatenate([m.loss for _, m in measures]), np.concatenate([m.floor for _, m in measures])


@cache
def trained_on_pairs():
    """On one device, and the same for all tests."""
    return trained(None)


@pytest.mark.slow  # four programs
@pytest.mark.parametrize("world", ["sixteen", "pairs"])
def test_training_on_eight_devices_is_training_on_one(world):
    changes = {"world": world} | ({"hard_negatives": "none", "steps": 3} if world == "sixteen" else {})
    params, losses, floors = trained_on_pairs() if world == "pairs" else trained(None, **changes)
    params_8, losses_8, floors_8 = trained(a_mesh(8), **changes)
    check("the floors, which only the scenes and captions decide", floors_8, floors, 1e-6, "the same scenes and captions are wanted")
    check("the losses of all steps on 8 devices", losses_8, losses, 1e-5)
    check_gradients("the parameters after them on 8 devices", params_8, params, 1e-3)


def test_each_device_draws_and_holds_only_its_own_rows():
    toy, config, run = a_run()
    seen = []
    mesh, render = a_mesh(8), toy.render

    def noting(scenes, size):
        seen.append(len(scenes.meaning))
        return render(scenes, size)

    source = WorldSource(dataclasses.replace(toy, render=noting), config, run, mesh)
    batch = jax.jit(source.batch)(jax.device_put(jnp.asarray(0), parallel.everywhere(mesh)))
    assert seen[-1] == 2, f"each of 8 devices should draw 2 of 16 scenes, but one draws {seen[-1]}"
    for name, leaf in batch._asdict().items():
        rows = {shard.data.shape[0] for shard in leaf.addressable_shards}
        assert rows == {len(leaf) // 8}, f"{name}: each of 8 devices should hold an eighth of the {len(leaf)} rows, got {rows}"


@pytest.mark.parametrize("backend", ["cpu", "gpu"])  # under one jit, and op by op
def test_all_devices_hold_all_of_the_state(monkeypatch, backend):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    _, config, run = a_run()
    for leaf in jax.tree.leaves(initial_state(config, run, a_mesh(4))):
        assert leaf.sharding.is_fully_replicated and len(leaf.sharding.device_set) == 4, f"want the whole on each of 4 devices, got {leaf.sharding}"


@pytest.mark.slow  # three programs
def test_micro_batches_are_exact_on_many_devices_too():
    _, losses, _ = trained_on_pairs()
    for mesh in (None, a_mesh(4)):
        check(f"the losses with micro-batches of 8 on {mesh.size if mesh else 1} devices", trained(mesh, micro_batch=8)[1], losses, 1e-5)


def test_without_being_asked_the_devices_are_as_many_as_share_the_batch():
    for batch, devices in ((16, 8), (12, 6), (7, 7), (11, 1), (8000, 8)):
        assert make_mesh(batch=batch).size == devices, f"a batch of {batch} on 8 devices should use {devices}, got {make_mesh(batch=batch).size}"
    assert make_mesh().size == 8, "all devices are wanted where no batch is given"
    assert make_mesh(3).size == 3, "as many devices as asked for are wanted"
    raises_one_sentence(UserError, lambda: make_mesh(9), "--devices is 9", "there are 8")
    raises_one_sentence(UserError, lambda: make_mesh(4, batch=6), "6", "4 devices", "4 or 8")


def test_half_a_description_of_several_processes_or_a_place_that_is_taken_is_refused(monkeypatch):
    for name in ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID"):
        monkeypatch.delenv(f"JAX_{name}", raising=False)
    parallel.start()  # nothing said: one process
    start = parallel.start
    raises_one_sentence(UserError, lambda: start(coordinator="localhost:1"), "all three", "--processes", "--process-id")
    raises_one_sentence(UserError, lambda: start(processes=2, process_id=0), "all three", "--coordinator")
    raises_one_sentence(UserError, lambda: start(coordinator="localhost:1", processes=2, process_id=2), "--process-id is 2", "from 0 to 1")
    raises_one_sentence(UserError, lambda: start(coordinator="localhost", processes=2, process_id=0), "'localhost'", "host and port")
    raises_one_sentence(UserError, lambda: start(coordinator="localhost:1", processes=0, process_id=0), "--processes is 0", "1 or more")
    raises_one_sentence(UserError, lambda: start(coordinator="auto"), "no cluster", "HOST:PORT")
    raises_one_sentence(UserError, lambda: start(devices=0), "--devices is 0")
    monkeypatch.setattr(jax.distributed, "initialize", mock.Mock(side_effect=RuntimeError("UNKNOWN: Failed to start RPC server")))
    raises_one_sentence(UserError, lambda: start(coordinator="localhost:1", processes=1, process_id=0), "localhost:1", "RPC server", "port")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    raises_one_sentence(UserError, start, "JAX_NUM_PROCESSES=two")


def test_a_mistake_in_one_process_ends_all(monkeypatch):
    def mistaken():
        raise UserError("this one knows why.")

    assert parallel.for_all(lambda: 3) == 3 and parallel.all_say("the same"), "one process alone always agrees"
    raises_one_sentence(UserError, lambda: parallel.for_all(mistaken), "knows why")
    monkeypatch.setattr(parallel, "anyone", lambda yes: True)
    raises_one_sentence(UserError, lambda: parallel.for_all(lambda: 3), "another process")


def test_each_process_reads_only_its_own_pictures(monkeypatch):
    pixels = np.arange(20 * 2 * 2 * 3, dtype=np.uint8).reshape(20, 2, 2, 3)
    names = [f"{i}.png" for i in range(20)]
    captions = [f"picture {'abcdefghij'[i % 10]}" for i in range(20)]
    folder = Folder(Path("."), names, pixels, np.arange(20), captions, [])
    source = FolderSource(folder, WordTokenizer.of(captions), CLIPConfig(), TrainConfig(batch_size=8))
    whole = source.inputs(0, 3)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for index in (0, 1):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        own = source.inputs(0, 3)
        check(f"the pictures that process {index} of 2 reads", own["images"], whole["images"][:, 4 * index :][:, :4], 0)
        check(f"the pairs that process {index} of 2 knows of", own["picture"], whole["picture"], 0, "the truth is needed for all pairs")
    differs("pictures of the two processes", own["images"], whole["images"][:, :4], 1)
