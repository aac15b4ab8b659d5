"""How much faster our train step is than that of Hugging Face's `CLIPModel` in PyTorch, and why: less work, or the same work done faster.

    pip install -e ".[test,peers]" && python tests/peers/speed.py [--rounds N] [--steps N] [--json]

A step is forward, backward, clipping to a global norm and AdamW, on the same sizes and the same batches, in float32 on the CPU. Every side
lives in a process of its own, so that neither threads nor allocators meet, and they are measured in turn: round after round each does a few
steps while the others sleep. A ratio is taken within a round and then the median over rounds, so a machine that slows down slows both sides.

- `tinyclip`: `train.make_step` inside `lax.scan`, several steps a call, as `train` runs it; only the row that is read of a last block.
- `tinyclip_every_row`: the same, but every row of the last blocks, as Hugging Face does it: equal arithmetic, so what it leads by is speed.
- `eager`: `CLIPModel` as a PyTorch user first writes it: eager, `torch.optim.AdamW`, `clip_grad_norm_`.
- the others: the best honest settings we know; `best` is whichever is fastest here.

Less work is a choice PyTorch could make too: nobody keeps it from computing one row of its last block. So the lead is told in two parts:
lead = (arithmetic of theirs / arithmetic of ours) x (our arithmetic a second / their arithmetic a second). Arithmetic is that of matrix products,
counted by `tinyclip.flops`; PyTorch's fused attention computes its scores a second time in the backward pass, 0.5 % more, which is not counted.

Only an idle machine gives figures worth keeping: neighbours hurt PyTorch, whose threads wait for each other at every operation, far more than us.
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinyclip.config import CLIPConfig, TrainConfig
from tinyclip.flops import step_flops

CONFIG = CLIPConfig.preset("tiny", image={"depth": 3}, text={"width": 96, "mlp": 384})
RUN = TrainConfig(batch_size=256, learning_rate=1e-4, weight_decay=0.2, steps=1_000_000, shared_positives=False)
BATCHES = RUN.chunk  # different ones, taken in turn: a batch that never changed could be laid out once and for all
PAUSE = 0.2  # seconds between two turns, in which the last one's threads stop looking for work

# glibc gives freed memory back to the kernel, which zeroes it page by page before the next step gets it: let it keep what it has, in huge pages.
KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**36),
    "MALLOC_TOP_PAD_": str(2**28),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


@dataclass(frozen=True)
class Side:
    """One way to train, in a process of its own."""

    name: str
    library: str = "torch"  # or tinyclip
    every_row: bool = True  # compute every row of the last blocks
    keep_memory: bool = False  # tune glibc's allocator
    fused: bool = False  # AdamW in one kernel, clipping over all tensors at once
    compiled: bool = False  # torch.compile
    attention: str = "sdpa"  # transformers' choice for CLIP, or eager


SIDES = (
    Side("tinyclip", "tinyclip", every_row=False),
    Side("tinyclip_every_row", "tinyclip"),
    Side("eager"),
    Side("tuned", keep_memory=True, fused=True),
    Side("compiled", keep_memory=True, fused=True, compiled=True),
    Side("compiled_plain_attention", keep_memory=True, fused=True, compiled=True, attention="eager"),
)


class Worker(NamedTuple):
    """What a side can do once it is set up, and what it is."""

    run: Callable[[int], float]  # so many steps; the last one's loss
    matrix_rate: Callable[[], float]  # GFLOP/s of large matrix products, with this library
    parameters: int
    about: str


def cores() -> int:
    """Those that this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batches() -> tuple[np.ndarray, np.ndarray]:
    """Noise for pictures (steps, B, S, S, 3), and sentences of random words (steps, B, T): every length, one end token, padding after it."""
    rng, text, B = np.random.default_rng(0), CONFIG.text, RUN.batch_size
    images = rng.normal(size=(BATCHES, B, CONFIG.image.size, CONFIG.image.size, 3)).astype(np.float32)
    tokens = rng.integers(1, text.end_token, size=(BATCHES, B, text.context))
    ends, positions = rng.integers(2, text.context, size=(BATCHES, B, 1)), np.arange(text.context)
    return images, np.where(positions < ends, tokens, np.where(positions == ends, text.end_token, 0))


