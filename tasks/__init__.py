"""One small program per DVC stage, and the bridges from stages to MLflow and Prefect."""

import os

# Threads that spin long while they wait for each other slow a busy machine down; threads that hardly spin are slow on
# an idle one. ViT-B in bfloat16 on two cores, alone and beside a second such process: 1.5 and 2.3 s an image at 1,000
# rounds, 1.1 and 2.9 s here, 1.2 and 7.1 s at OpenMP's own 300,000. OpenMP reads this when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
