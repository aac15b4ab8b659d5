"""The course: every lesson runs, says what is true, keeps to its recipe and its time, and is found by its front door.

`CLAIMS` holds, for every number that a lesson states, the range it must lie in: (least, most), or the value itself.
"""

import ast
import asyncio
import contextlib
import inspect
import math
import os
import re
import runpy
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import jax
import pytest
from helpers import importing
from PIL import Image
from trained import COMPILED_ONCE, compiled_once

import tinyclip
from lessons import kit
from lessons.__main__ import cells, main
from tinyclip import clip, losses, transformer
from tinyclip.world import splits

PACKAGE = Path(tinyclip.__file__).parent
COURSE = kit.course()
NUMBERS = [entry.number for entry in COURSE]
ENTRIES = {entry.number: entry for entry in COURSE}
SLOW = 60.0  # seconds a lesson may take on two cores

CLAIMS: dict[str, dict] = {}
CLAIMS["00"] = {
    "difference in scores": (0, 1e-5),
    "lowest score with its own sentence": (0.4, 0.7),
    "highest score with another sentence": (-0.2, 0.25),
    "pictures nearest to their own sentence": 3,
    "change among the sentences": (0, 1e-5),
    "own sentence, two spaces": (0, 0.3),
    "share of the spread on the map": (0.7, 1),
    "found pictures of which the sentence is true, of 9": (8, 9),
}
CLAIMS["01"] = {
    "nearest by dot product": 2,
    "nearest by cosine": 1,
    "cosine with the dog": (0.90, 0.92),
    "cosine with the loud one": (0.43, 0.45),
    "a sentence with itself, wrong axis": (0.5, 0.7),
    "difference in squared distances": (0, 1e-12),
    "difference in alignment": (0, 1e-12),
    "difference in dot products": (0, 1e-12),
    "difference in unit vectors": (0, 1e-6),
}
CLAIMS["02"] = {
    "difference in pixels": (0, 1e-5),
    "difference in masks": (0, 1e-5),
    "area in the mask / true area": (0.99, 1.01),
    "described alike, of 4": 4,
    "captions that parse back to what was said": 1,
    "captions true of their own picture": 1,
    "captions true of another picture": (0.035, 0.055),
    "held-out pairs": 8,
    "held-out pairs drawn in training": 0,
    "held-out pairs named in training": 0,
    "held-out pairs in scenes of two, negatives included": 0,
    "held-out pairs among the held-out scenes": 1,
    "random hold-out: test pairs met in training": 1,
}
CLAIMS["03"] = {
    "captions": (4_000, 6_000),
    "words": (45, 60),
    "difference in ids of words": 0,
    "the error suggests circle": True,
    "difference in ids after 8 merges": 0,
    "merges": (120, 180),
    "pieces of rhinoceros": (5, 9),
    "difference in ids of all words": 0,
    "words fallen apart": (1, 8),
    "still decoded": True,
    "tokens without merges": 514,
    "CLIP's vocabulary": 49_408,
    "room for a sentence": 75,
    "a truncated row ends with the end token": True,
    "tokens per caption, bytes only": (24, 30),
    "tokens per caption, all merges": (7, 8),
    "words per caption": (7, 8),
}
CLAIMS["04"] = {
    "circle looks most at": "red",
    "square looks most at": "blue",
    "circle's look at red": (0.75, 0.87),
    "without the mask, circle looks most at": "blue",
    "spread of random dot products": (3.7, 4.1),
    "earlier outputs move, with mask": (0, 1e-6),
    "earlier outputs move, without mask": (0.5, 3),
    "sum of circle's row, masked too late": (0, 0.3),
    "earlier outputs move, masked too late": (0.1, 1),
    "difference in LayerNorm": (0, 1e-5),
    "difference in attention, loops against matrices": (0, 1e-5),
    "difference in attention, loops against JAX": (0, 1e-5),
    "difference in weights of head 0, our loop against JAX": (0, 1e-5),
    "difference in the block": (0, 1e-5),
}
CLAIMS["05"] = {
    "two a's differ, before positions": 0.0,
    "two a's differ, after positions": (0.05, 0.3),
    "padding moves the vector": (0, 1e-5),
    "no padding at all moves the vector": (0, 1e-5),
    "padding moves the vector, without mask": (0.3, 1.2),
    "farthest crimson from red, read at the end": (0, 1e-5),
    "crimson circle and star apart, read at the end": (0.8, 1.5),
    "crimson sentences apart, read at the largest id": (0, 1e-5),
    "least influence of a word on the end": (0.05, 0.5),
    "most influence of a later token on an earlier": (0, 1e-5),
    "difference in the way in": (0, 1e-6),
    "difference in the end's position": 0.0,
    "difference in the sentence's vector": (0, 1e-5),
    "difference in the sentence's vector, by the NumPy twin": (0, 1e-5),
}
CLAIMS["06"] = {
    "shuffling moves the vector, without positions": (0, 1e-5),
    "shuffling moves the vector, with positions (mean)": (0.3, 0.8),
    "right order, with positions": (0.97, 1),
    "right order, without positions": (0.4, 0.6),
    "finds its sentence, patches": (0.97, 1),
    "finds its sentence, strips": (0, 0.15),
    "strips have the shape of patches": True,
    "difference in patches": 0.0,
    "difference in patches, NumPy twin": 0.0,
    "difference in the pictures' vectors": (0, 1e-5),
    "difference in the pictures' vectors, by the NumPy twin": (0, 1e-5),
}
CLAIMS["07"] = {
    "difference in the loss by loops": (0, 1e-12),
    "difference in the loss": (0, 1e-5),
    "the two directions differ by": (0.44, 0.45),
    "difference in the gradient by hand": (0, 1e-12),
    "difference in the gradient by JAX": (0, 1e-5),
    "difference in the gradient by finite differences": (0, 1e-7),
    "collapsed": (4.8520, 4.8521),
    "collapsed, less log B": (-1e-9, 1e-9),
    "random, E = 16: formula less measured": (1.2, 1.9),
    "random, E = 64: formula less measured": (-0.05, 0.25),
    "random, E = 256: formula less measured": (-0.05, 0.1),
    "random, E = 1024: formula less measured": (-0.05, 0.05),
    "fresh model": (4.95, 5.5),
    "mean cosine of two pictures, fresh": (0.8, 1),
    "trained model": (2.10, 2.13),
    "floor": (2.10, 2.11),
    "trained, above the floor": (0, 0.02),
    "shared targets change": (0, 1e-5),
    "four pictures: plain loss": (0, 1e-3),
    "four pictures: shared loss above its floor": (0, 0.01),
    "red circle with 'a circle', plain": (-0.1, 0.1),
    "red circle with 'a circle', shared": (0.4, 0.6),
    "shared: lowest true less highest false": (0.4, 0.6),
}
CLAIMS["08"] = {
    "own share at scale 1": (0.30, 0.31),
    "own share at scale 14": (0.94, 0.95),
    "own share at scale 100": (0.99999, 1),
    "difference in the shares": (0, 1e-6),
    "share of a perfect answer at scale 1": (0.104, 0.106),
    "bound at scale 1": (2.254, 2.255),
    "the best arrangement at scale 1": (3.17, 3.171),
    "the best arrangement at scale 1/0.07": (2e-5, 4e-5),
    "difference in the slope in t": (0, 1e-4),
    "Adam steps from 1/0.07 to 100 as a logarithm": 649,
    "Adam steps from 1/0.07 to 100 as a number": 28571,
    "first slope, clamped after the update": (40, 50),
    "scale, clamped after the update": (2.0, 2.4),
    "first slope, clamped in the forward pass": 0.0,
    "scale, clamped in the forward pass": (119.99, 120.01),
    "accuracy, learned scale": (0.4, 0.9),
    "accuracy, scale 1": (0.15, 0.36),
    "accuracy, scale 1, any length": (0.4, 0.95),
    "loss, learned scale": (1.6, 2.7),
    "loss, scale 1": (3.3, 3.45),
    "loss, scale 1, any length": (1.6, 2.7),
    "lead of the learned scale": (0.12, 0.7),
    "least product of lengths": (12, 30),
    "largest over least product of lengths": (1.2, 2.2),
    "searches won by another picture": (0.6, 1),
    "difference in the sigmoid loss": (0, 1e-4),
    "sigmoid loss at the start, b = -10": (9.7, 9.8),
    "sigmoid loss at the start, b = 0": (62, 64),
    "contrastive loss of one pair": (0, 1e-6),
}
CLAIMS["09"] = {
    "difference in dW of a linear layer, by loops": (0, 1e-13),
    "difference in dW of a linear layer, by nudging": (0, 1e-7),
    "difference in dx of a linear layer, by nudging": (0, 1e-7),
    "difference in (p - target) / B": (0, 1e-8),
    "a row of (p - target) / B sums to": (0, 1e-15),
    "difference in dx of LayerNorm": (0, 1e-7),
    "LayerNorm's slope along a shift": (0, 1e-13),
    "LayerNorm's slope along a stretch": (0, 1e-4),
    "difference in dx of attention": (0, 1e-6),
    "largest slope of the key bias": (0, 1e-13),
    "largest slope of the query bias": (1.5, 2.5),
    "attention weights moved by a new key bias": (0, 1e-13),
    "numbers in the model": 8689,
    "difference in gradient of the whole model along v": (0, 3e-5),
    "losses differ by at most, relative": (0, 1e-4),
    "first loss": (3.3, 3.5),
    "mean of the last ten losses": (1.4, 1.65),
    "key biases differ by at least, of their size": (0.1, 1e6),
    "all other weights differ by at most, of their size": (0, 5e-3),
    "broken: mean of the last ten losses": (1.4, 1.8),
    "broken: losses differ by up to, relative": (0.05, 1),
}
CLAIMS["10"] = {
    "difference in weights after five steps of AdamW": (0, 1e-6),
    "difference in learning rates": (0, 1e-15),
    "eight pairs, first loss": (1.9, 2.4),
    "eight pairs, last loss": (0, 0.01),
    "difference in 30 losses of nnx.jit and of our step": (0, 1e-3),
    "nnx.jit takes, times as long": (0.8, 40),
    "difference in 30 losses, resumed and uninterrupted": (0, 1e-6),
    "too fast: last loss above ln 8": (-1e-4, 1e-4),
    "too fast: least cosine between two pictures": (0.999, 1.0001),
    "step 50: colour right": (0.9, 1),
    "step 50: shape right": (0.25, 0.65),
    "accuracy before": (0, 0.2),
    "accuracy after": (0.85, 1),
    "first loss": (4.16, 4.6),
    "last loss above its floor": (0, 0.4),
    "logit scale after": (12, 16),
    "seconds of training": (0, 60),
}
CLAIMS["11"] = {
    "chance": 1 / 128,
    "difference in zero-shot accuracy, seen pairs": (0, 0.002),  # a tie or two may fall otherwise
    "difference in zero-shot accuracy, unseen pairs": (0, 0.002),
    "zero-shot, seen pairs": (0.98, 1),
    "zero-shot, unseen pairs": (0.95, 1),
    "difference in prompt ensembles": (0, 1e-5),
    "ensemble, seen pairs": (0.98, 1),
    "ensemble, unseen pairs": (0.95, 1),
    "shortest mean of a class": (0.98, 0.9999),
    "sure of a wrong answer: more than 90 %": (0.5, 1),
    "a single caption": (1 - 1e-6, 1 + 1e-6),
    "something pink: true of the 10 nearest": (9, 10),
    "a green star: true of the 10 nearest": (8, 10),
    "with a row: true of the 10 nearest": (2.5, 4.2),
    "captions of unseen pairs that are true, of 100": (95, 100),
    "recall@1": (0.08, 0.2),
    "recall@3": (0.25, 0.45),
    "recall@9": (0.97, 1),
    "difference in recall@1": (0, 0.003),
    "difference in recall@3": (0, 0.003),
    "difference in recall@9": (0, 0.003),
    "share of training sentences with a place": (0.13, 0.14),
    "difference in linear probe": (0, 0.005),
    "zero-shot, no labels: seen": (0.98, 1),
    "zero-shot, no labels: unseen": (0.95, 1),
    "probe for the pair: seen": (0.93, 1),
    "probe for the pair: unseen": 0,
    "probes for colour, for shape: seen": (0.96, 1),
    "probes for colour, for shape: unseen": (0.9, 1),
}
CLAIMS["12"] = {
    "difference in swaps": 0,
    "difference in the three scores": (0, 1e-9),
    "chance of the group score": (0.16, 0.174),
    "blind: recall@1": (0.9, 1),
    "blind: group score": (0, 0.16),
    "blind: recall@1 of 3 seeds": (0.9, 1),
    "blind: group score of 3 seeds": (0, 0.16),
    "bag of words: recall@1 of 3 seeds": (0.9, 1),
    "bag of words: group score of 3 seeds": 0,
    "cured: recall@1 of 3 seeds": (0.9, 1),
    "cured: group score of 3 seeds": (0.9, 1),
    "given away: recall@1 of 3 seeds": (0.9, 1),
    "given away: group score of 3 seeds": (0, 0.16),
    "one a set: recall@1 of 3 seeds": (0.9, 1),
    "one a set: group score of 3 seeds": (0, 0.5),
    "one a set cured: recall@1 of 3 seeds": (0.9, 1),
    "one a set cured: group score of 3 seeds": (0.9, 1),
    "core pairs: recall@1 of 3 seeds": (0.9, 1),
    "core pairs: group score of 3 seeds": (0.9, 1),
    "difference in loss of the blind model, own captions": (0, 1e-4),
    "difference in loss of the blind model, and their swaps": (0, 1e-4),
    "difference in loss of the cured model, own captions": (0, 1e-4),
    "difference in loss of the cured model, and their swaps": (0, 1e-4),
    "blind: loss above the floor, own captions": (0, 0.2),
    "blind: loss above the floor, and their swaps": (0.3, 3),
    "cured: loss above the floor, own captions": (0, 0.2),
    "cured: loss above the floor, and their swaps": (0, 0.2),
    "blind: own caption preferred": (0.3, 0.7),
    "blind: own caption preferred, blindfold": (0.35, 0.65),
    "cured: own caption preferred": (0.95, 1),
    "cured: own caption preferred, blindfold": (0.35, 0.65),
    "given away: own caption preferred": (0.95, 1),
    "given away: own caption preferred, blindfold": (0.9, 1),
    "blind: nearest of four captions is its own": (0.1, 0.4),
    "given away: nearest of four captions is its own": (0.1, 0.5),
    "cured: nearest of four captions is its own": (0.9, 1),
}
CLAIMS["13"] = {
    "difference in occlusion": (0, 1e-4),
    "difference in pointing game": (0, 1e-9),
    "difference in IoU": (0, 1e-9),
    "the middle, here": (0, 0.07),
    "any pixel, here": (0.06, 0.09),
    "difference in relevance": (0, 1e-4),
    "gradient x input: named": (0.50, 0.53),
    "gradient x input: other": (0.45, 0.48),
    "gradient x input: iou": (0.18, 0.21),
    "gradient x input, here": (0.37, 0.65),
    "gradient x input, random weights: named": (0.47, 0.50),
    "gradient x input, random weights: other": (0.48, 0.51),
    "attention: named": (0.39, 0.42),
    "attention: other": (0.34, 0.37),
    "attention: iou": (0.24, 0.27),
    "attention, here": (0.26, 0.54),
    "attention, random weights: named": (0.28, 0.31),
    "attention, random weights: other": (0.27, 0.30),
    "patch similarity: named": (0.20, 0.23),
    "patch similarity: other": (0.14, 0.17),
    "patch similarity: iou": (0.11, 0.14),
    "patch similarity, here": (0.07, 0.35),
    "patch similarity, random weights: named": (0.14, 0.17),
    "patch similarity, random weights: other": (0.10, 0.13),
    "relevance: named": (0.66, 0.69),
    "relevance: other": (0.13, 0.16),
    "relevance: iou": (0.38, 0.41),
    "relevance, here": (0.53, 0.81),
    "relevance, random weights: named": (0.10, 0.13),
    "relevance, random weights: other": (0.15, 0.18),
    "relevance, one grid: named": (0.31, 0.34),
    "relevance, one grid: other": (0.09, 0.12),
    "relevance, one grid: iou": (0.20, 0.23),
    "relevance, one grid, here": (0.18, 0.46),
    "relevance, one grid, random weights: named": (0.08, 0.11),
    "relevance, one grid, random weights: other": (0.11, 0.14),
    "occlusion: named": (0.9, 1),
    "occlusion: other": (0.00, 0.01),
    "occlusion: iou": (0.55, 0.58),
    "occlusion, here": (0.88, 1),
    "occlusion, random weights: named": (0.25, 0.28),
    "occlusion, random weights: other": (0.32, 0.35),
    "any pixel: named": (0.06, 0.09),
    "any pixel: other": (0.06, 0.09),
    "any pixel: iou": (0.02, 0.05),
    "the middle: named": (0.01, 0.04),
    "the middle: other": (0.01, 0.04),
    "the middle: iou": (0.03, 0.06),
    "the mask, one grid: named": (0.49, 0.52),
    "the mask, one grid: other": (0.00, 0.01),
    "the mask, one grid: iou": (0.32, 0.35),
    "the mask, one grid, here": (0.37, 0.65),
    "words, colour, here": (0.9, 1),
    "words, colour": (0.97, 1.00),
    "words, colour, no twin": (0.18, 0.21),
    "words, colour, random weights": (0.09, 0.12),
    "words, shape, here": (0.9, 1),
    "words, shape": (0.98, 1.00),
    "words, shape, no twin": (0.35, 0.38),
    "words, shape, random weights": (0.14, 0.17),
    "words, relation, here": (0.9, 1),
    "words, relation": (0.98, 1.00),
    "words, relation, no twin": (0, 0.01),
    "words, relation, random weights": (0.12, 0.15),
    "any word": (0.12, 0.15),
}
CLAIMS["14"] = {
    "difference in the gap": (0, 1e-5),
    "difference in alignment": (0, 1e-5),
    "difference in uniformity": (0, 1e-5),
    "mean cosine of two pictures, untrained": (0.9, 0.98),
    "untrained: alignment": (1.7, 1.9),
    "untrained: uniformity, pictures": (-0.5, -0.15),
    "scale 5: alignment": (0, 0.15),
    "scale 5: uniformity, pictures": (-3.2, -2.0),
    "scale 15: alignment": (0, 0.15),
    "scale 15: uniformity, pictures": (-3.2, -2.0),
    "scale 50: alignment": (0, 0.15),
    "scale 50: uniformity, pictures": (-3.2, -2.0),
    "learned scale: alignment": (0, 0.15),
    "learned scale: uniformity, pictures": (-3.2, -2.0),
    "vague captions: alignment": (0.5, 0.8),
    "vague captions: uniformity, pictures": (-2.3, -1.7),
    "untrained: gap": (1.15, 1.3),
    "untrained: gap between two sets of pictures": (0, 0.02),
    "untrained: picture to caption, share 0": (0, 0.03),
    "scale 5: gap between two sets of pictures": (0, 0.02),
    "scale 5: picture to caption, share 0": (0.59, 0.71),
    "scale 5: gap": (0, 0.03),
    "scale 15: gap between two sets of pictures": (0, 0.02),
    "scale 15: picture to caption, share 0": (0.77, 0.89),
    "scale 15: gap": (0.04, 0.08),
    "scale 50: gap between two sets of pictures": (0, 0.02),
    "scale 50: picture to caption, share 0": (0.73, 0.85),
    "scale 50: gap": (0.09, 0.15),
    "learned scale: gap between two sets of pictures": (0, 0.02),
    "learned scale: picture to caption, share 0": (0.74, 0.86),
    "learned scale: gap": (0.07, 0.12),
    "vague captions: gap between two sets of pictures": (0, 0.02),
    "vague captions: picture to caption, share 0": (0.5, 0.62),
    "vague captions: gap": (0.65, 0.8),
    "learned scale: scale": (30, 40),
    "difference in moved vectors": (0, 1e-5),
    "lesson 11's, share 0: gap": (0.7, 0.76),
    "lesson 11's, share 0: found": (0.98, 1),
    "vague captions: loss, share 0": (1.07, 1.27),
    "lesson 11's, share 0.5: gap": (0.37, 0.43),
    "lesson 11's, share 0.5: found": (0.98, 1),
    "vague captions: picture to caption, share 0.5": (0.51, 0.63),
    "vague captions: loss, share 0.5": (1.02, 1.22),
    "lesson 11's, share 1: gap": (0, 0.06),
    "lesson 11's, share 1: found": (0.98, 1),
    "vague captions: picture to caption, share 1": (0.47, 0.59),
    "vague captions: loss, share 1": (1.02, 1.22),
    "lesson 11's, share 2: gap": (0.69, 0.75),
    "lesson 11's, share 2: found": (0.98, 1),
    "vague captions: picture to caption, share 2": (0.38, 0.5),
    "vague captions: loss, share 2": (1.15, 1.35),
    "gap, all, and all sentences": (0.03, 0.13),
    "gap, red ones, and all sentences": (0.63, 0.73),
    "gap, red ones, blue ones": (1.26, 1.36),
    "difference in representational similarity": (0, 1e-6),
    "untrained: pictures ~ captions, shuffled: most": (0, 0.1),
    "untrained: pictures ~ captions": (0.05, 0.15),
    "untrained: pictures ~ size, colour and shape": (0.09, 0.23),
    "untrained: captions ~ size, colour and shape": (0.47, 0.61),
    "untrained: pictures ~ place": (-0.05, 0.05),
    "untrained: captions ~ place": (-0.05, 0.05),
    "learned scale: pictures ~ captions, shuffled: most": (0, 0.1),
    "learned scale: pictures ~ captions": (0.94, 1),
    "learned scale: pictures ~ size, colour and shape": (0.58, 0.72),
    "learned scale: captions ~ size, colour and shape": (0.58, 0.72),
    "learned scale: pictures ~ place": (-0.05, 0.05),
    "learned scale: captions ~ place": (-0.05, 0.05),
    "analogies": 34_944,
    "difference in analogies": (0, 0.01),
    "untrained: analogy: captions, nothing excluded": (0.86, 0.98),
    "learned scale: analogy: captions, nothing excluded": (0.46, 0.58),
    "captions, all allowed": (0.97, 1),
    "captions, inputs left out": (0.97, 1),
    "untrained: analogy: captions, shuffled directions, nothing excluded": (0, 0.07),
    "learned scale: analogy: captions, shuffled directions, nothing excluded": (0, 0.07),
    "captions, shuffled directions, all allowed": (0, 0.07),
    "captions, shuffled directions, inputs left out": (0, 0.07),
    "untrained: analogy: captions, no direction, nothing excluded": 0,
    "learned scale: analogy: captions, no direction, nothing excluded": 0,
    "captions, no direction, all allowed": 0,
    "captions, no direction, inputs left out": (0, 0.07),
    "untrained: analogy: pictures, nothing excluded": (0, 0.07),
    "learned scale: analogy: pictures, nothing excluded": (0.25, 0.37),
    "pictures, all allowed": (0.95, 1),
    "pictures, inputs left out": (0.95, 1),
    "untrained: analogy: caption's direction, picture to caption, nothing excluded": (0, 0.07),
    "learned scale: analogy: caption's direction, picture to caption, nothing excluded": (0.36, 0.48),
    "caption's direction, picture to caption, all allowed": (0.97, 1),
    "caption's direction, picture to caption, inputs left out": (0.97, 1),
}
CLAIMS["15"] = {
    "circles among the red": (0.94, 0.97),
    "red among the circles": (0.53, 0.59),
    "difference in accuracies of groups, fair": (0, 1e-9),
    "difference in accuracies of groups, biased": (0, 1e-9),
    "gap, fair": (0.05, 0.15),
    "gap, biased": (0.42, 0.52),
    "worst group of the biased model": "other red things",
    "red circles gain": (0.18, 0.28),
    "difference in equalised odds, fair": (0, 1e-9),
    "difference in equalised odds, biased": (0, 1e-9),
    "circles called circle, fair: red less others": (-0.05, 0.1),
    "other shapes called circle, fair: red less others": (-0.04, 0.04),
    "circles called circle, biased: red less others": (0.26, 0.37),
    "other shapes called circle, biased: red less others": (0.28, 0.39),
    "usual test, fair": (0.77, 0.81),
    "usual test, biased": (0.815, 0.85),
    "other red things in the usual test": 23,
    "width of the interval": (0.33, 0.42),
    "difference in chances": (0, 1e-12),
    "effective number, rebalanced": (930, 1010),
    "repeated pictures named rightly": (0.95, 1),
    "mean gap, fair": (0.070, 0.130),
    "mean gap, biased": (0.458, 0.518),
    "mean gap, rebalanced": (0.316, 0.376),
    "mean gap, biased with more pictures": (0.402, 0.462),
    "mean gap, rebalanced with more pictures": (0.084, 0.144),
    "mean gap, swapped captions": (0.467, 0.527),
    "mean gap, rebalanced with swapped captions": (0.322, 0.382),
    "mean on usual pictures, fair": (0.762, 0.782),
    "mean on usual pictures, biased": (0.806, 0.826),
    "mean on usual pictures, rebalanced": (0.790, 0.810),
    "mean on usual pictures, biased with more pictures": (0.838, 0.858),
    "mean on usual pictures, rebalanced with more pictures": (0.821, 0.841),
    "mean on usual pictures, swapped captions": (0.809, 0.829),
    "mean on usual pictures, rebalanced with swapped captions": (0.799, 0.819),
    "mean of all others, fair": (0.768, 0.798),
    "mean of all others, biased": (0.782, 0.812),
    "mean of all others, rebalanced": (0.744, 0.774),
    "mean of all others, biased with more pictures": (0.846, 0.876),
    "mean of all others, rebalanced with more pictures": (0.814, 0.844),
    "mean of all others, swapped captions": (0.764, 0.794),
    "mean of all others, rebalanced with swapped captions": (0.753, 0.783),
}
CLAIMS["16"] = {
    "difference in mean directions": (0, 1e-5),
    "video, mean: thing": (0.97, 1),
    "video, mean: axis": (0.5, 0.75),
    "video, mean: direction": (0.499, 0.501),  # exactly half of the films are the other half run backward
    "video, mean: film to sentence": (0.25, 0.4),
    "video, mean: sentence to film": (0.25, 0.4),
    "video, no positions: thing": (0.97, 1),
    "video, no positions: axis": (0.97, 1),
    "video, no positions: direction": (0.499, 0.501),
    "video, no positions: film to sentence": (0.47, 0.51),
    "video, no positions: sentence to film": (0.47, 0.53),
    "video, transformer: thing": (0.97, 1),
    "video, transformer: axis": (0.97, 1),
    "video, transformer: direction": (0.97, 1),
    "video, transformer: film to sentence": (0.97, 1),
    "video, transformer: sentence to film": (0.97, 1),
    "direction, in order": (0.97, 1),
    "direction, shuffled": (0.38, 0.62),
    "direction, one frame": (0.38, 0.62),
    "difference in a spectrogram's frame": (0, 1e-9),
    "sound, untrained: to_text_all": (0, 0.05),
    "sound, aligned: to_text_all": (0.85, 1),
    "sound, aligned: to_text_held_out": (0.3, 0.7),
    "sound, aligned: to_picture_held_out": (0.3, 0.7),
    "touch, aligned: to_shape_all": (0.8, 0.95),
    "touch, aligned: to_colour_all": (0.08, 0.17),
    "touch, aligned: circle_as_circle": (0.4, 0.6),
    "touch, aligned: circle_as_ring": (0.4, 0.6),
    "no noise: film": (0.88, 1),
    "no noise: sound": (0.85, 0.98),
    "no noise: both": (0.93, 1),
    "noisy film: film": (0.75, 0.9),
    "noisy film: sound": (0.85, 0.98),
    "noisy film: both": (0.93, 1),
    "noisy sound: film": (0.88, 1),
    "noisy sound: sound": (0.75, 0.92),
    "noisy sound: both": (0.93, 1),
    "drowned sound: film": (0.88, 1),
    "drowned sound: sound": (0.05, 0.25),
    "drowned sound: both": (0.2, 0.5),
    "lines of the template": (10, 39),
    "a nose trained here": (0.8, 1),
    "smell, aligned: to_colour_all": (0.95, 1),
    "smell, aligned: to_shape_all": (0.08, 0.17),
}
CLAIMS["17"] = {
    "difference in the gathered loss": (0, 1e-5),
    "difference in the loss, one device and eight": (0, 1e-5),
    "difference in its gradients, one device and eight": (0, 1e-5),
    "local negatives: lower by": (2.3, 3.1),
    "difference in the loss, gathered without a way back": (0, 1e-5),
    "no way back: cosine of the gradients": (0.86, 0.95),
    "difference in the sigmoid loss as a ring": (0, 1e-4),
    "difference in the sigmoid loss, one device and eight": (0, 1e-4),
    "difference in cached gradients": (0, 1e-5),
    "cached gradients: cosine": (0.9999, 1.0001),
    "averaged over micro-batches: cosine": (0.84, 0.95),
    "whole batch: MB kept": (20, 30),
    "micro-batches of 8: MB kept": (1.5, 4),
    "rematerialisation: MB kept": (2, 4),
    "full matrix, 4,096 pairs: MB": (250, 800),
    "full matrix, 16,384 pairs: MB": (4_000, 13_000),
    "in blocks of rows, 4,096 pairs: MB": (10, 60),
    "in blocks of rows, 16,384 pairs: MB": (40, 200),
}
CLAIMS["18"] = {
    "difference in parameter counts": 0,
    "parameters of ViT-B/32": 151_277_313,
    "difference in patches by convolution": (0, 1e-4),
    "difference in embeddings, written and read again": 0,
    "nothing: accuracy": 1,
    "nothing: off by": (0, 1e-5),
    "attention not turned: accuracy": (0, 0.3),
    "attention not turned: off by": (0.3, 2),
    "patches as (channel, y, x): accuracy": (0, 0.3),
    "patches as (channel, y, x): off by": (0.3, 2),
    "norm_pre and norm_post swapped: accuracy": (0.9, 1),
    "norm_pre and norm_post swapped: off by": (0.01, 1),
    "GELU for QuickGELU: accuracy": (0.99, 1),
    "GELU for QuickGELU: off by": (0.001, 0.2),
}


