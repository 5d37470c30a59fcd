"""One small program per DVC stage, and the bridges from stages to MLflow and Prefect."""

import os

# How long OpenMP's threads spin while they wait for each other; read when torch is first imported. Long is fast for one
# large network alone, and slow wherever something else runs: docs/performance.md, "Waiting threads".
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
