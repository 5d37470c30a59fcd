"""One small program per DVC stage, and the bridges from stages to MLflow and Prefect."""

import os

# Threads that wait by spinning for long slow a busy machine down tenfold, threads that never spin are a third slower on
# an idle one (two training processes against one, on two cores). OpenMP reads this when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
