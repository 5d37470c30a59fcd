"""Trainings side by side, each in a process of its own, so that the loss of one is the loss of that one only.

Python's pools of processes cannot: one of them waits for ever for a process that was killed, the other gives up all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

from unseg_core.errors import UnsegError
from unseg_core.forkserver import end_with_parent, start_method

Job = TypeVar("Job")


@dataclass(frozen=True, kw_only=True)
class Named(Generic[Job]):
    """Something to do, with the name that it has in messages."""

    name: str
    job: Job


def run_side_by_side(work: Callable[[Job, int], str], jobs: Iterable[Named[Job]], parallel: int) -> list[str]:
    """Do `work` for all jobs, at most `parallel` at a time; leaving it in any way ends the processes.

    Args:
        work: a function of a module, given the job and which of the `parallel` places it has, from 0; returns why it
            could not be done, if it could not.
        jobs: asked for the next one when there is room for it.

    Returns: what went wrong, in the order of the jobs; a process that was killed is among it.

    Raises:
        UnsegError: what `work` raises.
    """
    running: list[_Running] = []
    failures: dict[int, str] = {}
    try:
        for number, one in enumerate(jobs):
            while len(running) >= parallel:
                failures |= _ended(running)
            place = min(set(range(parallel)) - {other.place for other in running})
            running.append(_start(number, one, work, place))
        while running:
            failures |= _ended(running)
    finally:
        for left in running:
            left.process.terminate()
        for left in running:
            left.process.join()
    return [failures[number] for number in sorted(failures)]


@dataclass(frozen=True, kw_only=True)
class _Running:
    number: int
    name: str
    place: int
    process: BaseProcess
    answers: Connection


def _start(number: int, one: Named[Job], work: Callable[[Job, int], str], place: int) -> _Running:
    context = start_method(work.__module__)
    answers, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(work, one.job, place, sender), daemon=True)
    process.start()
    sender.close()
    return _Running(number=number, name=one.name, place=place, process=process, answers=answers)


def _serve(work: Callable[[Job, int], str], job: Job, place: int, sender: Connection) -> None:
    end_with_parent()
    try:
        sender.send(work(job, place))
    except UnsegError as error:
        sender.send(error)


def _ended(running: list[_Running]) -> dict[int, str]:
    """Wait for the next ones to end, and take them out of the list: what went wrong by number."""
    ready = wait([one.process.sentinel for one in running])
    failures = {}
    for one in [one for one in running if one.process.sentinel in ready]:
        running.remove(one)
        answer = _answer_of(one)
        if isinstance(answer, UnsegError):
            raise answer
        if answer:
            failures[one.number] = answer
    return failures


def _answer_of(one: _Running) -> str | UnsegError:
    with one.answers:
        try:
            answer: str | UnsegError = one.answers.recv()
        except EOFError:
            one.process.join()
            answer = (
                f"{one.name}: its process ended with {one.process.exitcode} (negative: the signal, such as of a "
                "machine without memory); the same command continues, with a smaller evaluate.parallel if need be"
            )
    return answer