def tinyclip_worker(side: Side) -> Worker:
    """Our step in a scan of `RUN.chunk` steps, the state donated from call to call as in `train`."""
    import jax
    import jax.numpy as jnp

    from tinyclip import encoders
    from tinyclip.benchmark import matrix_rate
    from tinyclip.data import Batch
    from tinyclip.train import initial_state, make_step, many_steps

    def every_row(blocks: Any, x: jax.Array, mask: Any, read: jax.Array, record: Any) -> jax.Array:
        for block in blocks:
            x, _ = block(x, mask)
        return jnp.take_along_axis(x, read[:, None, None], axis=1)[:, 0]

    if side.every_row:
        encoders.run_blocks = every_row
    images, tokens = batches()
    own = jnp.broadcast_to(jnp.eye(RUN.batch_size, dtype=bool), (BATCHES, RUN.batch_size, RUN.batch_size))
    given, chunk = jax.device_put(Batch(images, tokens.astype(np.int32), own)), many_steps(make_step(CONFIG, RUN))
    state = initial_state(CONFIG, RUN)

    def run(steps: int) -> float:
        nonlocal state
        for _ in range(steps // RUN.chunk):
            state, measures = chunk(state, given)
            loss = jax.device_get(measures).loss[-1]
        return float(loss)

    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return Worker(run, matrix_rate, parameters, f"jax {jax.__version__}, {RUN.chunk} steps a call")


def hugging_face_config(config: CLIPConfig) -> dict[str, Any]:
    """The same model in `transformers`' words."""

    def tower(part: Any) -> dict[str, Any]:
        sizes = {"hidden_size": part.width, "num_hidden_layers": part.depth, "num_attention_heads": part.heads, "intermediate_size": part.mlp}
        return sizes | {"hidden_act": part.activation, "layer_norm_eps": part.eps, "projection_dim": config.embed}

    image, text = config.image, config.text
    words = {"vocab_size": text.vocab, "max_position_embeddings": text.context, "eos_token_id": text.end_token}
    return {
        "projection_dim": config.embed,
        "vision_config": tower(image) | {"image_size": image.size, "patch_size": image.patch},
        "text_config": tower(text) | words | {"bos_token_id": 1, "pad_token_id": 0},
    }


def torch_worker(side: Side) -> Worker:
    """Hugging Face's model, its own loss, and the optimiser with our groups, betas and epsilon."""
    import torch
    import transformers

    torch.manual_seed(0)
    torch.set_num_threads(cores())
    if side.name != "eager":
        torch.set_flush_denormal(True)
    described = transformers.CLIPConfig(**hugging_face_config(CONFIG))
    model = transformers.CLIPModel._from_config(described, attn_implementation=side.attention).train()
    images, tokens = batches()
    pixels, ids = torch.tensor(images).permute(0, 1, 4, 2, 3).contiguous(), torch.tensor(tokens)  # (steps, B, 3, S, S), (steps, B, T)
    plain = {name for name, p in model.named_parameters() if p.ndim <= 1 or "position_embedding" in name}
    groups = [
        {"params": [p for name, p in model.named_parameters() if (name in plain) == without], "weight_decay": 0.0 if without else RUN.weight_decay}
        for without in (False, True)
    ]
    optimizer = torch.optim.AdamW(groups, lr=RUN.learning_rate, betas=(0.9, 0.98), eps=1e-6, fused=side.fused or None)

    def loss_of(pixels: Any, ids: Any) -> Any:
        return model(input_ids=ids, pixel_values=pixels, return_loss=True).loss

    compute = torch.compile(loss_of, dynamic=False) if side.compiled else loss_of
    done = 0

    def run(steps: int) -> float:
        nonlocal done
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = compute(pixels[done % BATCHES], ids[done % BATCHES])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), RUN.clip_norm, foreach=side.fused or None)
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            done += 1
        return loss.item()

    def matrix_rate(size: int = 2048) -> float:
        a, taken = torch.randn(size, size), []
        for _ in range(6):
            clock = time.perf_counter()
            a @ a
            taken.append(time.perf_counter() - clock)
        return 2 * size**3 / statistics.median(taken[1:]) / 1e9

    parts = [f"torch {torch.__version__}, transformers {transformers.__version__}", f"{side.attention} attention"]
    parts += ["fused AdamW"] * side.fused + ["allocator keeps its memory"] * side.keep_memory + ["torch.compile"] * side.compiled
    return Worker(run, matrix_rate, sum(p.numel() for p in model.parameters()), ", ".join(parts))


