"""Protect a data set as a Prefect flow: `unseg protect` on a worker, lines to the log, totals to an artifact."""

import json
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from tasks import supervisor
from tasks.stage import ProcessFamily
from tasks.summary import flatten
from unseg_core.errors import DataError, ParameterError, UnsegError

ARTIFACT_KEY = "unseg-protect"
_ERRORS: dict[int, type[UnsegError]] = {1: DataError, 2: ParameterError}
GENERATOR = "data/generator/generator.safetensors"


@flow(persist_result=False)
def protect(
    source: str,
    target: str,
    layout: str = "auto",
    generator: str = GENERATOR,
    epsilon: float = 8.0,
    epsilon_bg: float = 2.0,
    method: str = "unseg",
    masks: str | None = None,
    split: str | None = None,
    annotations: str | None = None,
    classes: str | None = None,
    targets: str | None = None,
    prompt: str | None = None,
    image_format: str | None = None,
    no_target: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    engine: str | None = None,
    ray_address: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any] | State[Any]:
    """Make a protected copy of a data set; a run that was cut off is continued.

    Args:
        source: folder or URL of the data set; relative to the project folder.
        target: folder or URL of the copy.
        layout: name of a layout, or auto.
        generator: path, URL or `models:/NAME@ALIAS`; used by the method `unseg`.
        epsilon: largest change on the protected objects, in 8-bit levels.
        epsilon_bg: largest change elsewhere, in 8-bit levels.
        method: unseg, gratings or a baseline, as for `unseg protect`.
        masks, split, annotations, classes, targets, prompt, image_format, no_target, seed, device, precision, engine,
            ray_address: as for `unseg protect`.
        overwrite: replace a complete copy in `target`.

    Returns:
        The summary of `unseg protect --json`.

    Raises:
        ParameterError: a parameter is wrong.
        DataError: some images failed, or none was protected; the message holds the summary.
        UnsegError: it ended in any other way.
    """
    options: dict[str, object] = {
        "layout": layout,
        "method": method,
        "generator": generator if method == "unseg" else None,
        "epsilon": epsilon,
        "epsilon-bg": epsilon_bg,
        "masks": masks,
        "split": split,
        "annotations": annotations,
        "classes": classes,
        "targets": targets,
        "prompt": prompt,
        "image-format": image_format,
        "no-target": no_target,
        "seed": seed,
        "device": device,
        "precision": precision,
        "engine": engine,
        "ray-address": ray_address,
    }
    return _told(source, target, *_run(_command(source, target, options, overwrite)))


def _told(source: str, target: str, code: int, summary: dict[str, Any], last: str) -> dict[str, Any] | State[Any]:
    """Totals to an artifact, and the exit code as Prefect says it."""
    error = str(summary.get("error", last))
    if summary and "error" not in summary:
        table = [{"name": name, "value": value} for name, value in flatten(summary)]
        create_table_artifact(key=ARTIFACT_KEY, table=table, description=f"{source} protected as {target}.")
        error = f"some images could not be protected: {json.dumps(summary, sort_keys=True)}"
    if code == supervisor.STOPPED:
        return Cancelled(message="interrupted; the same run continues where it was")
    if code != 0:
        raise _ERRORS.get(code, UnsegError)(f"`unseg protect` ended with exit code {code}: {error}")
    return summary


def _command(source: str, target: str, options: dict[str, object], overwrite: bool) -> list[str]:
    given = [text for name, value in options.items() if value is not None for text in (f"--{name}", str(value))]
    flags = ["--json", *(["--overwrite"] if overwrite else [])]
    # `--`: a source or target never reads as an option
    return [sys.executable, "-m", "unseg_core.cli", "protect", *given, *flags, "--", source, target]


def _run(command: list[str]) -> tuple[int, dict[str, Any], str]:
    """Run the command; return its exit code, its summary and the last line that it logged."""
    logger = get_run_logger()
    last = ""

    def take(line: str) -> None:
        nonlocal last
        if line.strip():
            last = line
            logger.info("%s", line)

    with tempfile.TemporaryFile() as output:
        code = ProcessFamily().run(command, root=Path.cwd(), on_line=take, output=output)
        return code, _read_summary(output), last


def _read_summary(output: IO[bytes]) -> dict[str, Any]:
    output.seek(0)
    try:
        summary = json.loads(output.read())
    except ValueError:
        return {}
    return summary if isinstance(summary, dict) else {}