@pytest.fixture(scope="module", autouse=True)
def figures_elsewhere(tmp_path_factory):
    """The committed figures stay as they are."""
    kit.FIGURES = tmp_path_factory.mktemp("figures")
    os.environ["TINYCLIP_FIGURES"] = str(kit.FIGURES)
    yield
    del os.environ["TINYCLIP_FIGURES"]


@cache
def ran(number):
    """The lesson after a run with --fast, and its seconds."""
    before, sys.argv = sys.argv, [str(ENTRIES[number].path), "--fast"]
    start = time.monotonic()
    try:
        with compiled_once():  # for the notebook, which runs the same
            scope = runpy.run_path(str(ENTRIES[number].path), run_name="__main__")
    finally:
        sys.argv = before
    return scope["lesson"], time.monotonic() - start


def alone(number):
    """The seconds of the lesson with --fast, as a program of its own that finds nothing compiled."""
    start = time.monotonic()
    environment = os.environ | importing(kit.ROOT)
    ended = subprocess.run([sys.executable, str(ENTRIES[number].path), "--fast"], stdin=subprocess.DEVNULL, capture_output=True, env=environment)
    assert ended.returncode == 0, ended.stderr.decode()
    return time.monotonic() - start


@pytest.mark.lessons
@pytest.mark.parametrize("number", NUMBERS)
def test_a_lesson_states_what_is_true(number):
    lesson, seconds = ran(number)
    assert CLAIMS[number].keys() == lesson.results.keys(), (
        f"lesson {number} computed other numbers than its test knows: {sorted(CLAIMS[number].keys() ^ lesson.results.keys())}"
    )
    for name, wanted in CLAIMS[number].items():
        got = lesson.results[name]
        if isinstance(wanted, tuple):
            assert wanted[0] <= got <= wanted[1], f"lesson {number}: {name} is {got}, not between {wanted[0]} and {wanted[1]}"
        else:
            assert got == wanted, f"lesson {number}: {name} is {got}, not {wanted}"
    if seconds >= SLOW:  # once more, as a learner starts it: a neighbour may have been busy, and the tests' checks of every annotation take time, too
        seconds = alone(number)
    assert seconds < SLOW, f"lesson {number} took {seconds:.0f} s with --fast"
    assert len(lesson.figures) == 1 and lesson.figures[0].is_file(), f"lesson {number} should save one figure"


