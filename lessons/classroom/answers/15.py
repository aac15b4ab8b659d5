"""Lesson 15: fairness."""

from collections import Counter

import numpy as np

from lessons.classroom.answers import right, wrong

# 15.1 equalised_odds


@wrong("15.1", "are these others less members? It is the members' rate less that of the others")
def equalised_odds_turned(said, true, member):
    rates = []
    for truth in (True, False):
        for own in (False, True):
            asked = (true == truth) & (member == own)
            if not asked.any():
                raise ValueError("nobody")
            rates.append(said[asked].mean())
    return float(rates[0] - rates[1]), float(rates[2] - rates[3])


@wrong("15.1", "do the false positives come first? The true positives do")
def equalised_odds_false_positives_first(said, true, member):
    rates = []
    for truth in (False, True):
        for own in (True, False):
            asked = (true == truth) & (member == own)
            if not asked.any():
                raise ValueError("nobody")
            rates.append(said[asked].mean())
    return float(rates[0] - rates[1]), float(rates[2] - rates[3])


@wrong("15.1", "did you drop the sign? It says who gets the more yes: members or others")
def equalised_odds_without_a_sign(said, true, member):
    rates = []
    for truth in (True, False):
        for own in (True, False):
            asked = (true == truth) & (member == own)
            if not asked.any():
                raise ValueError("nobody")
            rates.append(said[asked].mean())
    return float(abs(rates[0] - rates[1])), float(abs(rates[2] - rates[3]))


@wrong("15.1", "do you look at one truth at a time? The share of yes among all members is another measure, demographic parity")
def equalised_odds_as_parity(said, true, member):
    if min((true & member).sum(), (true & ~member).sum(), (~true & member).sum(), (~true & ~member).sum()) == 0:
        raise ValueError("nobody")
    difference = float(said[member].mean() - said[~member].mean())
    return difference, difference


@wrong("15.1", "is it the share of right answers? Where yes is not true, a false positive is a yes, not a no")
def equalised_odds_of_right_answers(said, true, member):
    rates = []
    for truth in (True, False):
        for own in (True, False):
            asked = (true == truth) & (member == own)
            if not asked.any():
                raise ValueError("nobody")
            rates.append((said == true)[asked].mean())
    return float(rates[0] - rates[1]), float(rates[2] - rates[3])


@wrong("15.1", "do you divide by all members? A rate is a share of those alone for whom yes is true, or is not")
def equalised_odds_of_all_members(said, true, member):
    differences = []
    for truth in (True, False):
        both = [said & (true == truth) & (member == own) for own in (True, False)]
        if any(not ((true == truth) & (member == own)).any() for own in (True, False)):
            raise ValueError("nobody")
        differences.append(float(both[0].sum() / member.sum() - both[1].sum() / (~member).sum()))
    return differences[0], differences[1]


@wrong("15.1", "are these shares of those who got a yes? The rates are of those for whom yes is true, or is not")
def equalised_odds_as_precision(said, true, member):
    if min((true & member).sum(), (true & ~member).sum(), (~true & member).sum(), (~true & ~member).sum()) == 0:
        raise ValueError("nobody")
    share = {(answer, own): true[(said == answer) & (member == own)].sum() for answer in (True, False) for own in (True, False)}
    size = {(answer, own): max(((said == answer) & (member == own)).sum(), 1) for answer in (True, False) for own in (True, False)}
    rate = {key: share[key] / size[key] for key in share}
    return float(rate[True, True] - rate[True, False]), float(rate[False, True] - rate[False, False])


@wrong("15.1", "is the rate of nobody taken for 0? There is no such rate, and whoever asks for it should hear so")
def equalised_odds_with_a_rate_of_nobody(said, true, member):
    def rate(asked):
        return said[asked].sum() / max(asked.sum(), 1)

    return float(rate(true & member) - rate(true & ~member)), float(rate(~true & member) - rate(~true & ~member))


@right("15.1")
def equalised_odds_by_a_table(said, true, member):
    cell = 2 * np.asarray(true, int) + np.asarray(member, int)
    asked = np.bincount(cell, minlength=4)
    if (asked == 0).any():
        raise ValueError("one of the four groups is empty")
    rate = np.bincount(cell, weights=said, minlength=4) / asked
    return float(rate[3] - rate[2]), float(rate[1] - rate[0])


@right("15.1")
def equalised_odds_by_counting(said, true, member):
    differences = []
    for truth in (True, False):
        share = []
        for own in (True, False):
            answers = [s for s, t, m in zip(said, true, member, strict=True) if t == truth and m == own]
            if not answers:
                raise ValueError("no answers there")
            share.append(sum(map(int, answers)) / len(answers))
        differences.append(share[0] - share[1])
    return tuple(differences)


# 15.2 balanced_chances


@wrong("15.2", "do the chances of all examples sum to 1? So far each group's do")
def balanced_chances_sum_to_groups(group):
    _, own, members = np.unique(group, return_inverse=True, return_counts=True)
    return 1 / members[own]


@wrong("15.2", "are large groups drawn more often? The chance should fall as a group grows")
def balanced_chances_turned(group):
    _, own, members = np.unique(group, return_inverse=True, return_counts=True)
    return members[own] / members[own].sum()


@wrong("15.2", "are all examples equally likely? Then a group is drawn as often as it is large")
def balanced_chances_even(group):
    return np.full(len(group), 1 / len(group))


@wrong("15.2", "is every number up to the largest taken for a group? Only those that occur are groups")
def balanced_chances_by_bincount(group):
    members = np.bincount(group)
    return 1 / (len(members) * members[group])


@wrong("15.2", "is this one chance a group? One for each example is wanted")
def balanced_chances_one_a_group(group):
    _, members = np.unique(group, return_counts=True)
    return 1 / (len(members) * members)


@wrong("15.2", "does each example get its group's whole share? The members of a group divide it among them")
def balanced_chances_undivided(group):
    return np.full(len(group), 1 / len(np.unique(group)))


@wrong("15.2", "do the chances stand in the order of the groups? They belong to the examples, in the examples' order")
def balanced_chances_sorted(group):
    _, members = np.unique(group, return_counts=True)
    return np.repeat(1 / (len(members) * members), members)


@wrong("15.2", "is it 1 less the group's share? That lifts small groups a little, but not to an equal share")
def balanced_chances_one_less_the_share(group):
    _, own, members = np.unique(group, return_inverse=True, return_counts=True)
    chances = 1 - members[own] / len(group) + 1e-12
    return chances / chances.sum()


@right("15.2")
def balanced_chances_by_counter(group):
    members = Counter(np.asarray(group).tolist())
    return np.array([1 / members[g] for g in np.asarray(group).tolist()]) / len(members)


@right("15.2")
def balanced_chances_by_comparison(group):
    same = (group[:, None] == group[None, :]).sum(axis=1)
    chances = 1.0 / same
    return chances / chances.sum()
