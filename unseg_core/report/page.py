"""The page: contents in, one self-contained HTML text out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from unseg_core.report import sections
from unseg_core.report.audit import audit_chart, audit_group, audit_outcome, audit_view
from unseg_core.report.comparison import ComparisonRow, compare
from unseg_core.report.contents import PROTECTED_METHOD, ProtectionSummary, ReportContents
from unseg_core.report.sections import View, grouped
from unseg_core.report.verdict import LABELS, Headline, Outcome, bound_problems, headline, judge


def render_report(contents: ReportContents) -> str:
    """The report as HTML: images inline, no script, no outside resource, readable in light, dark and on paper.

    Equal contents give equal text. Raises DataError where the evaluations cannot be compared.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("template.html.j2").render(page_view(contents))


def first_screen(contents: ReportContents) -> tuple[Headline, list[str]]:
    """The headline, and what is wrong with the copies."""
    problems = [problem for summary in contents.protections for problem in bound_problems(summary)]
    return headline(_outcomes(contents, compare(contents.evaluations))), problems


def _outcomes(contents: ReportContents, rows: Sequence[ComparisonRow]) -> list[Outcome]:
    method = contents.protections[0].method if contents.scope == "copy" else PROTECTED_METHOD
    return judge(rows, contents.protections, method) + [audit_outcome(audit) for audit in contents.audits]


def page_view(contents: ReportContents) -> View:
    """Every value that template.html.j2 uses."""
    rows = compare(contents.evaluations)
    outcomes = _outcomes(contents, rows)
    top, problems = first_screen(contents)
    groups = dict.fromkeys(row.group for row in rows)
    styles = sections.method_styles(rows)
    comparisons = {
        group: sections.comparison_view(
            group, [row for row in rows if row.group == group], contents.evaluations, styles
        )
        for group in groups
    }
    charts = {group: comparison["intervals"] for group, comparison in comparisons.items()}
    return {
        "profile": contents.profile,
        "scope": contents.scope,
        "headline": top,
        "outcomes": outcomes,
        "labels": LABELS,
        "problems": problems,
        "facts": fact_views(contents),
        "charts": {**charts, **{audit_group(audit): audit_chart(audit) for audit in contents.audits}},
        "comparisons": comparisons,
        "audits": [audit_view(audit) for audit in contents.audits],
        "galleries": _gallery_groups(contents),
        "histograms": [sections.histogram_view(histogram) for histogram in contents.histograms],
        "train": None if contents.train is None else sections.train_view(contents.train, contents.train_curve),
        "bounds": [sections.bound_view(summary) for summary in contents.protections],
        "hashes": hash_views(contents),
        "versions": sorted(contents.versions.items()),
        "git_commit": contents.git_commit,
        "params_text": contents.params_text,
    }


def fact_views(contents: ReportContents) -> list[tuple[str, str, str]]:
    """(label, value, detail) of what was protected, by which generator, with which budget, checked how."""
    copies = [summary for summary in contents.protections if summary.method == PROTECTED_METHOD]
    if contents.scope == "copy":
        copies = list(contents.protections)
    if not copies:
        return [("Protected", "nothing", "no copy made by the generator is part of this report")]
    return [_protected_fact(copies), _generator_fact(copies, contents.train), _budget_fact(copies), _check_fact(copies)]


def hash_views(contents: ReportContents) -> list[tuple[str, str]]:
    """(what, sha256) of the generators and of the manifest of every copy."""
    hashes: dict[str, str] = {}
    if contents.train is not None and "generator_sha256" in contents.train:
        hashes["generator, as trained"] = str(contents.train["generator_sha256"])
    for summary in contents.protections:
        name = f"{summary.dataset} ({summary.method})"
        if summary.generator_sha256 is not None:
            hashes[f"generator that made {name}"] = summary.generator_sha256
        hashes[f"manifest of {name}"] = summary.manifest_sha256
    return list(hashes.items())


def _gallery_groups(contents: ReportContents) -> list[tuple[str, list[View]]]:
    names = dict.fromkeys(item.dataset for item in contents.galleries)
    return [
        (name, [sections.gallery_view(item) for item in contents.galleries if item.dataset == name]) for name in names
    ]


def _protected_fact(copies: Sequence[ProtectionSummary]) -> tuple[str, str, str]:
    total = sum(copy.protected for copy in copies)
    detail = "; ".join(f"{copy.dataset}: {grouped(copy.protected)} of {grouped(copy.images)}" for copy in copies)
    return "Protected", f"{grouped(total)} image" + ("" if total == 1 else "s"), detail


def _generator_fact(
    copies: Sequence[ProtectionSummary], train: Mapping[str, str | int | float] | None
) -> tuple[str, str, str]:
    if all(copy.generator_sha256 is None for copy in copies):
        return "Method", ", ".join(dict.fromkeys(copy.method for copy in copies)), "without a generator"
    hashes = list(dict.fromkeys(copy.generator_sha256 or "unknown" for copy in copies))
    names = "sha256 " + ", ".join(sha256[:12] for sha256 in hashes)
    if train is None or hashes != [train.get("generator_sha256")]:
        return "Generator", "ready-made", f"{names}; not trained by this run"
    images = train.get("images")
    detail = f"trained here on {grouped(images)} images, {names}" if isinstance(images, int) else names
    return "Generator", str(train.get("size", "trained here")), detail


def _budget_fact(copies: Sequence[ProtectionSummary]) -> tuple[str, str, str]:
    budgets: dict[str, list[str]] = {}
    for copy in copies:
        budgets.setdefault(f"{copy.epsilon:g} / {copy.epsilon_bg:g}", []).append(copy.dataset)
    detail = "levels of 255: on the objects / elsewhere"
    if len(budgets) > 1:
        detail = "; ".join(f"{', '.join(names)}: {budget}" for budget, names in budgets.items()) + f" {detail}"
    return "Budget", ", ".join(budgets), detail


def _check_fact(copies: Sequence[ProtectionSummary]) -> tuple[str, str, str]:
    checked, over = sum(copy.checked for copy in copies), sum(copy.over_budget for copy in copies)
    wrong = sum(copy.differences for copy in copies)
    value = "passed" if checked and not any(bound_problems(copy) for copy in copies) else "not passed"
    detail = f"{grouped(checked)} files read again: {grouped(over)} over the budget, {grouped(wrong)} other differences"
    return "Check", value, detail
