"""`python -m lessons.experiments NAME`: train and score an experiment's conditions, and write their table and models."""

import argparse

from lessons.experiments import NAMES, get


def main(arguments: list[str] | None = None) -> None:
    """Run one experiment, or say what there is."""
    parser = argparse.ArgumentParser(prog="python -m lessons.experiments", description="Train and score the experiments of lessons 12 to 16.")
    parser.add_argument("name", choices=NAMES, help="which experiment")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="seeds to train with (default: 0 1 2)")
    parser.add_argument("--only", nargs="+", default=[], metavar="CONDITION", help="only these conditions")
    asked = parser.parse_args(arguments)
    experiment = get(asked.name)
    known = [condition.name for condition in experiment.conditions]
    for name in asked.only:
        if name not in known:
            parser.error(f"{asked.name} has no condition {name!r}: choose from {', '.join(known)}")
    print(f"{asked.name}: {experiment.question}")
    experiment.run(asked.seeds, asked.only)


if __name__ == "__main__":
    from tinyclip.cli import begin_quickly

    begin_quickly()
    main()
