"""The arithmetic behind tests/peers/speed.py: FLOP counted by hand, by JAX, by XLA and by PyTorch; ratios; and the talk between its processes.

Only what asks PyTorch needs the `peers` extra (`pip install -e ".[peers]"`), and is skipped by name without it.
"""

import importlib.util
import json
import math
import os
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from tinyclip.config import CLIPConfig, TrainConfig
from tinyclip.data import Batch
from tinyclip.flops import forward_flops, step_flops
from tinyclip.train import initial_state, make_step

SCRIPT = Path(__file__).parent / "speed.py"
specification = importlib.util.spec_from_file_location("peers_speed", SCRIPT)
speed = importlib.util.module_from_spec(specification)
sys.modules[specification.name] = speed
specification.loader.exec_module(speed)

# All sizes differ: N = 10, T = 7, D = 12 and 8, MLP 20 and 28, E = 5, P = 3
UNEVEN = CLIPConfig.preset(
    "nano",
    image={"size": 9, "patch": 3, "width": 12, "depth": 2, "heads": 3, "mlp": 20},
    text={"vocab": 11, "end_token": 10, "context": 7, "width": 8, "depth": 3, "heads": 2, "mlp": 28},
    embed=5,
)


def by_hand(every_row):
    """Each product of the uneven model as (rows, inner, columns), forward: one picture's and one sentence's."""
    patches = [(9, 27, 12)]
    picture = []
    for R, K in ((10, 4), (10, 4) if every_row else (1, 12)):  # of one row, each head looks at whole tokens: it is 12 wide
        picture += 4 * [(R, 12, 12)]  # query, key, value, out
        picture += 3 * [(R, K, 10), (R, 10, K)]  # three heads: scores, weighted means
        picture += [(R, 12, 20), (R, 20, 12)]
    sentence = []
    for R, K in ((7, 4), (7, 4), (7, 4) if every_row else (1, 8)):
        sentence += 4 * [(R, 8, 8)]
        sentence += 2 * [(R, K, 7), (R, 7, K)]
        sentence += [(R, 8, 28), (R, 28, 8)]
    return patches, [*picture, (1, 12, 5)], [*sentence, (1, 8, 5)]


def flop(products):
    return sum(2 * a * b * c for a, b, c in products)


@pytest.mark.parametrize("every_row", [False, True])
def test_a_forward_pass_is_the_sum_of_its_products(every_row):
    patches, picture, sentence = by_hand(every_row)
    found = {name: sum(parts.values()) for name, parts in forward_flops(UNEVEN, every_row).items()}
    assert found == {"picture": flop(patches) + flop(picture), "sentence": flop(sentence)}


@pytest.mark.parametrize("every_row", [False, True])
def test_a_step_is_thrice_the_forward_pass_but_for_the_pictures_own_gradient(every_row):
    patches, picture, sentence = by_hand(every_row)
    B = 6
    want = B * (2 * flop(patches) + 3 * flop(picture) + 3 * flop(sentence)) + 3 * flop([(B, 5, B)])
    assert step_flops(UNEVEN, B, every_row) == want


def test_not_reading_rows_saves_what_only_they_need():
    """All of the last block but one row, whose heads look at whole tokens; the other blocks, patches and projections cost what they cost."""
    some, every = forward_flops(UNEVEN), forward_flops(UNEVEN, every_row=True)
    assert every["picture"]["linear"] - some["picture"]["linear"] == flop(4 * [(9, 12, 12)] + [(9, 12, 20), (9, 20, 12)])
    assert every["sentence"]["attention"] - some["sentence"]["attention"] == flop(2 * [(7, 4, 7), (7, 7, 4)]) - flop(2 * [(1, 8, 7), (1, 7, 8)])
    assert all(some["picture"][part] == every["picture"][part] for part in ("patches", "projection"))