@pytest.mark.lessons
@pytest.mark.parametrize("number", NUMBERS)
def test_what_a_lesson_shows_points_back_to_it(number):
    for thing in ran(number)[0].functions:
        doc = inspect.getdoc(inspect.unwrap(thing)) or ""
        module = inspect.getdoc(sys.modules[inspect.unwrap(thing).__module__]) or ""
        assert number in lessons_named(doc) | lessons_named(module), (
            f"lesson {number} shows {thing.__qualname__}, whose docstring (and its file's) does not name lesson {number}"
        )


@pytest.mark.lessons
def test_what_names_a_lesson_is_shown_by_it():
    shown = {number: {kit.place(thing) for thing in ran(number)[0].functions} for number in NUMBERS}
    missing = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree, name = ast.parse(path.read_text()), str(path.relative_to(kit.ROOT))
        file = name.removesuffix("__init__.py")  # a package's front stands for all of its files
        for number in sorted(lessons_named(ast.get_docstring(tree) or "") & set(NUMBERS)):
            if not any(place.startswith(file) for place in shown[number]):
                missing.append(f"{name} names lesson {number}, which shows nothing of it")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                # A class begins at its decorators; under the tests' type checker, from Python 3.13 on, below them.
                firsts = {f"{name}:{line}" for line in (node.lineno, *(d.lineno for d in node.decorator_list))}
                for number in sorted(lessons_named(ast.get_docstring(node) or "") & set(NUMBERS)):
                    if not firsts & shown[number]:
                        missing.append(f"{node.name} in {name} names lesson {number}, which does not show it")
    assert not missing, "\n".join(missing)


