"""Recomputes the verdicts of a results folder from results.csv and ablation.textproto with numpy and scipy alone.

  python3 tools/reference/statistics_verdicts.py results/digits

It compares them with comparisons.json, number by number, and fails if they differ by more than 1e-9 (relative).
"""

import csv
import itertools
import json
import math
import os
import re
import sys

import numpy
from scipy import stats

CLASSES = 10  # of the data: a diverged run counts as chance, or as the worst finished run where that is worse
LOWER_IS_BETTER = {"test_loss", "live_parameters", "live_macs"}
NEITHER = {"mean_abs_rho", "live_filter_norm", "dead_filter_norm", "turned_degrees", "mask_age"}


def blocks(text, name):
    """The texts between the braces of the top-level messages called `name`."""
    for match in re.finditer(rf"^{name} {{", text, re.M):
        depth, at = 1, match.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        yield text[match.end() : at - 1]


def field(text, name, default):
    match = re.search(rf'\b{name}: "?([^"\n ]+)"?', text)
    return match.group(1) if match else default


def plan(block, terms):
    """Its place among the primary ones (0: none), and its manipulation checks."""
    checks = []
    for check in re.findall(r"manipulation {([^}]*)}", block):
        checks.append(
            (field(check, "metric", "").lower(), field(check, "treatment", terms[0][0]), field(check, "control", terms[1][0]),
             float(field(check, "at_most", math.inf)), float(field(check, "at_least", -math.inf)))
        )
    rest = re.sub(r"manipulation {[^}]*}", "", block)
    return int(field(rest, "primary", 0)), checks


def held(rows, checks):
    for metric, treatment, control, at_most, at_least in checks:
        values = [values_of([row for row in rows if row["status"] == "done"], arm, metric, None) for arm in (treatment, control)]
        seeds = [seed for seed in values[0] if seed in values[1]]
        if not seeds:
            return False
        ratio = sum(values[0][seed] for seed in seeds) / sum(values[1][seed] for seed in seeds)
        if not at_least <= ratio <= at_most:
            return False
    return True


