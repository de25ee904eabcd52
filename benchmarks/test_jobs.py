"""Whole jobs as a user feels them, in fresh processes: imports, a first fit, a grid search; cold and warm
cache."""

from __future__ import annotations

import pytest

from benchmarks.jobs import JOBS, run


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_whole_job(benchmark, job):
    benchmark.group = "whole jobs" if not job.cold else "whole jobs, empty cache"
    rounds, warm_up = (1, 0) if job.cold else (3, 1)
    outcomes = []
    benchmark.pedantic(lambda: outcomes.append(run(job)), rounds=rounds, iterations=1, warmup_rounds=warm_up)
    benchmark.extra_info.update(work=job.title, threads="as the libraries choose", dtype="float32")
    assert [trouble for _, trouble in outcomes if trouble] == []
