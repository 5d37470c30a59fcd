"""Defaults for the processes that run flows. Prefect reads them when it is imported, so this comes first."""

import os

_DEFAULTS = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # the embedded server needs 20 s on two slow cores
}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)
