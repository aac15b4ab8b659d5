"""More senses in the space of pictures and sentences: sound, touch and smell, each aligned with pictures only, and video.

`align.py` holds the small encoder and the one call that all of them share; a sense is a function (key, meaning) -> readings. Lesson 16.
"""

from .align import Sense, SenseEncoder, align, confusions, descend, embed_sense, emergent_scores, sentences, told_by

__all__ = ["Sense", "SenseEncoder", "align", "confusions", "descend", "embed_sense", "emergent_scores", "sentences", "told_by"]
