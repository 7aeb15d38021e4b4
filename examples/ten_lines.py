"""The main job from Python: two methods, a few tasks, the verdict and the report."""

import neoteny as nt

results = nt.run(
    "spectral-collapse-digits",
    methods=["bp", "l2_er"],
    seeds=2,
    out="runs/ten-lines",
    changes={"tasks": 3, "probes.spectrum_every": 1, "probes.fresh_every": 1},
)
print(
    results.query("SELECT stream, method, avg(final_accuracy) FROM tasks GROUP BY ALL ORDER BY ALL")
)
for verdict in results.verdict():
    print(verdict.outcome, "·", verdict.stream, "·", verdict.claim, "·", verdict.evidence)
print(results.report())
