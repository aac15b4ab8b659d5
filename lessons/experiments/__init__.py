"""The experiments of lessons 12 to 16: train each condition with several seeds, score it on what it never saw, keep one small model of each.

One module an experiment; its `EXPERIMENT` says what is compared. `python -m lessons.experiments NAME` trains and scores all of it and writes
`data/experiments/NAME/`: `results.json` (every score of every seed, and the command) and each condition's model of its first seed, in float16.
Scores are those of the rounded weights, so what is committed scores exactly what the table says. The lessons only load and look.
"""

import importlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file, save

HOME = Path(__file__).resolve().parent.parent.parent / "data" / "experiments"
NAMES = ("blind_spots", "gap", "fairness", "video", "sound", "touch", "smell")
Params = Any  # a tree of arrays: an nnx.State, or a dict of them


@dataclass(frozen=True)
class Condition:
    """One thing that is tried: how to train it from a seed, and how to score what came out."""

    name: str
    train: Callable[[int], Params]
    score: Callable[[Params], dict[str, float]]
    like: Callable[[], Params]  # parameters of this structure, for `jax.eval_shape`


@dataclass(frozen=True)
class Experiment:
    """A question, and the conditions that answer it beside each other, controls among them."""

    name: str
    question: str
    conditions: tuple[Condition, ...]

    def __getitem__(self, name: str) -> Condition:
        return next(condition for condition in self.conditions if condition.name == name)

    @property
    def folder(self) -> Path:
        return HOME / self.name

    def run(self, seeds: Sequence[int] = (0, 1, 2), only: Sequence[str] = (), say: Callable[[str], None] = print) -> None:
        """Train and score; what is in the table already and is not asked for stays."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for condition in self.conditions:
            if only and condition.name not in only:
                continue
            for seed in seeds:
                clock = time.perf_counter()
                params = rounded(condition.train(seed))
                seconds = time.perf_counter() - clock
                scores = {key: round(float(value), 4) for key, value in condition.score(params).items()}
                if seed == 0:
                    self.path(condition.name).write_bytes(save(named(params, np.float16)))
                self._note(condition.name, seed, scores | {"seconds": round(seconds, 1)})
                say(f"{self.name} · {condition.name} · seed {seed} · {seconds:.0f} s · " + ", ".join(f"{k} {v:g}" for k, v in scores.items()))

    def path(self, condition: str) -> Path:
        """Where a condition's model lies."""
        return self.folder / f"{condition.replace(' ', '-')}.safetensors"

    def load(self, condition: str) -> Params:
        """The committed model of a condition, in float32."""
        saved = load_file(self.path(condition))
        like = jax.eval_shape(self[condition].like)
        leaves = [jnp.asarray(saved[name], jnp.float32).reshape(leaf.shape) for name, leaf in _named_leaves(like)]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    def results(self) -> dict[str, dict[str, dict[str, float]]]:
        """Condition -> seed -> its scores."""
        path = self.folder / "results.json"
        return json.loads(path.read_text())["results"] if path.is_file() else {}

    def spread(self, condition: str, score: str) -> tuple[float, float, float]:
        """Mean, least and largest of a score over the seeds."""
        values = [scores[score] for scores in self.results()[condition].values()]
        return sum(values) / len(values), min(values), max(values)

    def _note(self, condition: str, seed: int, scores: dict[str, float]) -> None:
        results = self.results()
        results.setdefault(condition, {})[str(seed)] = scores
        self.write(results, f"python -m lessons.experiments {self.name}")

    def write(self, results: dict[str, dict[str, dict[str, float]]], command: str) -> None:
        """The table: condition -> seed -> its scores, and the command that makes it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        table = {"question": self.question, "command": command, "results": results}
        (self.folder / "results.json").write_text(json.dumps(table, indent=1) + "\n")


def get(name: str) -> Experiment:
    """The experiment of that name."""
    return importlib.import_module(f"{__name__}.{name}").EXPERIMENT


def rounded(params: Params) -> Params:
    """As they are after having been stored in float16."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float16).astype(jnp.float32), params)


def named(params: Params, dtype: Any) -> dict[str, np.ndarray]:
    """The leaves by the names of their paths."""
    return {name: np.asarray(leaf, dtype) for name, leaf in _named_leaves(params)}


def _named_leaves(tree: Params) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
