"""One small program per DVC stage, and the bridges from stages to MLflow and Prefect."""
