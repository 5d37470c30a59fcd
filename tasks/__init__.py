"""One small program per DVC stage, and the bridges from stages to MLflow and Prefect."""

import os

# Threads that wait by spinning slow a busy machine down tenfold (measured: two training processes on two cores).
# OpenMP reads this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
