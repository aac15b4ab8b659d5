"""The toy world: pictures drawn by code, sentences from a grammar, and therefore the truth about both.

Four worlds share one form: `single` (one thing), `pairs` (two things and a relation), `sixteen` (4 colours x 4 shapes, the yardstick of other
toy CLIPs) and `animals`. Read `scene.py`, `draw.py`, `caption.py`, `splits.py` in that order; lesson 02 walks through them.
"""

from .worlds import WORLDS, World, get_world, read_anywhere

__all__ = ["WORLDS", "World", "get_world", "read_anywhere"]
