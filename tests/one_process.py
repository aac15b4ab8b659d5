"""`tinyclip train` as a program of its own, without the evaluation that follows, in chunks of 10 steps and with a checkpoint after each."""

import sys
from unittest import mock

from tinyclip import cli, commands, run
from tinyclip.config import RECIPES

if __name__ == "__main__":
    with (
        mock.patch.object(run, "SAVE_EVERY", 0.0),
        mock.patch.object(commands, "_scores", lambda *_: {}),
        mock.patch.object(commands, "draw_figures", lambda *_: []),
        mock.patch.dict(RECIPES["sixteen"]["train"], {"chunk": 10}),
    ):
        sys.exit(cli.main(["train", *sys.argv[1:]]))
