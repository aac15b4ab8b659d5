"""What XLA is asked: only what it knows, and only on a CPU."""

import jax
import jax.numpy as jnp
import pytest

from tinyclip import compiling


@pytest.mark.parametrize(
    ("jaxlib", "older", "sums"),
    [("0.7.2", False, False), ("0.8.0", True, False), ("0.9.2", True, False), ("0.10.2", True, True), ("0.11.0", False, False)],
)
def test_an_option_is_given_only_to_a_jaxlib_that_knows_it(monkeypatch, jaxlib, older, sums):
    monkeypatch.setattr(compiling, "version", lambda package: jaxlib)
    monkeypatch.setattr(compiling.os, "cpu_count", lambda: 2)
    given = {"soon": compiling.soon(1).keys() >= compiling.OLDER_LOOPS.keys()}
    given["products_apart"] = compiling.products_apart().keys() >= compiling.ONLY_SUMS_TO_YNNPACK.keys()
    assert given == {"soon": older, "products_apart": sums}, f"jaxlib {jaxlib}: XLA refuses an option that it does not know, got {given}"


def test_products_are_kept_apart_only_where_there_are_few_cores(monkeypatch):
    for cores, want in ((1, True), (2, True), (3, False), (None, True)):
        monkeypatch.setattr(compiling.os, "cpu_count", lambda cores=cores: cores)
        assert bool(compiling.products_apart()) == want, f"products_apart: with {cores} cores it should be {'something' if want else 'nothing'}"


def test_a_gpu_is_asked_nothing(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiling.on_cpu(1, **compiling.ONE_PRODUCT_A_CORE) is None, "on_cpu: a GPU should get XLA's own defaults"


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="only a CPU is asked anything")
def test_this_xla_takes_all_options_and_computes_the_same(monkeypatch):
    monkeypatch.setattr(compiling.os, "cpu_count", lambda: 2)
    a = jnp.arange(12.0).reshape(3, 4)
    options = compiling.on_cpu(1, **compiling.products_apart())
    assert options, "on_cpu: on a CPU there should be options"
    product = jax.jit(lambda a: (a @ a.T).sum(), compiler_options=options)(a)
    assert product == (a @ a.T).sum(), f"the sum of a product of small integers is exact, got {product}"