def lessons_named(text):
    """The numbers in "Lesson 04", "Lessons 05 and 06", "Lessons 07, 08 and 10"."""
    return {n for found in re.findall(r"[Ll]essons? ((?:\d\d(?:, | and )?)+)", text) for n in re.findall(r"\d\d", found)}


def as_notebook(number, folder):
    """The outputs of a lesson's code cells, run by Jupyter."""
    import jupytext
    from nbclient import NotebookClient

    found = {**COMPILED_ONCE, "JAX_NUM_CPU_DEVICES": str(jax.device_count())}  # what `ran` has compiled
    environment = os.environ | importing(kit.ROOT) | found | {"TINYCLIP_FAST": "1", "TINYCLIP_FIGURES": str(folder)}
    notebook = jupytext.read(ENTRIES[number].path)
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    asyncio.run(client.async_execute(env=environment))  # `execute` leaves its thread's event loop open
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.fixture(scope="module")
def notebooks(request, tmp_path_factory):
    """Those that tests ask for, two at once: each is a program of its own, and for half of its time keeps one core busy at most."""
    asked = [item.callspec.params["number"] for item in request.session.items if "notebooks" in item.fixturenames]
    with ThreadPoolExecutor(2) as beside:
        yield {number: beside.submit(as_notebook, number, tmp_path_factory.mktemp(f"notebook-{number}")) for number in asked}
        beside.shutdown(cancel_futures=True)


