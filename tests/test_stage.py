"""One stage as a process: its result, its lines, its errors, and that nothing of it outlives us."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prefect_fixtures import CODE, dvc, environment, make_dvc_project, processes_below, wait_for

from tasks import supervisor
from tasks.stage import ProcessFamily, StageError, StageStoppedError, TransientStageError, run_stage

# `wait` sleeps through polite requests, with a child in a session of its own that does the same.
WAITING = """\
stages:
  wait:
    cmd: python wait.py
    outs: [wait.json]
  bad:
    cmd: python -c "import sys; print('Connection refused'); sys.exit(3)"
  plain:
    cmd: python work.py plain 0 plain.json
    deps: [seed.txt]
    outs: [plain.json]
"""
WAIT = """\
import signal, subprocess, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if "child" not in sys.argv:
    subprocess.Popen([sys.executable, __file__, "child"], start_new_session=True)
    print("waiting", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_dvc_project(tmp_path_factory.mktemp("stage") / "project", WAITING)
    (root / "wait.py").write_text(WAIT)
    return root


def stage(name: str, root: Path, lines: list[str] | None = None, family: ProcessFamily | None = None) -> str:
    return run_stage(
        name, root=root, family=family or ProcessFamily(), on_line=[].append if lines is None else lines.append
    )


def test_result_says_whether_it_ran_was_skipped_or_came_from_the_run_cache(project: Path) -> None:
    lines: list[str] = []
    assert stage("plain", project, lines) == "ran"
    assert "plain works" in lines
    assert stage("plain", project) == "skipped"
    (project / "plain.json").unlink()
    (project / "dvc.lock").unlink()
    assert stage("plain", project) == "cached"
    assert json.loads((project / "plain.json").read_text())["name"] == "plain"


def test_failed_stage_is_named_with_its_last_lines_and_not_tried_again(project: Path) -> None:
    with pytest.raises(StageError, match=r"(?s)stage 'bad' failed.*Connection refused.*exited with 3") as caught:
        stage("bad", project)
    assert not isinstance(caught.value, TransientStageError)


def test_stage_of_another_dvc_is_waited_for_and_tried_again(project: Path) -> None:
    (project / "dvc.lock").unlink(missing_ok=True)
    lock = project / ".dvc" / "tmp" / "rwlock"
    held = {"read": {}, "write": {str(project / "plain.json"): {"pid": os.getpid(), "cmd": "dvc repro"}}}
    try:
        lock.write_text(json.dumps(held))
        with pytest.raises(TransientStageError, match=r"(?s)stage 'plain'.*busy"):
            stage("plain", project)
    finally:
        lock.write_text("{}")


def test_python_of_a_stage_is_ours_without_an_activated_environment(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    lines: list[str] = []
    code = ProcessFamily().run(
        ["python", "-c", "import sys; print(sys.executable)"], root=project, on_line=lines.append
    )
    assert (code, lines) == (0, [str(Path(sys.executable).parent / "python")])


def test_four_stages_at_once_lose_no_entry_of_the_lock(tmp_path: Path) -> None:
    cmd = "python work.py ${item} 0.2 ${item}.json"
    root = make_dvc_project(
        tmp_path / "project",
        f"stages:\n  each:\n    foreach: [a, b, c, d]\n    do:\n      cmd: {cmd}\n      outs: ['${{item}}.json']\n",
    )
    names = [f"each@{key}" for key in "abcd"]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda name: stage(name, root), names)) == ["ran"] * 4
    assert "up to date" in dvc(root, "status")
    lock = (root / "dvc.lock").read_text()
    assert all(f"{name}:" in lock for name in names)