def holm(p):
    """The adjusted p of each, and its divisor."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    largest, divisor, ended_by, result = 0, len(p), None, [None] * len(p)
    for rank, i in enumerate(order):
        if rank == 0 or p[i] != p[order[rank - 1]]:
            divisor = len(p) - rank
        largest = max(largest, min(1, divisor * p[i]))
        if largest > 0.05 and ended_by is None:
            ended_by = divisor
        # Holm stops at the first that is not rejected; a later one that its own divisor would reject gets its divisor.
        ended = largest > 0.05 and divisor * p[i] <= 0.05
        result[i] = (largest, ended_by if ended else divisor)
    return result


def wanted(text):
    for block in blocks(text, "comparison"):
        terms = [(field(block, "treatment", ""), 1.0), (field(block, "control", ""), -1.0)]
        yield None, terms, field(block, "metric", "TEST_TOP1").lower(), float(field(block, "margin", 0)), plan(block, terms)
    for block in blocks(text, "contrast"):
        terms = [(field(t, "arm", ""), float(field(t, "weight", 0))) for t in re.findall(r"term {([^}]*)}", block)]
        yield field(block, "name", ""), terms, field(block, "metric", "TEST_TOP1").lower(), float(
            field(block, "margin", 0)
        ), plan(block, terms)


def lost_value(rows, arms, metric):
    """What a diverged run counts as in a comparison of these arms; None: as it is measured."""
    chance = {
        "test_top1": 1 / CLASSES,
        "validation_top1": 1 / CLASSES,
        "test_top5": min(1, 5 / CLASSES),
        "test_loss": math.log(CLASSES),
    }
    if metric not in chance:
        return None
    finished = [float(row[metric]) for row in rows if row["arm"] in arms and row["status"] == "done" and row[metric]]
    return (max if metric in LOWER_IS_BETTER else min)([chance[metric]] + finished)


def values_of(rows, arm, metric, lost):
    result = {}
    for row in rows:
        if row["arm"] != arm:
            continue
        if row["status"] == "done" and row[metric]:
            result[row["seed"]] = float(row[metric])
        if row["status"] == "diverged":
            measured = float(row[metric]) if row[metric] else math.nan
            result[row["seed"]] = measured if lost is None else lost
    return result


def sign_flip(d):
    """Exact two-sided p, all signs one by one."""
    signs = numpy.array(list(itertools.product((-1, 1), repeat=len(d))))
    return numpy.mean(numpy.abs(signs @ d) >= abs(d.sum()) - 1e-12)


def interval(d, alpha):
    """The shifts that the test does not reject at alpha, searched among the means of subsets, where its p changes."""
    if 2 / 2 ** len(d) > alpha:
        return None, None
    subsets = numpy.array(list(itertools.product((0, 1), repeat=len(d)))[1:])
    means = numpy.unique(subsets @ d / subsets.sum(1))
    ends = []
    for candidates in (means, means[::-1]):
        # Any shift that is not rejected will do: p does not fall from an end towards the mean.
        low, high = 0, len(candidates) - 1
        while low < high:
            middle = (low + high) // 2
            if sign_flip(d - candidates[middle]) > alpha + 1e-13:
                high = middle
            else:
                low = middle + 1
        ends.append(candidates[low])
    return tuple(ends)


def judge(rows, terms, metric, margin):
    lost = lost_value(rows, [arm for arm, _ in terms], metric)
    values = [values_of(rows, arm, metric, lost) for arm, _ in terms]
    seeds = [seed for seed in values[0] if all(seed in v for v in values)]
    d = numpy.array([sum(w * v[seed] for (_, w), v in zip(terms, values)) for seed in seeds])
    samples = [numpy.array(list(v.values())) for v in values]
    weights = [w for _, w in terms]
    n = len(d)
    result = {
        "n_treatment": sum(len(s) for s, w in zip(samples, weights) if w > 0),
        "n_control": sum(len(s) for s, w in zip(samples, weights) if w < 0),
        "mean_treatment": sum(w * s.mean() for s, w in zip(samples, weights) if w > 0),
        "mean_control": -sum(w * s.mean() for s, w in zip(samples, weights) if w < 0),
        "difference": d.mean(),
        "p_sign_flip": sign_flip(d),
        "margin": margin,
    }
    if len(terms) == 2:
        result["p_welch"] = stats.ttest_ind(samples[0], samples[1], equal_var=False).pvalue
    degrees = sum(len(s) - 1 for s in samples)
    pooled = math.sqrt(sum(s.var(ddof=1) * (len(s) - 1) for s in samples) / degrees)
    total = sum(w * s.mean() for s, w in zip(samples, weights))
    result["hedges_g"] = total / pooled * (1 - 3 / (4 * degrees - 1))
    if margin > 0 and n > 1 and d.std() > 0:
        result["p_equivalence"] = max(
            stats.ttest_1samp(d, -margin, alternative="greater").pvalue,
            stats.ttest_1samp(d, margin, alternative="less").pvalue,
        )
    return d, result


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "results.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    with open(os.path.join(folder, "ablation.textproto")) as file:
        comparisons = list(wanted(file.read()))
    with open(os.path.join(folder, "comparisons.json")) as file:
        reported = json.load(file)
    assert len(reported) == len(comparisons) > 0, (len(reported), len(comparisons))
    judged = [judge(rows, terms, metric, margin) for _, terms, metric, margin, _ in comparisons]
    # No verdict across measures of sparsity, which these files do not tell: taken as reported.
    decidable = [2 / 2 ** len(d) <= 0.05 and "obstacle" not in report for (d, _), report in zip(judged, reported)]
    primary = sorted((i for i, c in enumerate(comparisons) if c[4][0]), key=lambda i: comparisons[i][4][0])
    others = [i for i in range(len(comparisons)) if i not in primary]
    for _, result in judged:
        result.update(p_holm=result["p_sign_flip"], holm_divisor=1)
    budget = [i for i in others if decidable[i]]
    for i, (p, divisor) in zip(budget, holm([judged[i][1]["p_sign_flip"] for i in budget])):
        judged[i][1].update(p_holm=p, holm_divisor=divisor)
    for _, result in judged:
        if "p_equivalence" in result:
            result["p_equivalence_holm"] = result["p_equivalence"]
    budget = [i for i in primary + others if "p_equivalence" in judged[i][1] and "obstacle" not in reported[i]]
    for i, (p, _) in zip(budget, holm([judged[i][1]["p_equivalence"] for i in budget])):
        judged[i][1]["p_equivalence_holm"] = p
    closed = False
    for i in primary + others:
        name, terms, metric, margin, (place, checks) = comparisons[i]
        (d, result), report = judged[i], reported[i]
        result["ci_low"], result["ci_high"] = interval(d, 0.05 / result["holm_divisor"])
        verdict = "no conclusion"
        if closed or "obstacle" in report:
            pass
        elif not held(rows, checks):
            verdict = "could not be tested"
        elif result["p_holm"] <= 0.05:
            above = result["difference"] > 0
            verdict = "better" if above != (metric in LOWER_IS_BETTER) else "worse"
            if metric in NEITHER:
                verdict = "higher" if above else "lower"
            if -margin < result["ci_low"] and result["ci_high"] < margin:
                verdict += " by less than the margin"
        elif result.get("p_equivalence_holm", 1) <= 0.05:
            verdict = "equivalent"
        closed = closed or (place > 0 and verdict in ("no conclusion", "could not be tested", "equivalent"))
        result["verdict"] = verdict
        for key, value in result.items():
            other = report[key]
            if isinstance(value, str) or value is None or other is None:
                same = value == other
            else:
                same = math.isclose(value, other, rel_tol=1e-9, abs_tol=1e-15)
            assert same, f"{name or terms}: {key} is {other} in comparisons.json, {value} here"
        print(f"{name or ' vs. '.join(arm for arm, _ in terms)}, {metric}: {verdict}; {len(result)} values agree")


main()