@pytest.mark.lessons
@pytest.mark.parametrize("number", NUMBERS)
def test_a_lesson_runs_as_a_notebook(number, notebooks):
    outputs = notebooks[number].result()
    assert any("image/png" in output.get("data", {}) for output in outputs), f"the notebook of lesson {number} shows no figure"


# What follows needs no run.


@pytest.mark.parametrize("number", NUMBERS)
def test_a_lesson_keeps_to_the_recipe(number):
    text = ENTRIES[number].path.read_text()
    lines = text.splitlines()
    assert 80 <= len(lines) <= 180, f"lesson {number} has {len(lines)} lines"
    for call in ("lesson.predict(", "lesson.answer(", "lesson.shapes(", "lesson.figure(", "lesson.show(", "lesson.recap(", "lesson.end("):
        assert call in text, f"lesson {number} lacks {call})"
    assert text.count("lesson.try_this(") == 2, f"lesson {number} should have two edits to try"
    assert re.search(r"# ## .*[Bb]reak", text), f"lesson {number} breaks nothing on purpose (a heading with 'Break')"
    for wrong in ("np.allclose", "import torch", "warnings.filter"):
        assert wrong not in text, f"lesson {number} has {wrong}"


@pytest.mark.parametrize("number", NUMBERS)
def test_a_lessons_figure_is_there_and_small(number):
    path = kit.HERE / "figures" / f"{ENTRIES[number].path.stem}.png"
    assert path.is_file(), f"the figure of lesson {number} is missing: run it once"
    assert path.stat().st_size <= 150_000, f"{path.name} takes {path.stat().st_size:,} bytes, more than 150,000"
    with Image.open(path) as picture:
        assert 400 <= picture.width <= 1200, f"{path.name} is {picture.width} pixels wide"


