"""The Prefect server that a flow uses when none is configured: a process that lives as long as the flow."""

import atexit
import os
import socket
import sys
import threading
import time
import tomllib
import urllib.request
from collections import deque
from pathlib import Path

from tasks.stage import ProcessFamily
from unseg_core.errors import UnsegError

START_SECONDS = 120  # on two busy cores it takes 20


class ServerError(UnsegError):
    """The embedded Prefect server does not start."""


def configured_api_url() -> str | None:
    """Return the address of the server in PREFECT_API_URL or in the active Prefect profile, if there is one.

    Prefect itself could tell, but only once it is imported, when it is too late to name another.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    path = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml")).expanduser()
    if not path.is_file():
        return None
    profiles = tomllib.loads(path.read_text(encoding="utf-8"))
    active = os.environ.get("PREFECT_PROFILE", profiles.get("active"))
    url = profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")
    return str(url) if url else None


def start_embedded_server() -> str:
    """Start a Prefect server on a free port of this machine and return its address when it answers.

    Its database is Prefect's own, so `prefect server start` shows past runs. It ends after everything else at the
    end of this process, which still sends it logs, and also when this process is killed.

    Raises:
        ServerError: it ended, or did not answer in time; the message ends with its last lines.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    family = ProcessFamily()
    last: deque[str] = deque(maxlen=15)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    runner = threading.Thread(target=_run, args=(family, command, last), daemon=True)
    runner.start()
    atexit.register(_stop, family, runner)
    url = f"http://127.0.0.1:{port}/api"
    end = time.monotonic() + START_SECONDS
    while not _answers(url):
        if not runner.is_alive() or time.monotonic() > end:
            raise ServerError("the embedded Prefect server does not start:\n" + "\n".join(last))
        time.sleep(0.2)
    return url


def _run(family: ProcessFamily, command: list[str], last: deque[str]) -> None:
    try:
        family.run(command, root=Path.cwd(), on_line=last.append)
    except UnsegError:
        return  # stopped


def _stop(family: ProcessFamily, runner: threading.Thread) -> None:
    family.stop()
    runner.join()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
