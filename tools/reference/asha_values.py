"""Writes experiments/search/asha_values.json: the decisions of asynchronous successive halving.

Usage: asha_values.py > experiments/search/asha_values.json    (Python alone)

Algorithm 2 of Li et al. (MLSys 2020), told unit of time by unit of time: in each, machines whose work ends give its score,
one after the other in the order in which they began, and after each of them all idle machines ask for work.
"""

import json
import random

LOST = float("-inf")


def get_job(rungs, results, promoted, begun, trials, reduction):
    """The paper's get_job: from the highest rung down, the best of the top 1/reduction that was not promoted."""
    for k in reversed(range(len(rungs) - 1)):
        ranked = sorted(results[k], key=lambda trial: (-results[k][trial], trial))
        top = ranked[:len(ranked) // reduction]
        candidates = [trial for trial in top if trial not in promoted[k] and results[k][trial] != LOST]
        if candidates:
            promoted[k].append(candidates[0])
            return candidates[0], k + 1
    return (begun, 0) if begun < trials else None


def search(trials, reduction, parallel, rungs, score):
    results, promoted = [{} for _ in rungs], [[] for _ in rungs]
    begun, jobs, working, now = 0, [], [], 0
    while True:
        while len(working) < parallel:
            job = get_job(rungs, results, promoted, begun, trials, reduction)
            if job is None:
                break
            begun += job[1] == 0
            takes = rungs[job[1]] - (rungs[job[1] - 1] if job[1] else 0)
            working.append((len(jobs), now + takes, job))
            jobs.append(job)
        if not working:
            return jobs
        while not any(end == now for _, end, _ in working):
            now += 1
        done = min(work for work in working if work[1] == now)
        working.remove(done)
        trial, rung = done[2]
        results[rung][trial] = score[trial][rung]


def main():
    draw = random.Random(1)
    cases = []
    for trials in (1, 2, 8, 27, 41):
        for reduction in (2, 3, 4):
            for parallel in (1, 2, 5, 16):
                first = draw.choice([1, 2, 3])
                rungs = [first]
                while len(rungs) < draw.choice([1, 2, 3, 4]):
                    rungs.append(rungs[-1] * reduction + draw.choice([0, 0, 1]))
                # Rounded, so that some are equal.
                score = [[LOST if draw.random() < 0.1 else round(draw.random(), 1) for _ in rungs] for _ in range(trials)]
                jobs = search(trials, reduction, parallel, rungs, score)
                cases.append({"trials": trials, "reduction": reduction, "parallel": parallel, "rungs": rungs,
                              "scores": [[None if s == LOST else s for s in one] for one in score], "jobs": jobs})
    print(json.dumps(cases, separators=(",", ":")))


if __name__ == "__main__":
    main()
