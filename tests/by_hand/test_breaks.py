"""A wrong line in any backward is noticed, by a message that names the function it stands in.

Each break below changes one line of one function, in the way people get it wrong, and runs the very check that test_gradients.py runs.
"""

import ast
import inspect
import sys

import pytest
from cases import CASES, check_case

from tinyclip import by_hand

BREAKS = [  # function, a piece of its source, what stands there instead
    ("linear_backward", 'dy @ params["kernel"].T', 'dy @ params["kernel"].T * 1.01'),
    ("linear_backward", "x_flat.T @ dy_flat", "x_flat.T @ dy_flat / len(dy_flat)"),
    ("linear_backward", "dy_flat.sum(0)", "dy_flat.mean(0)"),
    ("layer_norm_backward", "dn - dn.mean(-1, keepdims=True) - n", "dn - n"),
    ("layer_norm_backward", "- n * (n * dn).mean(-1, keepdims=True)", ""),
    ("layer_norm_backward", "dx = r * (", "dx = ("),
    ("layer_norm_backward", '"scale": (dy * n)', '"scale": (dy * saved["params"]["scale"] * n)'),
    ("layer_norm_backward", '"bias": dy.sum', '"bias": (dy * n).sum'),
    ("layer_norm_backward", 'dn = dy * saved["params"]["scale"]', "dn = dy"),
    ("quick_gelu_backward", "1.702 * x", "x"),
    ("quick_gelu_backward", "x * s * (1 - s)", "x * s"),
    ("gelu_backward", "-x * x / 2", "-x * x"),
    ("gelu_backward", "phi + x * ", "phi + "),
    ("mlp_backward", '(dactive, saved["middle"])', '(dactive, {name: 1.1 * value for name, value in saved["middle"].items()})'),
    ("l2_normalise_backward", " - u * (u * dy).sum(-1, keepdims=True)", ""),
    ("l2_normalise_backward", "r * (dy", "(dy"),
    ("softmax_backward", "(p * dy).sum(-1, keepdims=True)", "dy.sum(-1, keepdims=True)"),
    ("softmax_backward", "p * (dy", "(dy"),
    ("attention_backward", "dscores @ k / root", "dscores @ k"),
    ("attention_backward", "dscores.transpose(0, 1, 3, 2) @ q", "dscores @ q"),
    ("attention_backward", "weights.transpose(0, 1, 3, 2) @ dheads", "weights @ dheads"),
    ("attention_backward", 'softmax_backward(dweights, saved["soft"])', "dweights"),
    ("attention_backward", "dx_query + dx_key + dx_value", "dx_query + dx_key"),
    ("block_backward", "dx = dy + dx", "dx = dx + 0 * dy"),
    ("block_backward", "return dx + dbranch", "return dbranch"),
    ("patchify_backward", "divmod(i, grid)", "divmod(i, grid)[::-1]"),
    ("embed_tokens_backward", 'np.add.at(dtable, saved["tokens"], dy)', 'dtable[saved["tokens"]] += dy'),
    ("take_rows_backward", '] = dy', '] = dy / saved["shape"][1]'),
    ("image_encoder_backward", '"class_embedding": dx[:, 0].sum(0)', '"class_embedding": dx[:, 0].mean(0)'),
    ("image_encoder_backward", '"position_embedding": dx.sum(0)', '"position_embedding": dx[0]'),
    ("image_encoder_backward", "dx[:, 1:]", "dx[:, :-1]"),
    ("text_encoder_backward", "dpositions[: dx.shape[1]]", "dpositions[-dx.shape[1] :]"),
    ("encode_image_backward", 'l2_normalise_backward(dy, saved["normalise"])', "dy"),
    ("encode_text_backward", 'l2_normalise_backward(dy, saved["normalise"])', "dy"),
    ("cross_entropy_backward", ' / len(saved["p"])', ""),
    ("cross_entropy_backward", 'saved["p"] - saved["targets"]', 'saved["p"] - (saved["targets"] > saved["targets"].mean())'),
    ("contrastive_loss_backward", 'cross_entropy_backward(saved["columns"]).T / 2', '0 * cross_entropy_backward(saved["columns"]).T'),
    ("contrastive_loss_backward", 'return scale * dlogits @ texts', 'return dlogits @ texts'),
    ("contrastive_loss_backward", 'saved["cosines"]', 'saved["cosines"] * scale'),
    ("sigmoid_loss_backward", "sigmoid(-signs *", "sigmoid(signs *"),
    ("sigmoid_loss_backward", "-signs * sigmoid", "-sigmoid"),
    ("sigmoid_loss_backward", "dlogits.sum()", "dlogits.mean()"),
    ("clip_loss_backward", 'dscale * saved["head"]["logit_scale"]', "dscale"),
    ("clip_loss_backward", "encode_text_backward(dtexts", "encode_text_backward(dtexts[::-1]"),
]  # fmt: skip


def broken(function, old, new):
    """The function with one piece of its source replaced, in its own module."""
    source = inspect.getsource(function)
    assert source.count(old) == 1, f"{function.__name__}: {old!r} stands there {source.count(old)} times; update this test"
    code = compile(ast.parse(source.replace(old, new)), f"<{function.__name__}, broken>", "exec")
    scope = dict(vars(sys.modules[function.__module__]))
    exec(code, scope)
    return scope[function.__name__]


@pytest.mark.parametrize(("name", "old", "new"), BREAKS, ids=[f"{name}: {new or 'without ' + old}" for name, old, new in BREAKS])
def test_a_break_in_a_backward_is_noticed_by_name(name, old, new, monkeypatch):
    function = getattr(by_hand, name)
    monkeypatch.setattr(sys.modules[function.__module__], name, broken(function, old, new))
    messages = []
    for label, case in CASES.items():
        if f"{case.name}_backward" == name:
            try:
                check_case(label, True)
            except AssertionError as error:
                messages.append(str(error))
    assert messages, f"{name} was broken ({new or 'without ' + old}), and no test noticed"
    assert all(name in message for message in messages), messages


def test_there_is_a_break_for_every_backward():
    assert {name for name, _, _ in BREAKS} == {name for name in vars(by_hand) if name.endswith("_backward")}
