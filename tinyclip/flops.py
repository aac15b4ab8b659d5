"""How much arithmetic a training step does: the multiplications and additions of its matrix products, counted from the configuration alone.

Only what is really computed counts: of the last block, the one row that is read (see `transformer.Block`), unless `every_row` asks for what a
CLIP costs that computes all rows and throws them away. A product of an (a, b) and a (b, c) matrix is 2abc FLOP. Everything else (LayerNorm,
softmax, GELU, the optimiser) is a few percent more at a width of 96, less at larger ones, and left out: its time then counts against us when
we ask what share of the machine's rate at matrix products a step reaches.

B pairs · N image tokens · T text tokens · D width · H heads · K head width · E joint embedding · V vocabulary · P patch.
H heads of width K = D / H cost what one of width D would; V does not show, since looking up a row multiplies nothing.
"""

from .config import CLIPConfig, ImageConfig, TextConfig


def tower_flops(tower: ImageConfig | TextConfig, tokens: int, every_row: bool = False) -> dict[str, int]:
    """FLOP of one picture or sentence of `tokens` tokens through all blocks, forward: in the linear layers, and between tokens."""
    D, T, found = tower.width, tokens, {"linear": 0, "attention": 0}
    for i in range(tower.depth):
        one = i == tower.depth - 1 and not every_row
        R = 1 if one else T  # rows computed
        found["linear"] += 4 * (2 * R * D * D)  # queries, keys, values and output: R rows, (D, D) each; of one row, see `Attention.of_rows`
        found["linear"] += 2 * (2 * R * D * tower.mlp)  # up to the MLP's width and down again
        width = tower.heads * D if one else D  # of one row, every head looks at whole tokens
        found["attention"] += 2 * (2 * R * T * width)  # q kᵀ and weights · v, over all heads: H of (R, K) with (K, T), then of (R, T) with (T, K)
    return found


def forward_flops(config: CLIPConfig, every_row: bool = False) -> dict[str, dict[str, int]]:
    """FLOP of embedding one "picture" and one "sentence" of T tokens, each by part: patches, linear, attention, projection."""
    image, text, E = config.image, config.text, config.embed
    patches = 2 * (image.tokens - 1) * (3 * image.patch**2) * image.width  # N - 1 patches of P·P·3 numbers, each to D
    return {
        "picture": {"patches": patches, **tower_flops(image, image.tokens, every_row), "projection": 2 * image.width * E},
        "sentence": {**tower_flops(text, text.context, every_row), "projection": 2 * text.width * E},
    }


def step_flops(config: CLIPConfig, batch: int, every_row: bool = False) -> float:
    """FLOP of one training step on `batch` pairs, forward and backward: no rematerialisation, no extra captions, the loss in one piece.

    Backward, a product costs twice its forward: its gradient is wanted for both factors. Pictures are no parameters, so the patch embedding
    wants it for one factor only. The contrastive loss multiplies all B pictures with all B sentences.
    """
    forward, B, E = forward_flops(config, every_row), batch, config.embed
    towers = sum(sum(parts.values()) for parts in forward.values())
    similarities = 2 * B * B * E
    return float(3 * (B * towers + similarities) - B * forward["picture"]["patches"])
