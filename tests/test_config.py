"""What a model is, and what a training run is: every number stated, every mistake named."""

import copy
import dataclasses
import json
import math

import pytest
from helpers import check, raises_one_sentence

from tinyclip.config import CALMER, PRESETS, RECIPES, CLIPConfig, ImageConfig, TextConfig, TrainConfig, check_model, check_run, recipe_for
from tinyclip.errors import UserError

ODD = CLIPConfig(
    image=ImageConfig(21, 7, 12, 3, 2, 20, "gelu", 1e-6, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
    text=TextConfig(11, 9, 4, 10, 5, 5, 30, "quick_gelu", 1e-4),
    embed=13, loss="sigmoid", dtype="bfloat16",
)  # fmt: skip


def test_a_configuration_survives_the_round_trip_through_json_text():
    for name, config in [("an odd one", ODD), *((name, CLIPConfig.preset(name)) for name in PRESETS)]:
        back = CLIPConfig.from_json(json.loads(json.dumps(config.to_json())))
        assert back == config, f"{name}: to_json and from_json should be inverse, but {config} came back as {back}"
        assert hash(back) == hash(config), f"{name}: a configuration read from json must be hashable: are mean and std lists, not tuples?"


def test_json_states_every_field():
    data = ODD.to_json()
    for part, kind in ((data, CLIPConfig), (data["image"], ImageConfig), (data["text"], TextConfig)):
        fields = {f.name for f in dataclasses.fields(kind)}
        assert set(part) == fields, f"to_json: {kind.__name__} should state {sorted(fields)}, got {sorted(part)}"


def test_the_json_of_a_configuration_is_plain_json():
    text = json.dumps(ODD.to_json())
    assert json.loads(text)["image"]["mean"] == [0.1, 0.2, 0.3], f"to_json: want the mean as three numbers, got {text}"


@pytest.mark.parametrize("part", ["", "image", "text"])
def test_an_unknown_field_is_an_error_that_names_it(part):
    data = ODD.to_json()
    (data[part] if part else data)["colour_of_hair"] = 3
    raises_one_sentence(UserError, lambda: CLIPConfig.from_json(data), "colour_of_hair")


FIELDS = [
    *(("", f.name) for f in dataclasses.fields(CLIPConfig)),
    *(("image", f.name) for f in dataclasses.fields(ImageConfig)),
    *(("text", f.name) for f in dataclasses.fields(TextConfig)),
]


@pytest.mark.parametrize(("part", "name"), FIELDS, ids=[".".join(filter(None, field)) for field in FIELDS])
def test_a_missing_field_is_an_error_that_names_it_not_silently_its_default(part, name):
    data = ODD.to_json()
    del (data[part] if part else data)[name]
    raises_one_sentence(UserError, lambda: CLIPConfig.from_json(data), name)


@pytest.mark.parametrize(
    "data", [{}, {"image": 3, "text": 4}, {"image": [], "text": {}}, ODD.to_json() | {"text": None}, ODD.to_json() | {"image": "a picture"}]
)
def test_json_that_is_no_configuration_is_a_user_error(data):
    raises_one_sentence(UserError, lambda: CLIPConfig.from_json(data))


def test_the_presets_have_these_names():
    want = ["nano", "tiny", "small", "vit_b_32", "vit_b_16", "vit_l_14", "vit_l_14_336"]
    assert list(PRESETS) == want, f"presets: want {want}, got {list(PRESETS)}"


def test_an_unknown_preset_is_an_error_that_lists_the_known_ones():
    raises_one_sentence(UserError, lambda: CLIPConfig.preset("huge"), "huge", *PRESETS)


def test_preset_changes_reach_the_towers_and_leave_the_preset_alone():
    config = CLIPConfig.preset("nano", image={"size": 48}, text={"vocab": 40, "end_token": 39}, embed=10)
    got = (config.image.size, config.text.vocab, config.text.end_token, config.embed, config.image.width)
    assert got == (48, 40, 39, 10, 64), f"preset: want size 48, vocab 40, end token 39, embed 10, width 64, got {got}"
    assert CLIPConfig.preset("nano").image.size == 32, "preset: a change to one configuration must not change the preset itself"


def test_the_published_sizes_normalise_pixels_and_end_sentences_as_openai_does():
    for name in (name for name in PRESETS if name.startswith("vit")):
        config = CLIPConfig.preset(name)
        check(f"{name}: mean", config.image.mean, (0.48145466, 0.4578275, 0.40821073), 0, "is it ImageNet's?")
        check(f"{name}: std", config.image.std, (0.26862954, 0.26130258, 0.27577711), 0, "is it ImageNet's?")
        assert (config.text.end_token, config.text.context) == (49407, 77), (
            f"{name}: want end token 49407 and context 77, got {config.text}"
        )
        assert config.image.eps == config.text.eps == 1e-5, (
            f"{name}: want LayerNorm eps 1e-5 (Flax's default is 1e-6), got {config.image.eps}"
        )
        assert config.image.activation == config.text.activation == "quick_gelu", f"{name}: OpenAI's weights need quick_gelu"


def test_tokens_counts_the_patches_and_the_class_token():
    assert ImageConfig(size=224, patch=32).tokens == 50, "tokens: 7 x 7 patches and a class token are 50: did you forget the class token?"
    assert ODD.image.tokens == 10, f"tokens: 21 pixels in patches of 7 are 3 x 3 + 1 = 10 tokens, got {ODD.image.tokens}"


@pytest.mark.parametrize("config", [ODD, ODD.image, ODD.text, TrainConfig()], ids=lambda c: type(c).__name__)
def test_configurations_are_frozen(config):
    name = dataclasses.fields(config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, name, 1)


BAD_MODELS = [
    *(
        ({part: {key: bad}}, f"{part}.{key}")
        for part in ("image", "text")
        for key in ("width", "depth", "heads", "mlp")
        for bad in (0, -1, 2.5, True)
    ),
    *(({part: {"width": 10, "heads": 4}}, f"{part}.width") for part in ("image", "text")),
    *(({part: {"activation": "relu"}}, f"{part}.activation") for part in ("image", "text")),
    *(({part: {"eps": bad}}, f"{part}.eps") for part in ("image", "text") for bad in (0.0, -1e-5, 1.0, math.nan)),
    *(({"image": {key: bad}}, f"image.{key}") for key in ("size", "patch") for bad in (0, 2_000_000, "8")),
    *(({"text": {key: bad}}, f"text.{key}") for key in ("vocab", "context") for bad in (0, 1.5)),
    ({"image": {"size": 32, "patch": 5}}, "patches of 5"),
    ({"image": {"mean": (0.5, 0.5)}}, "image.mean"),
    ({"image": {"std": (0.5,)}}, "image.std"),
    ({"image": {"std": (0.5, 0.5, 0.0)}}, "std"),
    ({"image": {"mean": (0.5, 0.5, math.nan)}}, "mean"),
    ({"image": {"std": (0.5, 0.5, math.inf)}}, "std"),
    ({"text": {"end_token": 64}}, "text.end_token"),
    ({"text": {"end_token": -1}}, "text.end_token"),
    ({"embed": 0}, "embed"),
    ({"loss": "triplet"}, "loss"),
    ({"dtype": "float16"}, "dtype"),
]


@pytest.mark.parametrize(("changes", "word"), BAD_MODELS, ids=lambda value: str(value))
def test_a_number_that_cannot_be_a_model_is_an_error_that_names_its_field(changes, word):
    config = copy.deepcopy(CLIPConfig.preset("nano"))
    for name, value in changes.items():  # past the frozen fields, and past the type checks that only the tests have
        for key, bad in value.items() if isinstance(value, dict) else [(None, value)]:
            object.__setattr__(config if key is None else getattr(config, name), key or name, bad)
    raises_one_sentence(UserError, lambda: check_model(config), word)


def test_a_model_is_checked_when_it_is_made():
    raises_one_sentence(UserError, lambda: CLIPConfig(image=ImageConfig(size=32, patch=5)), "patches of 5")


BAD_RUNS = [
    ({"steps": 0}, "--steps"),
    ({"steps": 10_000_001}, "--steps"),
    ({"batch_size": 1}, "--batch-size"),
    ({"batch_size": 1_000_001}, "--batch-size"),
    ({"chunk": 0}, "--chunk"),
    ({"warmup": -1}, "--warmup"),
    ({"learning_rate": 0.0}, "--learning-rate"),
    ({"learning_rate": math.nan}, "--learning-rate"),
    ({"learning_rate": math.inf}, "--learning-rate"),
    ({"clip_norm": 0.0}, "--clip-norm"),
    ({"hard_negatives": "caption"}, "--hard-negatives"),
    ({"weight_decay": -0.1}, "--weight-decay"),
    ({"weight_decay": math.inf}, "--weight-decay"),
    ({"seed": -1}, "--seed"),
    ({"seed": 2**32}, "--seed"),
]


@pytest.mark.parametrize(("changes", "word"), BAD_RUNS, ids=lambda value: str(value))
def test_what_cannot_be_a_run_is_an_error_that_names_its_option(changes, word):
    run = copy.deepcopy(TrainConfig())
    for name, bad in changes.items():  # as above
        object.__setattr__(run, name, bad)
    raises_one_sentence(UserError, lambda: check_run(run), word)
    if word != "--hard-negatives":  # which the tests' checks of types would refuse first
        raises_one_sentence(UserError, lambda: TrainConfig(**changes), word)


def test_the_limits_themselves_are_allowed():
    TrainConfig(steps=1, batch_size=2, chunk=1, warmup=0, weight_decay=0.0, seed=2**32 - 1)  # raises if not
    config = CLIPConfig.preset("nano", text={"vocab": 4, "end_token": 0})
    assert config.text.end_token == 0, "end_token 0 is among 4 tokens and must be allowed"


def test_every_recipe_names_a_size_and_is_a_run():
    for world, recipe in RECIPES.items():
        assert recipe["size"] in PRESETS, f"the recipe for {world} wants the size {recipe['size']!r}, which is none of {', '.join(PRESETS)}"
        TrainConfig(**recipe["train"])  # raises if not


def test_the_sigmoid_loss_is_given_more_steps_at_a_lower_rate_and_nothing_else():
    for name, recipe in RECIPES.items():
        assert recipe_for(name, "contrastive") == recipe_for(name) == recipe, f"{name}: with CLIP's loss the recipe is followed as it stands"
        usual, got = TrainConfig(**recipe["train"]), recipe_for(name, "sigmoid")
        calm = {"steps": CALMER * usual.steps, "learning_rate": usual.learning_rate / CALMER}
        want = recipe | {"train": recipe["train"] | calm}
        assert got == want, f"{name}: with the sigmoid loss {CALMER} x the steps at 1/{CALMER} of the rate and nothing else, got {got}"
