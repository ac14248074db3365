"""Reference values of scipy and statsmodels for ml/statistics/statistics_test.cc.

  python3 tools/reference/statistics_values.py > ml/statistics/statistics_values.json

It needs numpy, scipy and statsmodels. A t statistic does not change when both samples are shifted, but scipy loses
digits if the offset is large. So offsets are subtracted in exact arithmetic before scipy sees the samples.
"""

import itertools
import json
import math
import random
import sys
import warnings
from fractions import Fraction

import numpy
import scipy
import statsmodels
from scipy import optimize, special, stats
from statsmodels.stats.meta_analysis import effectsize_smd
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

warnings.simplefilter("ignore")
generator = random.Random(20201118)


def noisy(n, mean, sd, digits):
    return [round(generator.gauss(mean, sd), digits) for _ in range(n)]


PAIRS = {
    "two": ([0.91, 0.94], [0.90, 0.92]),
    "two opposite": ([0.5, 0.7], [0.6, 0.55]),
    "three": ([0.9889, 0.9917, 0.9861], [0.9972, 0.9944, 0.9917]),
    "ten accuracies": (noisy(10, 0.823, 0.009, 4), noisy(10, 0.808, 0.009, 4)),
    "ties": ([0.91, 0.92, 0.92, 0.93, 0.90, 0.91, 0.92], [0.90, 0.92, 0.91, 0.92, 0.91, 0.90, 0.92]),
    "equal but one": ([0.5, 0.5, 0.5, 0.5, 0.5, 0.75], [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
    "no spread": ([0.75, 0.5, 1.0, 0.25, 0.5, 0.75], [0.625, 0.375, 0.875, 0.125, 0.375, 0.625]),
    "all the same": ([0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1]),
    "constant arms": ([0.75, 0.75, 0.75, 0.75, 0.75, 0.75], [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
    "offset 1e9": ([1e9 + i / 64 for i in (3, 9, 4, 40, 22, 17, 8)], [1e9 + i / 64 for i in (1, 12, 2, 30, 20, 2, 7)]),
    "offset 2^50": ([2.0**50 + i for i in (2, 5, 3, 9, 4, 4)], [2.0**50 + i for i in (1, 7, 3, 2, 0, 5)]),
    "tiny": ([i * 1e-9 for i in (3, 5, 4, 8, 2, 9)], [i * 1e-9 for i in (1, 5, 2, 3, 4, 6)]),
    "large": (noisy(8, 236619, 26257, 0), noisy(8, 228875, 57962, 0)),
    "skewed": (
        [0.1, 0.82, 0.81, 0.83, 0.82, 0.8, 0.81, 0.82, 0.83],
        [0.81, 0.8, 0.82, 0.81, 0.8, 0.79, 0.8, 0.82, 0.8],
    ),
    "fourteen": (noisy(14, 2.1, 0.3, 5), noisy(14, 2.0, 0.2, 5)),
    "strong": (noisy(12, 0.95, 0.002, 5), noisy(12, 0.9, 0.002, 5)),
}
UNEQUAL = {
    "two and five": ([0.9, 0.95], [0.8, 0.82, 0.85, 0.8, 0.81]),
    "nine and four": (noisy(9, 1.0, 0.5, 3), noisy(4, 1.4, 0.1, 3)),
    "ten and ten": (noisy(10, 0.8, 0.01, 4), noisy(10, 0.81, 0.02, 4)),
}
LEVELS = [0.95, 0.99, 1 - 0.05 / 3]


def exact(values):
    return [Fraction(v) for v in values]


def differences(a, b):
    return [float(x - y) for x, y in zip(exact(a), exact(b))]


def shifted(a, b):
    offset = Fraction(b[0])
    return [float(x - offset) for x in exact(a)], [float(x - offset) for x in exact(b)]


def finite(x):
    x = float(x)
    return None if math.isnan(x) else x if math.isfinite(x) else ("inf" if x > 0 else "-inf")


def summaries():
    samples = {name: a for name, (a, _) in PAIRS.items()}
    for name, values in samples.items():
        centred = [float(x - exact(values)[0]) for x in exact(values)]
        mean = sum(exact(values)) / len(values)
        sem = stats.sem(centred)
        low, high = stats.t.interval(0.95, len(values) - 1, loc=0, scale=sem) if sem > 0 else (0, 0)
        yield {
            "case": name,
            "values": values,
            "mean": float(mean),
            "sd": numpy.std(centred, ddof=1),
            "half_width": high,
        }


def paired():
    for name, (a, b) in PAIRS.items():
        d = differences(a, b)
        test = stats.ttest_rel(d, [0.0] * len(d))
        if len(set(d)) == 1:  # scipy leaves 0/0 undefined, and may take rounding for a spread
            t, p = (0.0, 1.0) if d[0] == 0 else ("inf" if d[0] > 0 else "-inf", 0.0)
        else:
            t, p = finite(test.statistic), finite(test.pvalue)
        yield {"case": name, "treatment": a, "control": b, "t": t, "p": p}


def welch():
    for name, (a, b) in {**PAIRS, **UNEQUAL}.items():
        x, y = shifted(a, b)
        test = stats.ttest_ind(x, y, equal_var=False)
        if len(set(x)) == 1 and len(set(y)) == 1:
            t, p = (0.0, 1.0) if x[0] == y[0] else ("inf" if x[0] > y[0] else "-inf", 0.0)
            yield {"case": name, "treatment": a, "control": b, "t": t, "p": p, "df": None}
        else:
            yield {
                "case": name,
                "treatment": a,
                "control": b,
                "t": finite(test.statistic),
                "p": finite(test.pvalue),
                "df": finite(test.df),
            }


def sign_flip():
    for name, (a, b) in PAIRS.items():
        d = differences(a, b)
        if all(x == 0 for x in d):
            p = 1.0
        else:
            test = stats.permutation_test(
                (d, [0.0] * len(d)),
                lambda x, y, axis: numpy.sum(x - y, axis=axis),
                n_resamples=numpy.inf,
                permutation_type="samples",
                vectorized=True,
            )
            p = test.pvalue
        yield {"case": name, "treatment": a, "control": b, "p": p}


def sign_flip_p_at(d, shift):
    """Two-sided p of the sign-flip test of d - shift; exact."""
    e = [x - shift for x in d]
    scale = math.lcm(*(x.denominator for x in e))
    e = [int(x * scale) for x in e]
    sums = [0]
    for x in e:
        sums = [s + x for s in sums] + [s - x for s in sums]
    observed = abs(sum(e))
    return Fraction(sum(abs(s) >= observed for s in sums), len(sums))


def sign_flip_intervals():
    """Finds, by bisection, the shift from which on the test does not reject it."""
    for name, (a, b) in PAIRS.items():
        d = [x - y for x, y in zip(exact(a), exact(b))]
        if len(d) > 12:
            continue
        for level in LEVELS:
            alpha = Fraction(1 - level)
            alpha = alpha.limit_denominator(100000)  # 1 - 0.95 is not 0.05
            if Fraction(2, 2 ** len(d)) > alpha:
                yield {"case": name, "treatment": a, "control": b, "level": level, "low": "-inf", "high": "inf"}
                continue
            ends = []
            for sign in (1, -1):
                e = [sign * x for x in d]
                out, kept = min(e) - 1 - abs(min(e)), sum(e) / len(e)
                for _ in range(110 if max(map(abs, e)) < 1e6 else 60):
                    middle = (out + kept) / 2
                    if sign_flip_p_at(e, middle) > alpha:
                        kept = middle
                    else:
                        out = middle
                ends.append(sign * kept if abs(kept) > 1e-25 else 0)  # what bisection leaves instead of 0
            yield {
                "case": name,
                "treatment": a,
                "control": b,
                "level": level,
                "low": float(ends[0]),
                "high": float(ends[1]),
            }


def hedges():
    for name, (a, b) in {**PAIRS, **UNEQUAL}.items():
        x, y = shifted(a, b)
        if len(set(x)) == 1 and len(set(y)) == 1:
            yield {"case": name, "treatment": a, "control": b, "g": None}
            continue
        g, _ = effectsize_smd(numpy.mean(x), numpy.std(x, ddof=1), len(x), numpy.mean(y), numpy.std(y, ddof=1), len(y))
        yield {"case": name, "treatment": a, "control": b, "g": g}


def contrasts():
    names = ["ten accuracies", "fourteen", "strong", "three", "skewed", "large", "offset 1e9"]
    for name in names:
        weights = [1, -1, -1, 1] if name != "fourteen" else [1, 0.5, -2, 0.5]
        a, b = PAIRS[name]
        samples = [a, b, b[: len(b) // 2 + 1], a[1:]]
        x = [[float(v - Fraction(b[0])) for v in exact(s)] for s in samples]
        variances = [w * w * numpy.var(s, ddof=1) / len(s) for w, s in zip(weights, x)]
        total = sum(w * numpy.mean(s) for w, s in zip(weights, x))
        t = total / math.sqrt(sum(variances))
        df = sum(variances) ** 2 / sum(v**2 / (len(s) - 1) for v, s in zip(variances, x))
        pooled_df = sum(len(s) - 1 for s in x)
        pooled = math.sqrt(sum((len(s) - 1) * numpy.var(s, ddof=1) for s in x) / pooled_df)
        g = total / pooled * (1 - 3 / (4 * pooled_df - 1))
        yield {"case": name, "samples": samples, "weights": weights, "t": t, "p": 2 * stats.t.sf(abs(t), df), "g": g}


def holm():
    for name, p in {
        "one": [0.03],
        "two": [0.04, 0.01],
        "five": [0.01, 0.04, 0.03, 0.005, 0.2],
        "ties": [0.25, 0.25, 0.001953125, 0.001953125, 0.5],
        "above one": [0.6, 0.7, 0.9, 0.4],
        "with zero": [0.0, 1.0, 0.02, 0.02],
        "descending": [0.9, 0.5, 0.1, 0.05, 0.01, 0.001],
    }.items():
        yield {"case": name, "p": p, "adjusted": list(multipletests(p, method="holm")[1])}


def equivalence():
    for name, (a, b) in PAIRS.items():
        d = differences(a, b)
        spread = float(numpy.std(d, ddof=1)) or 0.1
        for margin in (0.5 * spread, abs(float(numpy.mean(d))) + 2 * spread):
            if len(set(d)) == 1:
                p = 0.0 if abs(d[0]) < margin else 1.0
            else:
                p = ttost_paired(numpy.array(d), numpy.zeros(len(d)), -margin, margin)[0]
            yield {"case": name, "treatment": a, "control": b, "margin": margin, "p": p}


def power():
    for n, effect, alpha in [
        (2, 1.0, 0.05),
        (3, 0.5, 0.05),
        (5, 1.2, 0.01),
        (10, 0.9, 0.05),
        (10, 0.0, 0.05),
        (30, 0.5, 0.005),
        (100, 0.2, 0.05),
        (1000, 0.1, 0.01),
    ]:
        yield {
            "case": f"{n} seeds, effect {effect}",
            "n": n,
            "effect": effect,
            "alpha": alpha,
            "power": TTestPower().power(effect, n, alpha),
        }


def detectable():
    for n, sd, alpha, wanted in [
        (6, 0.01, 0.05, 0.8),
        (8, 1.0, 0.05 / 5, 0.8),
        (10, 0.004, 0.05, 0.8),
        (10, 0.004, 0.05 / 10, 0.9),
        (20, 123.0, 0.05, 0.8),
        (50, 1e-6, 0.01, 0.8),
    ]:
        high = next(e / 10 for e in range(1, 100) if TTestPower().power(e / 10, n, alpha) > wanted)
        effect = optimize.brentq(
            lambda e: TTestPower().power(e, n, alpha) - wanted, high - 0.1, high, xtol=1e-15, rtol=1e-15
        )
        yield {
            "case": f"{n} seeds at {alpha:g}",
            "n": n,
            "sd": sd,
            "alpha": alpha,
            "power": wanted,
            "difference": effect * sd,
        }


def seeds_to_detect():
    for difference, sd, alpha in [
        (0.01, 0.01, 0.05),
        (0.005, 0.01, 0.05),
        (0.002, 0.01, 0.01),
        (0.2, 0.1, 0.05),
        (-3.0, 2.0, 0.005),
    ]:
        n = next(
            n
            for n in range(2, 10**4)
            if 2 / 2**n <= alpha and TTestPower().power(abs(difference / sd), n, alpha) >= 0.8
        )
        yield {"case": f"{difference} at {alpha}", "difference": difference, "sd": sd, "alpha": alpha, "n": n}


def seeds_for_equivalence():
    def power_of(n, difference, margin, sd):
        critical = stats.t.ppf(0.95, n - 1)
        upper = stats.nct.sf(critical, n - 1, (margin - difference) / sd * math.sqrt(n))
        lower = stats.nct.sf(critical, n - 1, (margin + difference) / sd * math.sqrt(n))
        return upper + lower - 1

    for difference, margin, sd in [
        (0.0, 0.005, 0.005),
        (0.001, 0.005, 0.004),
        (0.0, 0.01, 0.03),
        (-0.004, 0.005, 0.002),
        (0.0, 1.0, 0.2),
    ]:
        n = next(n for n in range(2, 10**4) if power_of(n, difference, margin, sd) >= 0.8)
        yield {"case": f"{difference} within {margin}", "difference": difference, "margin": margin, "sd": sd, "n": n}


def bca_exact():
    """All n^n resamples, one by one."""
    for name, (a, b) in PAIRS.items():
        d = differences(a, b)
        n = len(d)
        if n > 6 or len(set(d)) == 1:
            continue
        means = sorted(sum(map(Fraction, r)) / n for r in itertools.product(d, repeat=n))
        mean = sum(map(Fraction, d)) / n
        tie = Fraction(numpy.std(d)) / 10**12
        share = (sum(m < mean - tie for m in means) + sum(m <= mean + tie for m in means)) / (2 * len(means))
        z0 = special.ndtri(share)
        influence = [float(x - mean) for x in map(Fraction, d)]  # the jackknife's, up to a factor
        acceleration = sum(x**3 for x in influence) / (6 * sum(x**2 for x in influence) ** 1.5)
        for level in LEVELS:
            ends = []
            for tail in ((1 - level) / 2, (1 + level) / 2):
                z = z0 + special.ndtri(tail)
                q = special.ndtr(z0 + z / (1 - acceleration * z))
                ends.append(float(means[min(len(means) - 1, math.ceil(q * len(means)) - 1)]))
            yield {"case": name, "values": d, "level": level, "low": ends[0], "high": ends[1]}


def bca_drawn():
    """scipy's own bootstrap, drawn: values must agree within its error."""
    samples = {name: differences(*PAIRS[name]) for name in ("ten accuracies", "fourteen", "strong", "large", "ties")}
    samples["exponential"] = [generator.expovariate(1) for _ in range(25)]
    for name, sample in samples.items():
        d = numpy.array(sample)
        runs = [
            stats.bootstrap(
                (d,), numpy.mean, n_resamples=40000, method="BCa", rng=numpy.random.default_rng(seed)
            ).confidence_interval
            for seed in range(6)
        ]
        low, high = [r.low for r in runs], [r.high for r in runs]
        yield {
            "case": name,
            "values": list(d),
            "low": numpy.mean(low),
            "high": numpy.mean(high),
            "sd": numpy.std(d, ddof=1),
        }


def sign_flip_drawn():
    """Too many seeds to count all signs: the normal limit with its exact variance is within the error of the draws."""
    for name, n, mean in [
        ("no effect", 60, 0.02),
        ("weak", 80, 0.15),
        ("middle", 50, 0.3),
        ("weak, many", 400, 0.1),
        ("clear", 100, 0.25),
    ]:
        d = noisy(n, mean, 1.0, 6)
        draws = numpy.random.default_rng(1)
        count, total = 0, 0
        for _ in range(5):
            signs = draws.integers(0, 2, (200000, n), dtype=numpy.int8) * 2 - 1
            count += int((numpy.abs(signs @ numpy.array(d)) >= abs(sum(d)) - 1e-12).sum())
            total += len(signs)
        yield {"case": name, "values": d, "p": count / total, "draws": total}


result = {
    "made_by": f"tools/reference/statistics_values.py: scipy {scipy.__version__}, statsmodels {statsmodels.__version__}"
}
for function in (
    summaries,
    paired,
    welch,
    sign_flip,
    sign_flip_intervals,
    hedges,
    contrasts,
    holm,
    equivalence,
    power,
    detectable,
    seeds_to_detect,
    seeds_for_equivalence,
    bca_exact,
    bca_drawn,
    sign_flip_drawn,
):
    result[function.__name__] = list(function())
    print(function.__name__, len(result[function.__name__]), file=sys.stderr)
lines = ["{", f' "made_by": {json.dumps(result.pop("made_by"))},']
for name, cases in result.items():
    lines.append(f' "{name}": [')
    lines += [
        "  " + json.dumps(case, default=float, allow_nan=False) + ("," if case is not cases[-1] else "")
        for case in cases
    ]
    lines.append(" ]" + ("," if name != list(result)[-1] else ""))
print("\n".join(lines + ["}"]))