def abstract_step(config, batch):
    """Our train step and what it is called with, as shapes."""
    run = TrainConfig(batch_size=batch)
    images = jax.ShapeDtypeStruct((batch, config.image.size, config.image.size, 3), jnp.float32)
    tokens, own = jax.ShapeDtypeStruct((batch, config.text.context), jnp.int32), jax.ShapeDtypeStruct((batch, batch), bool)
    return make_step(config, run), jax.eval_shape(lambda: initial_state(config, run)), Batch(images, tokens, own)


def traced_flops(jaxpr):
    """FLOP of every matrix product that JAX traced, inner functions included."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            inner = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
        total += sum(traced_flops(inner) for inner in jaxprs_in_params(equation.params))
    return total


@pytest.mark.parametrize("config", [UNEVEN, speed.CONFIG], ids=["uneven", "measured"])
def test_jax_traces_exactly_these_products(config):
    step, state, batch = abstract_step(config, 6)
    assert traced_flops(jax.make_jaxpr(step)(state, batch).jaxpr) == step_flops(config, 6)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="XLA does not see into the products that a card's library computes")
def test_xla_counts_a_little_more():
    """XLA adds one FLOP for each element of each elementwise operation and reduction, the optimiser's too: a few percent at these widths."""
    config = CLIPConfig.preset("tiny", image={"depth": 2}, text={"depth": 1})
    step, state, batch = abstract_step(config, 32)
    ratio = jax.jit(step).lower(state, batch).compile().cost_analysis()["flops"] / step_flops(config, 32)
    assert 1 < ratio < 1.1, f"XLA counts {ratio:.3f} times our {step_flops(config, 32):,.0f} FLOP"


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_has_our_parameters_and_multiplies_every_row():
    torch = pytest.importorskip("torch", reason="the peers extra is not installed: pip install -e '.[peers]'")
    transformers = pytest.importorskip("transformers", reason="the peers extra is not installed: pip install -e '.[peers]'")
    from torch.utils.flop_counter import FlopCounterMode

    described = transformers.CLIPConfig(**speed.hugging_face_config(UNEVEN))
    model = transformers.CLIPModel._from_config(described, attn_implementation="eager")
    ours = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(lambda: initial_state(UNEVEN, TrainConfig())).params))
    assert sum(p.numel() for p in model.parameters()) == ours
    tokens = torch.tensor([[3, 4, 10, 0, 0, 0, 0]] * 6)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=tokens, pixel_values=torch.zeros(6, 3, 9, 9), return_loss=True).loss.backward()
    assert counter.get_total_flops() == step_flops(UNEVEN, 6, every_row=True)


# Rounds that a busy machine could give: the second twice as slow for everybody.
TIMES = {
    "tinyclip": [0.1, 0.2, 0.1],
    "tinyclip_every_row": [0.15, 0.3, 0.15],
    "eager": [0.3, 0.6, 0.27],
    "tuned": [0.2, 0.4, 0.2],
    "compiled": [0.25, 0.5, 0.1],
}
WORK = {"tinyclip": 10e9, "tinyclip_every_row": 15e9, "eager": 15e9, "tuned": 15e9, "compiled": 15e9}
RATES = {"tinyclip": [200.0, 100.0, 160.0], "torch": [190.0, 95.0, 190.0]}


def test_ratios_are_taken_within_a_round():
    found = speed.summary(TIMES, WORK, RATES)
    assert found["best"] == "tuned"  # by its median: one lucky round does not make `compiled` the best
    want = {
        "tinyclip_ms": 100, "tinyclip_ms_lowest": 100, "tinyclip_ms_highest": 200, "tinyclip_pairs_per_second": 2560, "tinyclip_gflops": 100,
        "eager_gflops": 50, "tinyclip_share_of_matrix_rate": 0.5, "tinyclip_share_of_matrix_rate_highest": 0.625,
        "lead_over_eager": 3, "lead_over_eager_lowest": 2.7, "lead_over_best": 2, "lead_over_best_lowest": 2, "lead_over_best_highest": 2,
        "lead_over_eager_by_less_work": 1.5, "lead_over_eager_by_speed": 2, "lead_over_best_by_speed": 4 / 3,
        "lead_over_eager_at_the_same_work": 2, "lead_over_best_at_the_same_work": 4 / 3, "tinyclip_gflop_a_step": 10,
    }  # fmt: skip
    assert {name: found[name] for name in want} == pytest.approx(want)
    assert all(isinstance(value, str | int | float) for value in found.values()), "--json promises one flat object"