def test_lessons_are_in_order():
    assert [f"{k:02d}" for k in range(19)] == NUMBERS == sorted(CLAIMS), f"the course has lessons 00 to 18, each with its claims; got {NUMBERS}"


@pytest.mark.parametrize("number", NUMBERS)
def test_the_gallery_shows_every_lesson(number):
    entry, gallery = ENTRIES[number], (kit.HERE / "README.md").read_text()
    for piece in (entry.path.name, f"figures/{entry.path.stem}.png", entry.question, f"{entry.minutes:g} min"):
        assert piece in gallery, f"lessons/README.md lacks {piece!r} of lesson {number}: write it with `python -m lessons gallery`"


def test_every_exercise_names_a_function_that_exists():
    ids = []
    for number in NUMBERS:
        for exercise in kit.exercises(number):
            assert all(inspect.isroutine(kit.target(name)) for name in (exercise.target, *exercise.also)), f"{exercise.id}: no function"
            assert len(exercise.hints) == 3 and exercise.minutes > 0 and exercise.difficulty in (1, 2, 3), f"{exercise.id}"
            assert all(need in ids for need in exercise.needs), f"{exercise.id} needs an exercise that does not come before it"
            assert exercise.id == f"{int(number)}.{sum(i.split('.')[0] == str(int(number)) for i in ids) + 1}", f"{exercise.id} is out of order"
            ids.append(exercise.id)
    assert len(set(ids)) == len(ids)