def test_stopped_family_leaves_nothing_and_blocks_nothing(project: Path) -> None:
    family = ProcessFamily(grace_seconds=0.5)
    lines: list[str] = []
    stopper = threading.Thread(target=lambda: (wait_for(lambda: "waiting" in lines, "the stage began"), family.stop()))
    stopper.start()
    began = time.monotonic()
    with pytest.raises(StageStoppedError):
        stage("wait", project, lines, family)
    stopper.join()
    assert processes_below(project) == []
    assert time.monotonic() - began < 60
    assert stage("plain", project) in ("ran", "skipped", "cached")
    with pytest.raises(StageStoppedError):
        stage("plain", project, family=family)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_flow_leaves_nothing_and_blocks_nothing(project: Path, number: signal.Signals) -> None:
    script = textwrap.dedent(
        """
        from pathlib import Path
        from tasks.stage import ProcessFamily, run_stage
        run_stage("wait", root=Path.cwd(), family=ProcessFamily(0.5), on_line=lambda line: print(line, flush=True))
        """
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=project,
        env=environment(PYTHONPATH=str(CODE)),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent.stdout:
        assert "waiting\n" in iter(parent.stdout.readline, "")
        assert len(processes_below(project)) >= 4  # it, its supervisor, DVC, the stage and the stage's child
        parent.send_signal(number)
        parent.wait()
    wait_for(lambda: not processes_below(project), "all processes end", 20)
    assert stage("plain", project) in ("ran", "skipped", "cached")


def test_dvc_killed_alone_takes_its_stage_with_it(project: Path) -> None:
    lines: list[str] = []

    def kill_dvc() -> None:
        wait_for(lambda: "waiting" in lines, "the stage began")
        for process in processes_below(project):
            if process.cmdline()[1:3] == ["-m", "dvc"]:
                process.kill()

    killer = threading.Thread(target=kill_dvc)
    killer.start()
    with pytest.raises(StageError, match=r"exit code 137"):
        stage("wait", project, lines, ProcessFamily(grace_seconds=0.5))
    killer.join()
    assert processes_below(project) == []


def test_interrupted_program_can_put_its_work_in_order(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import pathlib, time
        try:
            print("waiting", flush=True)
            time.sleep(600)
        except KeyboardInterrupt:
            print("saving", flush=True)
            pathlib.Path("saved").write_text("yes")
        """
    )
    family = ProcessFamily(grace_seconds=20)
    lines: list[str] = []

    def take(line: str) -> None:
        lines.append(line)
        family.stop()

    with pytest.raises(StageStoppedError):
        family.run([sys.executable, "-c", program], root=tmp_path, on_line=take)
    assert lines == ["waiting", "saving"]
    assert (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    ("program", "code"), [("import sys; sys.exit(7)", 7), ("import os; os.kill(os.getpid(), 15)", 143)]
)
def test_exit_code_is_the_command_s(tmp_path: Path, program: str, code: int) -> None:
    assert ProcessFamily().run([sys.executable, "-c", program], root=tmp_path, on_line=print) == code


def test_command_that_does_not_exist_is_told(tmp_path: Path) -> None:
    lines: list[str] = []
    assert ProcessFamily().run(["no-such-program"], root=tmp_path, on_line=lines.append) == supervisor.NOT_FOUND
    assert lines == ["cannot start no-such-program: No such file or directory"]


def test_lines_arrive_one_by_one_whatever_their_bytes(tmp_path: Path) -> None:
    program = r"import sys; sys.stdout.buffer.write(b'10%\r20%\rdone\n\xff\nlast')"
    lines: list[str] = []
    ProcessFamily().run([sys.executable, "-c", program], root=tmp_path, on_line=lines.append)
    assert lines == ["10%", "20%", "done", "�", "last"]


def test_output_can_go_elsewhere_than_the_lines(tmp_path: Path) -> None:
    lines: list[str] = []
    with (tmp_path / "output").open("wb") as output:
        program = "import sys; print('result'); print('progress', file=sys.stderr)"
        ProcessFamily().run([sys.executable, "-c", program], root=tmp_path, on_line=lines.append, output=output)
    assert lines == ["progress"]
    assert (tmp_path / "output").read_text() == "result\n"
