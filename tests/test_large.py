"""A model as large as ViT-B/32, with random weights: how long it takes to load and to embed, and how much memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import importing
from safetensors.numpy import save_file

from tinyclip import openai
from tinyclip.bpe import BPE
from tinyclip.config import CLIPConfig

MEASURE = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
import tinyclip, jax
jax.numpy.zeros(1).block_until_ready()
start = time.perf_counter()
bundle = tinyclip.load(sys.argv[1])
jax.block_until_ready(jax.tree.leaves(bundle.model.image.blocks[11].mlp.down.kernel[...]))
loaded = time.perf_counter() - start
try:  # of this program alone: getrusage would also count the memory of the one that started it
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
except FileNotFoundError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
pictures = np.random.default_rng(0).integers(0, 256, size=(32, 224, 224, 3), dtype=np.uint8)
seconds = []
for _ in range(4):
    start = time.perf_counter()
    bundle.embed_images(pictures)
    seconds.append(time.perf_counter() - start)
print(json.dumps({"load": loaded, "peak": peak, "embed": min(seconds[1:])}))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A snapshot under Hugging Face's names. Its merges pair bytes, whatever they mean, until the vocabulary is full."""
    folder, config, rng = tmp_path_factory.mktemp("large"), CLIPConfig.preset("vit_b_32"), np.random.default_rng(0)
    tensors = {piece.name: np.asarray(0.02 * rng.standard_normal(piece.shape, np.float32), np.float32) for _, piece in openai.hugging_face(config)}
    save_file(tensors, folder / "model.safetensors")
    letters = BPE(()).tokens[:256]
    pairs = [(a, b) for a in letters for b in letters][: 49_408 - 514]
    tokenizer = BPE(tuple(pairs))
    (folder / "merges.txt").write_text("\n".join(map(" ".join, pairs)))
    (folder / "vocab.json").write_text(json.dumps(tokenizer.ids))
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": {}, "text_config": {}, "projection_dim": 512}))
    return folder


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell a process's peak memory this way")
def test_a_model_of_600_megabytes_loads_quickly_and_without_copies(large):
    size = (large / "model.safetensors").stat().st_size
    environment = os.environ | importing(Path(openai.__file__).parents[1]) | {"XLA_FLAGS": ""}
    found: dict[str, float] = {}
    for _ in range(3):  # where neighbours are busy, the best of three says more about tinyclip
        ended = subprocess.run([sys.executable, "-c", MEASURE, str(large)], capture_output=True, text=True, env=environment, timeout=300)
        assert ended.returncode == 0, f"the program that loads the model should succeed, but ended with {ended.stderr[-1500:]}"
        print(json.loads(ended.stdout) | {"file": size})
        found = {name: min(value, found.get(name, value)) for name, value in json.loads(ended.stdout).items()}
        if found["load"] < 2 * 3 and found["embed"] < 2 * 2.5:
            break
    assert found["load"] < 2 * 3, f"loading took {found['load']:.1f} s; the goal on two idle cores is 3 s"
    assert found["embed"] < 2 * 2.5, f"32 pictures took {found['embed']:.1f} s; the goal on two idle cores is 2.5 s"
    assert found["peak"] < 2.2 * size, f"{found['peak'] / size:.2f} times the file in memory: is the whole file copied?"