def test_the_table_says_all_of_it():
    text = speed.table(speed.summary(TIMES, WORK, RATES), {name: f"what {name} is" for name in TIMES})
    assert re.search(r"tinyclip over best \(tuned\): 2\.00 \(2\.00 to 2\.00\)x = 1\.50x less work x 1\.33 \(1\.33 to 1\.33\)x speed", text), text
    assert all(f"{name}: what {name} is" in text for name in TIMES)


def test_everybody_is_measured_in_every_round_and_in_every_place():
    orders = speed.turns("abc", 6)
    assert all(sorted(order) == list("abc") for order in orders)
    assert all({order[place] for order in orders} == set("abc") for place in range(3))
    assert {(order[k], order[k + 1]) for order in orders for k in (0, 1)} > {("a", "b"), ("b", "a")}, "somebody always follows the same neighbour"


ECHO = """
import json, sys
print(json.dumps({"parameters": 3, "about": "an echo"}), flush=True)
answers = {"steps": lambda n: {"seconds": n, "loss": 5.5}, "matrix": lambda n: {"rate": 100.0}, "jump": lambda n: {"error": "no such thing"}}
for line in sys.stdin:
    command, number = line.split()
    print(json.dumps(answers[command](int(number))), flush=True)
"""


def test_a_side_answers_until_it_is_closed_and_its_end_is_noticed():
    child = speed.Child([sys.executable, "-c", ECHO], dict(os.environ))
    assert child.read() == {"parameters": 3, "about": "an echo"}
    assert [child.ask("steps", n)["seconds"] for n in (10, 20)] == [10, 20]
    with pytest.raises(SystemExit, match="no such thing"):
        child.ask("jump")
    child.close()
    assert child.process.returncode == 0
    gone = speed.Child([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ))
    assert gone.read() == {"error": "its process ended with code 3"}
    with pytest.raises(SystemExit, match="ended with code 3"):
        gone.ask("steps", 10)
    gone.close()


def stand_in(side):
    code = ECHO if side.name != "compiled" else "print('{\"error\": \"no compiler\"}')"
    return speed.Child([sys.executable, "-c", code], dict(os.environ))


def test_a_setting_that_does_not_run_is_left_out_and_said(monkeypatch, capsys):
    monkeypatch.setattr(speed, "start", stand_in)
    monkeypatch.setattr(speed, "PAUSE", 0)
    monkeypatch.setattr(sys, "argv", ["speed.py", "--rounds", "2", "--steps", "20", "--json"])
    speed.main()
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["eager_ms"] == 1000 and found["lead_over_eager"] == 1 and found["rounds"] == 2 and "compiled_ms" not in found
    assert "left out: compiled does not run here (no compiler)" in err


def test_batches_are_sentences_and_the_same_for_all():
    images, tokens = speed.batches()
    end = speed.CONFIG.text.end_token
    assert images.shape == (speed.BATCHES, 256, 32, 32, 3) and tokens.shape == (speed.BATCHES, 256, 16)
    assert ((tokens == end).sum(-1) == 1).all(), "every sentence has one end token"
    assert ((tokens == 0).sum(-1) + (tokens == end).argmax(-1) == 15).all(), "after the end token there is padding only"
    assert all(np.array_equal(a, b) for a, b in zip(speed.batches(), (images, tokens), strict=True)), "another process draws others"
