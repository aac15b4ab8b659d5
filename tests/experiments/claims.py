"""What the tests of the experiments share."""


def table_is_whole(experiment):
    """Three seeds of each condition, all with the same scores."""
    results = experiment.results()
    conditions = {condition.name for condition in experiment.conditions}
    assert set(results) == conditions, f"the table of {experiment.name} has the conditions {sorted(results)}"
    for name, seeds in results.items():
        assert set(seeds) == {"0", "1", "2"}, f"{experiment.name}, {name}, should have the seeds 0, 1 and 2, not {sorted(seeds)}"
        assert len({frozenset(scores) for scores in seeds.values()}) == 1, f"the seeds of {experiment.name}, {name}, do not have the same scores"
        size = experiment.path(name).stat().st_size
        assert size < 300_000, f"the model of {experiment.name}, {name}, takes {size:,} bytes, more than 300,000"


def lies_within(experiment, condition, ranges):
    """Every seed of a condition within the range of every score."""
    for seed, scores in experiment.results()[condition].items():
        for name, (least, most) in ranges.items():
            assert least <= scores[name] <= most, (
                f"{experiment.name}, {condition}, seed {seed}: {name} is {scores[name]}, not between {least} and {most}"
            )


def mean_within(experiment, condition, ranges):
    """The mean over the seeds within the range of every score."""
    for name, (least, most) in ranges.items():
        mean = experiment.spread(condition, name)[0]
        assert least <= mean <= most, f"{experiment.name}, {condition}, mean of the seeds: {name} is {mean:.4f}, not between {least} and {most}"


def scores_again(experiment, condition):
    """The committed model of the first seed still scores what the table says."""
    scores = experiment[condition].score(experiment.load(condition))
    table = {name: value for name, value in experiment.results()[condition]["0"].items() if name != "seconds"}
    assert scores.keys() == table.keys(), f"{experiment.name}, {condition}: the scores {sorted(scores.keys() ^ table.keys())} are in one only"
    for name, value in table.items():
        assert abs(scores[name] - value) <= 0.005, f"{experiment.name}, {condition}: {name} is {scores[name]:.4f}, but the table says {value}"
