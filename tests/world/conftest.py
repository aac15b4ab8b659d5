"""What the tests of the world share: pictures are drawn once, by one compiled program for each world and resolution."""

import re
from functools import cache

import jax
import numpy as np
import pytest
from trained import compiled_once

from tinyclip.compiling import on_cpu
from tinyclip.world import get_world

SENTENCES = 4000
MANY, FEW = 500, 20  # pictures at 24 and at any other resolution: every number of pictures costs one more compilation


@cache
def _program(name, size):
    return jax.jit(lambda scenes: get_world(name).draw(scenes, size), compiler_options=on_cpu(0))


@cache
def _caption(name):
    return jax.jit(get_world(name).caption, compiler_options=on_cpu(0))


@cache
def _captioned(name):
    world = get_world(name)
    meaning = world.seen[np.random.default_rng(2).integers(len(world.seen), size=SENTENCES)]
    tokens, said = map(np.asarray, _caption(name)(jax.random.key(4), meaning))
    words = np.array(["", *world.tokenizer().words, "", ""])[tokens]  # decoded in bulk; test_tokenizer.py tests decode()
    return meaning, tokens, said, [" ".join(filter(None, row)) for row in words]


@cache
def _drawn(name, size):
    scenes = get_world(name).sample(jax.random.key(11), MANY)
    if size != 24:
        scenes = type(scenes)(scenes.meaning[:FEW], scenes.looks[:FEW])
    with compiled_once():
        pictures, masks = _program(name, size)(scenes)
    return tuple(np.asarray(v) for v in (*scenes, pictures, masks))


@pytest.fixture(scope="session")
def program():
    """`program(name, size)`: the jitted drawing of a world; give it MANY scenes at 24 px, else FEW."""
    return _program


@pytest.fixture(scope="session")
def in_bulk():
    """`in_bulk(name, scenes)`: pictures and masks at 24 px of any number of scenes, MANY at a time: no other program has to be compiled."""

    def draw(name, scenes):
        number = len(scenes.looks)
        rows = np.minimum(np.arange(-(-number // MANY) * MANY), number - 1).reshape(-1, MANY)  # the last scene again and again, to the full
        with compiled_once():
            parts = [_program(name, 24)(type(scenes)(*(values[batch] for values in scenes))) for batch in rows]
        return [np.concatenate(arrays)[:number] for arrays in zip(*parts, strict=True)]

    return draw


@pytest.fixture(scope="session")
def caption():
    """`caption(name)`: the jitted captions of a world, for a key and SENTENCES meanings."""
    return _caption


@pytest.fixture(scope="session")
def captioned():
    """`captioned(name)`: random training meanings, and the tokens, the meaning and the words of a caption of each."""
    return _captioned


@pytest.fixture(scope="session")
def drawn():
    """`drawn(name, size)`: meaning, looks, pictures and masks of random training scenes; at 24 px 500, else the first 20 of the same."""
    return _drawn


@pytest.fixture
def drawn_at_once(monkeypatch):
    """A function of a world's name and scenes: (pictures, masks) at 24 drawn as on an accelerator, and how long the loops in that program are."""

    def draw(name, scenes):
        with monkeypatch.context() as patch:
            patch.setattr(jax, "default_backend", lambda: "gpu")
            traced = jax.jit(lambda scenes: get_world(name).draw(scenes, 24)).trace(scenes)
        return traced.lower().compile(on_cpu(0))(scenes), set(map(int, re.findall(r"\blength=(\d+)", str(traced.jaxpr))))

    return draw