def serve(side: Side) -> None:
    """The child's life: set up, warm up, say so, then answer "steps N" with seconds and "matrix 0" with GFLOP/s, a JSON line each."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not be taken for an answer

    def answer(**found: Any) -> None:
        print(json.dumps(found), file=answers)

    try:
        worker = (tinyclip_worker if side.library == "tinyclip" else torch_worker)(side)
        worker.run(2 * RUN.chunk)
    except Exception as error:
        return answer(error=" ".join(f"{type(error).__name__}: {error}".split())[:300])
    answer(parameters=worker.parameters, about=worker.about)
    for line in sys.stdin:
        command, number = line.split()
        if command == "matrix":
            answer(rate=worker.matrix_rate())
        else:
            clock = time.perf_counter()
            loss = worker.run(int(number))
            answer(seconds=time.perf_counter() - clock, loss=loss)


class Child:
    """The parent's end of a side. It sleeps, blocked on its input, until it is asked."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment)

    def read(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": f"its process ended with code {self.process.wait()}"}

    def ask(self, command: str, number: int = 0) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):  # `read` says what became of it
            self.process.stdin.write(f"{command} {number}\n")
        found = self.read()
        if "error" in found:
            raise SystemExit(f"a side stopped in the middle: {found['error']}")
        return found

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def start(side: Side) -> Child:
    environment = {name: value for name, value in os.environ.items() if name not in KEEP_MEMORY}
    environment |= {"JAX_PLATFORMS": "cpu"} | (KEEP_MEMORY if side.keep_memory else {})
    return Child([sys.executable, str(Path(__file__).resolve()), "--side", json.dumps(asdict(side))], environment)


