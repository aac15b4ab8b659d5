"""What `tinyclip bench` tells: that its figures hang together, and that it times what it says."""

import json
import math
import time

import jax.numpy as jnp
import pytest
from trained import works

from tinyclip import benchmark
from tinyclip.config import CLIPConfig, TrainConfig
from tinyclip.flops import step_flops

TRICKS = {
    "20_steps_a_call", "one_product_a_core", "compiling_soon", "running_what_compiled_soon", "flat_matrix_products", "only_the_row_that_is_read",
    "only_the_shape_that_is_there",
}  # fmt: skip
COSTS = {"full": [(256, 2e6, 0.5), (512, 8e6, math.nan)], "blocks": [(256, 1e6, 0.25)]}


def test_the_call_that_compiles_is_not_timed():
    waits = iter([0.4, 0.0])
    taken = benchmark.seconds(lambda: time.sleep(next(waits)), 1)
    assert taken < 0.2, f"the first call takes 0.4 s and compiles; the one that is timed takes 0, not {taken:.2f} s"


def test_a_rate_counts_the_pairs_of_every_step_of_a_call(monkeypatch):
    calls = []
    monkeypatch.setattr(benchmark, "initial_state", lambda config, run: None)
    monkeypatch.setattr(benchmark, "many_steps", lambda step: lambda state, inputs: (state, step(inputs)))
    monkeypatch.setattr(benchmark, "seconds", lambda run, times: calls.append(run()) or 2.0)

    class Measured:
        loss = jnp.zeros(5)

    rate = benchmark.pairs_per_second(lambda inputs: Measured, CLIPConfig(), TrainConfig(batch_size=8), jnp.arange(5))
    assert len(calls) == 1 and rate == 8 * 5 / 2, f"5 steps of 8 pairs in 2 s are 20 pairs a second, not {rate}"


def test_the_costs_of_the_loss_are_timed_up_to_a_size_and_grow_as_they_should():
    costs = benchmark.loss_costs([256, 512, 1024], width=8, measured=512)
    full, blocks = costs["full matrix"], costs["in blocks of rows"]
    for name, rows in costs.items():
        assert [n for n, _, _ in rows] == [256, 512, 1024], f"{name}: a row for each number of pairs"
        assert [math.isnan(passed) for _, _, passed in rows] == [False, False, True], f"{name}: above 512 pairs nothing should be timed"
    assert full[2][1] > 3 * full[1][1], "with twice the pairs, the full matrix should take four times the memory"
    assert blocks[2][1] < full[2][1], "of 1,024 pairs, blocks of rows should take less memory than the full matrix"


def test_losses_gives_no_time_where_none_was_taken(monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "loss_costs", lambda numbers: COSTS)
    figures = benchmark.losses(tmp_path / "costs.png")
    memory = {"memory_full_256": (2.0, "MB"), "memory_full_512": (8.0, "MB"), "memory_blocks_256": (1.0, "MB")}
    assert figures == memory | {"time_full_256": (0.5, "s"), "time_blocks_256": (0.25, "s")}, "512 pairs were not timed"
    assert (tmp_path / "costs.png").stat().st_size > 0, "the picture should be there"


@pytest.mark.slow
def test_the_figures_of_bench_hang_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = json.loads(works("bench", "--size", "nano", "--batch-size", "8", "--tricks", "--json"))
    bad = {name: value for name, value in found.items() if not (math.isfinite(value) and value > 0)}
    assert not bad, f"every figure should be a positive number: {bad}"
    assert set(found) >= TRICKS, f"with --tricks these should be there, too: {sorted(TRICKS - set(found))}"
    each = step_flops(benchmark.config_of("nano", "float32"), 8) / 8
    assert found["train_step_arithmetic_a_pair"] == pytest.approx(each / 1e6, abs=1e-3)
    rate, machine = found["train_step_arithmetic"], found["matrix_products_float32"]
    assert rate == pytest.approx(found["train_step_nano_float32"] * each / 1e9, rel=1e-3), "arithmetic a second is pairs a second x arithmetic a pair"
    assert found["train_step_share"] == pytest.approx(100 * rate / machine, rel=1e-2), "the share is of the machine's rate, in percent"
    for what in ("picture", "sentence"):
        rate = found[f"embedding_{what}s"] * found[f"embedding_arithmetic_a_{what}"] / 1e3
        assert found[f"embedding_{what}s_arithmetic"] == pytest.approx(rate, rel=1e-2), f"of {what}s, too"
    for name in ("train_step_share", "embedding_pictures_share", "embedding_sentences_share"):
        assert found[name] < 100, f"{name}: nothing should be quicker than the machine's large matrix products"


@pytest.mark.slow
def test_the_start_is_quicker_with_what_was_compiled_before():
    found = {name: value for name, (value, _) in benchmark.start_up(1).items()}
    assert set(found) == {"import_tinyclip", "tinyclip_help", "first_step_cold", "first_step_cached"}
    assert found["import_tinyclip"] < found["first_step_cached"] < found["first_step_cold"], f"with a full cache it should be quicker: {found}"
