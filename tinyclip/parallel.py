"""Many devices: the batch is shared out by rows, the parameters are everywhere, and the losses still compare everything with everything.

For training there is little to write: JAX splits a jitted step by where its inputs lie, and adds the communication itself. `train` is one code
path, whatever the mesh. What the losses have to say to each other is written out once, by hand, in the two functions at the end.
B batch, shared evenly by n devices · b = B / n rows on one of them · E joint embedding. Lesson 17.
"""

import contextlib
import os
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from .errors import UserError
from .losses import Scalar
from .streamed import in_blocks
from .transformer import at_least_float32

AXIS = "data"
BLOCK = 512  # rows of logits on one device at once
T = TypeVar("T")


def start(
    devices: int | None = None,
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """To be called before JAX does anything: pretends `devices` devices on a CPU, and joins the other processes, if there are any.

    Without `coordinator` (host:port of process 0) the standard JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID count; "auto"
    asks the cluster (Slurm, Open MPI, Kubernetes, a TPU pod), as JAX knows how to. `tell` is told whom it waits for. Raises `UserError` for half of
    a description, for a cluster that is not there, and for processes with different numbers of devices.
    """
    if devices is not None and not 1 <= devices <= 1024:
        raise UserError(f"--devices is {devices}, but must lie between 1 and 1,024.")
    if devices is not None:
        with contextlib.suppress(RuntimeError):  # JAX has begun already: `make_mesh` says so if there are too few
            jax.config.update("jax_num_cpu_devices", devices)
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    if coordinator == "auto":
        try:
            jax.distributed.initialize()
        except (ValueError, RuntimeError) as error:
            raise UserError(f"--coordinator auto finds no cluster that JAX knows ({error}): give HOST:PORT, --processes and --process-id.") from None
        return _meet()
    processes = processes if processes is not None else _number("JAX_NUM_PROCESSES")
    process_id = process_id if process_id is not None else _number("JAX_PROCESS_ID")
    if coordinator is None and processes is None and process_id is None:
        return
    if coordinator is None or processes is None or process_id is None:
        raise UserError("several processes need all three of --coordinator HOST:PORT, --processes N and --process-id I (or --coordinator auto).")
    if processes < 1:
        raise UserError(f"--processes is {processes}, but must be 1 or more.")
    if not 0 <= process_id < processes:
        raise UserError(f"--process-id is {process_id}, but {processes} processes are numbered from 0 to {processes - 1}.")
    if not coordinator.rpartition(":")[2].isdigit() or not coordinator.rpartition(":")[0]:
        raise UserError(f"--coordinator is {coordinator!r}, but must be the host and port of process 0, such as localhost:1234.")
    tell(f"process {process_id} of {processes} is looking for the others at {coordinator}, for up to five minutes")
    try:
        jax.distributed.initialize(coordinator, processes, process_id, heartbeat_timeout_seconds=60)
    except RuntimeError as error:
        raise UserError(f"process {process_id} could not meet the others at {coordinator} ({error}): its port may be taken.") from None
    _meet()


def _meet() -> None:
    """Let all devices talk once, while all processes are here: on a CPU, they may come late to the first talk by 30 seconds, and never to another."""
    counts = Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        each = ", ".join(str(counts[process]) for process in sorted(counts))
        raise UserError(f"the processes have {each} devices: give each of them the same number, as with --devices.")
    mesh = make_mesh()
    jax.jit(jnp.sum, out_shardings=everywhere(mesh))(from_own_rows(np.ones(jax.local_device_count(), np.float32), mesh)).block_until_ready()


def leave() -> None:
    """To be called by all when they have trained: the main process may evaluate for long, and JAX would end all if others waited five minutes."""
    if jax.process_count() > 1:
        jax.distributed.shutdown()


def _number(name: str) -> int | None:
    text = os.environ.get(name)
    if text is not None and not text.isdigit():
        raise UserError(f"the environment says {name}={text}, which is no whole number.")
    return None if text is None else int(text)


def is_main() -> bool:
    """Is this the process that prints and writes? There is one."""
    return jax.process_index() == 0


def make_mesh(devices: int | None = None, batch: int | None = None, what: str = "batch") -> Mesh:
    """A row of `devices` devices of every process, or of all of them; where a `batch` is given, of as many as share it evenly.

    In the order of the processes, which `from_own_rows` relies on: `jax.make_mesh` would follow the wires between chips, and on a TPU pod give
    pictures to other processes' captions. Auto axes: with JAX's explicit ones, the product of two matrices that are both shared by rows is an
    error. Raises `UserError` if there are not so many devices, or if those asked for by number cannot share the batch evenly.
    """
    found = jax.local_device_count()
    if devices is not None and devices > found:
        hint = "a CPU pretends any number, if asked before JAX begins: JAX_PLATFORMS=cpu"
        raise UserError(f"--devices is {devices}, but there are {found} here ({hint}).")
    if devices is None and batch is not None:
        devices = max((n for n in range(1, found + 1) if batch % (n * jax.process_count()) == 0), default=found)
    chosen: dict[int, list[jax.Device]] = {}
    for device in jax.devices():
        chosen.setdefault(device.process_index, []).append(device)
    row = [device for _, own in sorted(chosen.items()) for device in own[: devices or found]]
    if batch is not None:
        share(batch, len(row), what)
    return Mesh(np.array(row), (AXIS,), axis_types=(AxisType.Auto,))


def share(batch: int, devices: int, what: str = "batch") -> int:
    """b, the rows of each device. Raises `UserError` for a batch (or `what` it is called) that cannot be shared evenly."""
    if batch % devices:
        near = sorted({max(devices, batch // devices * devices), -(-batch // devices) * devices})
        raise UserError(f"a {what} of {batch} cannot be shared evenly by {devices} devices: choose {' or '.join(map(str, near))}.")
    return batch // devices


def by_rows(mesh: Mesh) -> NamedSharding:
    """The first axis shared out."""
    return NamedSharding(mesh, P(AXIS))


def everywhere(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, P())


def each_its_rows(function: Callable[..., T], mesh: Mesh | None) -> Callable[..., T]:
    """The function, called by every device on its own rows; of one whose rows have nothing to do with each other."""
    return function if mesh is None else jax.shard_map(function, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS), check_vma=False)


def from_own_rows(own: np.ndarray, mesh: Mesh | None, axis: int = 0) -> Array | np.ndarray:
    """One array of the rows (along `axis`) that each process has read for itself."""
    if mesh is None:
        return own
    return jax.make_array_from_process_local_data(NamedSharding(mesh, P(*[None] * axis, AXIS)), own)


def here(tree: T) -> T:
    """What is everywhere, as it lies on this process's first device: to be looked at without the others."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf, tree)


def anyone(yes: bool) -> bool:
    """Does any process say yes? All must ask."""
    if jax.process_count() == 1:
        return yes
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.array(yes))))


def all_say(word: str) -> bool:
    """Do all processes say the same? All must ask."""
    if jax.process_count() == 1:
        return True
    from jax.experimental import multihost_utils

    return len(np.unique(multihost_utils.process_allgather(np.array(zlib.crc32(word.encode()), np.uint32)))) == 1


def for_all(act: Callable[[], T]) -> T:
    """What `act` returns. A mistake in one process ends all of them: the others would wait for it. All must call it."""
    result, problem = None, None
    try:
        result = act()
    except UserError as error:
        problem = error
    if anyone(problem is not None):
        raise problem or UserError("another process could not go on: see what it says.")
    return result


def from_main(tree: T) -> T:
    """The main process's arrays, for all. All must ask."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(tree)


def _checked(mesh: Mesh, *embeddings: Float[Array, "B E"]) -> Sequence[Float[Array, "B E"]]:
    share(len(embeddings[0]), mesh.size)
    return [at_least_float32(each) for each in embeddings]


def sharded_contrastive_loss(
    image_embeddings: Float[Array, "B E"], text_embeddings: Float[Array, "B E"], logit_scale: Float[Array, ""] | float, mesh: Mesh
) -> Scalar:
    """`losses.contrastive_loss` of plain pairs, in nats, each device making its own rows of the logits. Lesson 17.

    Every device gathers all texts and all pictures, which are small, and compares its b pictures with the B texts and its b texts with the B
    pictures: the (B, B) matrix exists nowhere, and on one device at most `BLOCK` rows of it. The way back of gathering sends each gradient
    home and adds up: a loss that gathers without it (as plain `all_gather` in other frameworks) learns something else. Raises `UserError` for
    a batch that the devices cannot share evenly.
    """
    images, texts = _checked(mesh, image_embeddings, text_embeddings)

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(AXIS), P(AXIS), P()), out_specs=P())
    def loss(images: Float[Array, "b E"], texts: Float[Array, "b E"], scale: Scalar) -> Scalar:
        def choosing(rows: Float[Array, "b E"], columns: Float[Array, "b E"]) -> Float[Array, "b"]:
            """The logarithm of what each row's softmax divides by."""
            columns = jax.lax.all_gather(columns, AXIS, tiled=True)  # (B, E)
            log_sum = jax.checkpoint(lambda rows: jax.nn.logsumexp(scale * rows @ columns.T, axis=1))
            return jax.lax.map(log_sum, in_blocks(rows, min(BLOCK, len(rows)))[0]).reshape(-1)[: len(rows)]

        own = scale * (images * texts).sum(-1)  # (b,)
        return jax.lax.pmean(((choosing(images, texts) + choosing(texts, images)) / 2 - own).mean(), AXIS)

    return loss(images, texts, jnp.asarray(logit_scale, images.dtype))


def sharded_sigmoid_loss(
    image_embeddings: Float[Array, "B E"],
    text_embeddings: Float[Array, "B E"],
    logit_scale: Float[Array, ""] | float,
    logit_bias: Float[Array, ""] | float,
    mesh: Mesh,
) -> Scalar:
    """`losses.sigmoid_loss` of plain pairs as a ring: texts are handed on from device to device, and nothing is ever gathered. Lesson 17.

    After n - 1 hand-overs every picture has met every text; one device never holds more than (b, b) logits (Zhai et al. 2023, section 3.3).
    Raises `UserError` for a batch that the devices cannot share evenly.
    """
    images, texts = _checked(mesh, image_embeddings, text_embeddings)
    n, B = mesh.size, len(images)

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(AXIS), P(AXIS), P(), P()), out_specs=P())
    def loss(images: Float[Array, "b E"], texts: Float[Array, "b E"], scale: Scalar, bias: Scalar) -> Scalar:
        @jax.checkpoint
        def surprise(texts: Float[Array, "b E"], own: Any) -> Scalar:
            logits = scale * images @ texts.T + bias  # (b, b)
            true = own & jnp.eye(len(images), dtype=bool)
            return -jax.nn.log_sigmoid(jnp.where(true, logits, -logits)).sum()

        def hand_on(texts: Float[Array, "b E"], step: Array) -> tuple[Float[Array, "b E"], Scalar]:
            passed = jax.lax.ppermute(texts, AXIS, [(device, (device + 1) % n) for device in range(n)])
            return passed, surprise(texts, step == 0)

        _, sums = jax.lax.scan(hand_on, texts, jnp.arange(n))
        return jax.lax.psum(sums.sum(), AXIS) / B

    return loss(images, texts, *(jnp.asarray(x, images.dtype) for x in (logit_scale, logit_bias)))