def turns(names: Sequence[str], rounds: int) -> list[list[str]]:
    """Who is measured when: every round in another order, so that nobody always follows the same one, or comes last."""
    return [[*names[k % len(names) :], *names[: k % len(names)]][:: 1 if k // len(names) % 2 == 0 else -1] for k in range(rounds)]


def middle(values: Sequence[float]) -> dict[str, float]:
    """Median, and the spread over rounds."""
    return {"": statistics.median(values), "_lowest": min(values), "_highest": max(values)}


def summary(times: dict[str, list[float]], work: dict[str, float], rates: dict[str, list[float]]) -> dict[str, Any]:
    """All that follows from seconds a step (a number a round), FLOP a step and GFLOP/s of large matrix products, as one flat object.

    `work` and `times` have the same names; a lead and its two parts, and a share, are medians of what each round gives.
    """
    found: dict[str, Any] = {}

    def put(name: str, values: Sequence[float]) -> None:
        found.update({f"{name}{end}": value for end, value in middle(values).items()})

    def divide(a: Sequence[float], b: Sequence[float]) -> list[float]:
        return [x / y for x, y in zip(a, b, strict=True)]

    theirs = [name for name in times if not name.startswith("tinyclip")]
    found["best"] = min(theirs, key=lambda name: statistics.median(times[name]))
    for library, values in rates.items():
        put(f"{library}_matrix_gflops", values)
    for name, seconds in times.items():
        achieved = [work[name] / t / 1e9 for t in seconds]
        put(f"{name}_ms", [1e3 * t for t in seconds])
        put(f"{name}_pairs_per_second", [RUN.batch_size / t for t in seconds])
        put(f"{name}_gflops", achieved)
        put(f"{name}_share_of_matrix_rate", divide(achieved, rates["tinyclip"]))
        found[f"{name}_gflop_a_step"] = work[name] / 1e9
    for name, other in (("eager", "eager"), ("best", found["best"])):
        lead, less = divide(times[other], times["tinyclip"]), work[other] / work["tinyclip"]
        put(f"lead_over_{name}", lead)
        found[f"lead_over_{name}_by_less_work"] = less
        put(f"lead_over_{name}_by_speed", [x / less for x in lead])
        put(f"lead_over_{name}_at_the_same_work", divide(times[other], times["tinyclip_every_row"]))
    return found


def table(found: dict[str, Any], abouts: dict[str, str]) -> str:
    """The summary for people."""

    def span(name: str, form: str) -> str:
        return f"{found[name]:{form}} ({found[f'{name}_lowest']:{form}} to {found[f'{name}_highest']:{form}})"

    lines = [f"{'':26}{'ms a step (over rounds)':>28}{'pairs/s':>9}{'GFLOP a step':>14}{'GFLOP/s':>9}{'share':>7}"]
    for name in abouts:
        numbers = f"{found[f'{name}_pairs_per_second']:9.0f}{found[f'{name}_gflop_a_step']:14.2f}{found[f'{name}_gflops']:9.1f}"
        lines.append(f"{name:26}{span(f'{name}_ms', '.1f'):>28}{numbers}{found[f'{name}_share_of_matrix_rate']:7.0%}")
    lines += [
        "",
        f"share: of the rate of large matrix products, {span('tinyclip_matrix_gflops', '.0f')} GFLOP/s with JAX "
        f"({found['torch_matrix_gflops']:.0f} with PyTorch); only the arithmetic of matrix products counts",
    ]
    for name, other in (("eager", "eager"), ("best", found["best"])):
        lead, less, speed = (f"lead_over_{name}{end}" for end in ("", "_by_less_work", "_by_speed"))
        lines += [
            f"tinyclip over {name + (f' ({other})' if other != name else '')}: {span(lead, '.2f')}x"
            f" = {found[less]:.2f}x less work x {span(speed, '.2f')}x speed; made to do the same work: {span(f'{lead}_at_the_same_work', '.2f')}x"
        ]
    return "\n".join([*lines, "", *(f"{name}: {about}" for name, about in abouts.items())])


def measure(rounds: int, steps: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Start every side, let them take turns, and sum up; a setting that does not work here is left out, and said."""
    children, abouts, parameters = {}, {}, {}
    try:
        for side in SIDES:  # one after the other: they compile
            child = start(side)
            ready = child.read()
            if "error" in ready:
                child.close()
                if side.name in ("tinyclip", "tinyclip_every_row", "eager"):
                    raise SystemExit(f"{side.name} does not run: {ready['error']}")
                print(f"left out: {side.name} does not run here ({ready['error']})", file=sys.stderr)
                continue
            children[side.name], abouts[side.name], parameters[side.name] = child, ready["about"], ready["parameters"]
        if len(set(parameters.values())) > 1:
            raise SystemExit(f"the models differ in size, so nothing can be compared: {parameters}")
        times: dict[str, list[float]] = {name: [] for name in children}
        rates: dict[str, list[float]] = {"tinyclip": [], "torch": []}
        losses: dict[str, float] = {}
        for k, names in enumerate(turns(list(children), rounds)):
            print(f"round {k + 1} of {rounds}", file=sys.stderr)
            for name in names:
                time.sleep(PAUSE)
                found = children[name].ask("steps", steps)
                times[name].append(found["seconds"] / steps)
                losses[name] = found["loss"]
            for library, name in (("tinyclip", "tinyclip"), ("torch", "eager")):
                time.sleep(PAUSE)
                rates[library].append(children[name].ask("matrix")["rate"])
    finally:
        for child in children.values():
            child.close()
    if not all(math.isfinite(loss) for loss in losses.values()):
        raise SystemExit(f"a side does not train: its loss is no number: {losses}")
    work = {side.name: step_flops(CONFIG, RUN.batch_size, side.every_row) for side in SIDES if side.name in children}
    found = {"cores": cores(), "batch": RUN.batch_size, "parameters": parameters["tinyclip"], "rounds": rounds, "steps": steps}
    return found | {f"{name}_loss": loss for name, loss in losses.items()} | summary(times, work, rates), abouts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="how often every side is measured (default: 20)")
    parser.add_argument("--steps", type=int, default=RUN.chunk, metavar="N", help=f"steps a measurement, a multiple of {RUN.chunk}")
    parser.add_argument("--json", action="store_true", help="one flat object instead of a table")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        return serve(Side(**json.loads(asked.side)))
    if asked.rounds < 1 or asked.steps < 1 or asked.steps % RUN.chunk:
        parser.error(f"--rounds is at least 1, and --steps a multiple of {RUN.chunk}")
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5:
        print(f"other programs are running (load {os.getloadavg()[0]:.1f}): these figures will flatter us", file=sys.stderr)
    found, abouts = measure(asked.rounds, asked.steps)
    print(json.dumps(found, indent=1) if asked.json else table(found, abouts))
    return None


if __name__ == "__main__":
    main()