def test_cells_are_all_of_a_lesson():
    for entry in COURSE:
        kinds = [kind for kind, _, _ in cells(entry)]
        assert kinds[0] == "markdown" and "code" in kinds, f"lesson {entry.number} should begin with prose"


def test_what_a_lesson_shows_is_found_in_another_copy_of_its_file_too():
    """As in a hand-out, where it stands at another line than in the library that was lent."""
    for thing in (losses.contrastive_loss, transformer.Attention, transformer.Attention.of_rows, clip.CLIP.dtype.fget, splits.pair_swaps):
        source = inspect.unwrap(thing)
        file, line = Path(inspect.getsourcefile(source)), inspect.getsourcelines(source)[1]
        assert kit.line_of(file, source.__qualname__) == line, f"{source.__qualname__} begins at line {line} of {file.name}"
    assert kit.line_of(PACKAGE / "losses.py", "Nothing.at_all") is None and kit.line_of(PACKAGE / "none.py", "x") is None


def test_the_front_door_lists_the_course(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    for entry in COURSE:
        assert entry.number in out and entry.title.split()[0] in out, f"the table lacks lesson {entry.number}"
    assert "next:" in out or "run them all" in out


def test_a_mistyped_lesson_gets_a_suggestion():
    with pytest.raises(SystemExit, match="did you mean similarity"):
        main(["run", "similarty"])
    with pytest.raises(SystemExit, match="there are 00 to"):
        main(["show", "99"])
    assert main(["rnu"]) == 2


def test_a_lesson_is_found_by_number_and_by_name(capsys):
    for words in ("1", "01", "similarity", "01_similarity.py"):
        assert main(["show", words]) == 0
        assert "Similarity" in capsys.readouterr().out


def test_a_lesson_without_a_terminal_never_blocks(tmp_path):
    entry = ENTRIES["01"]
    environment = os.environ | importing(kit.ROOT) | {"TINYCLIP_FIGURES": str(tmp_path)}
    ended = subprocess.run([sys.executable, str(entry.path)], stdin=subprocess.PIPE, capture_output=True, text=True, timeout=60, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert "Predict: " in ended.stdout and "Answer: " in ended.stdout
    wrong = subprocess.run([sys.executable, str(entry.path), "--fats"], capture_output=True, text=True, timeout=60, env=environment)
    assert wrong.returncode and "unknown option --fats" in wrong.stderr


@pytest.mark.lessons
def test_what_a_lesson_compiles_is_kept_for_its_next_run(tmp_path):
    # Not where an earlier test, or the teacher's shell, keeps what JAX compiles: where a learner's lesson does.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "TINYCLIP_TESTS", "XLA_FLAGS"))}
    environment = inherited | importing(kit.ROOT) | {"TINYCLIP_FIGURES": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"  # all that a lesson of small programs compiles, however fast the machine
    command = [sys.executable, str(ENTRIES["04"].path), "--fast"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    kept = list((tmp_path / "tinyclip" / "compiled").glob("*"))
    assert kept, "lesson 04 kept nothing of what XLA compiled: its next run compiles all of it again"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_on_a_terminal_a_lesson_asks_for_the_prediction(tmp_path):
    import pty

    environment = os.environ | importing(kit.ROOT) | {"TINYCLIP_FIGURES": str(tmp_path)}
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, str(ENTRIES["01"].path)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # Linux says end of file so
        while b"your guess" not in said and (more := os.read(ours, 1000)):
            said += more
        os.write(ours, b"the dog\n")
        while more := os.read(ours, 1000):
            said += more
    assert process.wait(60) == 0, said.decode()
    assert b"You said: the dog" in said and b"Answer: " in said, f"the guess should be shown beside the answer: {said.decode()}"


def test_every_claim_is_a_range_that_can_fail():
    for number, claims in CLAIMS.items():
        for name, wanted in claims.items():
            if isinstance(wanted, tuple):
                assert wanted[0] <= wanted[1] and all(map(math.isfinite, wanted)), f"lesson {number}: {name}"
