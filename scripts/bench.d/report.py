# SPDX-License-Identifier: Apache-2.0
"""What a run says: one object per row, the table on the terminal, and the tables of README.md and of perf/results. All
of them are made from the same objects, which are what is stored, so that none can say something else than another."""
import re

from rows import SKERRY

BEGIN = "<!-- scripts/bench --readme writes from here -->"
END = "<!-- to here -->"
MARKS = "¹²³⁴⁵⁶⁷⁸⁹"
NO_REASON = "not explained yet"


def rounded(value):
    return None if value is None else float(f"{value:.4g}")


def entry(result):
    """A row as it is stored."""
    row, experiment = result.row, result.experiment
    limit = experiment.limit
    return {
        "name": row.name, "group": experiment.group, "what": row.what, "unit": row.unit,
        "skerry": rounded(result.median(SKERRY)),
        "limit": rounded(result.median(limit)) if limit else None,
        "ratio": rounded(result.ratio(limit)) if limit else None,
        "peers": {name: {"value": rounded(result.median(name)), "ratio": rounded(result.ratio(name))}
                  for name in result.peers()},
        "best_peer": result.best_peer(), "higher_is_better": row.higher_is_better,
        "limit_name": limit, "limit_is": experiment.limit_is,
        "beside": {name: rounded(result.median(name)) for name in experiment.beside if result.median(name) is not None},
        "budget": row.budget_text(), "verdict": result.verdict(), "headline": row.headline,
        "spread": rounded(result.spread()), "noisy": result.is_noisy(),
        "rounds": {name: [rounded(value) for value in values] for name, values in result.values.items()},
        "notes": result.notes}


def rounds(record):
    return f"{record['rounds']} round{'' if record['rounds'] == 1 else 's'}"


def took(record):
    """How long measuring took, without the build before it, as a sentence. Results of before it was kept do not say."""
    seconds = record.get("seconds")
    if seconds is None:
        return ""
    return f" It took {seconds} s." if seconds < 60 else f" It took {seconds // 60} min {seconds % 60} s."


def number(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}" if value else "0"


def with_unit(value, unit):
    return f"{number(value)} {unit}".rstrip() if value is not None else "-"


def cells(row):
    best = row["best_peer"]
    peer = row["peers"].get(best, {"value": None, "ratio": None})
    measured = with_unit(row["skerry"], row["unit"])
    if row["skerry"] is None and SKERRY in row["notes"]:
        measured = "not built" if row["notes"][SKERRY].startswith("not built") else "failed"
    return [row["name"], measured, with_unit(row["limit"], row["unit"]), number(row["ratio"]),
            f"{best} {with_unit(peer['value'], row['unit'])}" if best else "-", number(peer["ratio"]),
            "-" if row["spread"] is None else f"±{row['spread']:.0%}" + ("!" if row["noisy"] else ""), row["budget"],
            row["verdict"]]


HEADER = ["row", "Skerry", "limit", "ratio", "best peer", "ratio", "spread", "budget", ""]


def table(rows):
    lines = [HEADER] + [cells(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def noisy_names(rows):
    return [row["name"] for row in rows if row["noisy"]]


LIMIT_SLOWER_MAX = 0.05  # than the best peer: less than that is noise


def slow_limits(rows):
    """Names of rows whose limit was beaten by a peer, so that a ratio to it flatters."""
    found = []
    for row in rows:
        peer = row["peers"].get(row["best_peer"], {"value": None})["value"]
        if row["limit"] and peer:
            slower = peer / row["limit"] if row["higher_is_better"] else row["limit"] / peer
            if slower > 1 + LIMIT_SLOWER_MAX:
                found.append(row["name"])
    return found


def absent(record):
    """Who was not there, and which points were out of reach, each with the reason and the first rows it concerns."""
    found = {}
    for row in record["rows"]:
        for name, note in row["notes"].items():
            if note.startswith(("not built", "failed")):
                found.setdefault(f"{name} {note}", []).append(row["name"])
    for curve in record["curves"]:
        for name, note in curve["notes"].items():
            found.setdefault(f"{name}: {note}" if " at " in name else f"{name} {note}", []).append(curve["name"])
    return [f"{what} ({', '.join(names[:3])}{' …' if len(names) > 3 else ''})" for what, names in found.items()]


def out_of_reach(record):
    """Points of curves that this machine did not let anybody reach, each with the reason."""
    found = {}
    for curve in record["curves"]:
        for name, note in curve["notes"].items():
            if name.startswith("all at "):
                found.setdefault(f"{name}: {note}", []).append(curve["name"])
    return [f"{what} ({', '.join(names)})" for what, names in found.items()]


def footer(record):
    """What belongs under the table on the terminal."""
    lines = [f"{record['machine_in_words']}", f"{rounds(record)}{' (--quick)' if record['quick'] else ''}, "
             "medians; a ratio is the median of each round's; spread: half of the rounds are within it of the median."
             f"{took(record)}"]
    limits = sorted({f"{row['limit_name']}: {row['limit_is']}" for row in record["rows"] if row["limit_name"]})
    if limits:
        lines.append("Limits: " + "; ".join(limits))
    lines += absent(record)
    lines += [f"warning: {warning}" for warning in record["warnings"]]
    slow = slow_limits(record["rows"])
    if slow:
        lines.append("warning: a peer was faster than the limit, which then is none: " + " ".join(slow))
    wide = noisy_names(record["rows"])
    if wide:
        lines.append("warning: rounds differ by more than 10 % (marked !): " + " ".join(wide))
    return "\n".join(lines)


# ---- why a budget is missed: ARCHITECTURE.md says so, and nothing else repeats it ----

def reasons(architecture):
    """{row: paragraph} of the list under "Where the budget is not met, and why". An entry names its rows in backticks
    behind its title: - **spawn and join** (`spawn_join`): the reason."""
    section = re.search(r"^## Where the budget is not met.*?$(.*?)(?=^## |\Z)", architecture, re.MULTILINE | re.DOTALL)
    found = {}
    for title, names, text in re.findall(r"^- \*\*([^*]+)\*\* \(((?:`\w+`(?:, )?)+)\):\s*(.*?)(?=^- |^\s*$|\Z)",
                                         section.group(1) if section else "", re.MULTILINE | re.DOTALL):
        paragraph = f"**{title}**: " + " ".join(text.split())
        found.update({name: paragraph for name in re.findall(r"`(\w+)`", names)})
    return found


def unexplained(rows, why):
    """Names of rows that missed their budget, or failed, and of which `why` (what reasons() gave) says nothing."""
    return [row["name"] for row in rows if row["verdict"] in ("MISSED", "FAILED") and row["name"] not in why]


# ---- Markdown ----

def markdown_row(row, mark):
    name, measured, limit, ratio, best, peer_ratio, spread, budget, verdict = (cell.replace("|", "\\|")
                                                                               for cell in cells(row))
    verdict = {"met": "yes", "MISSED": f"no{mark}"}.get(verdict, verdict)
    return (f"| {row['what']} | {measured} | {limit} | {ratio} | {best} | {peer_ratio} | {spread} | {budget} "
            f"| {verdict} |")


def markdown(record, rows, why):
    """The table with its notes. `why`: what reasons() gave."""
    texts, lines = [], []
    for row in rows:
        mark = ""
        if row["verdict"] == "MISSED":
            reason = why.get(row["name"], NO_REASON)
            if reason not in texts:
                texts.append(reason)
            at = texts.index(reason)
            mark = MARKS[at] if at < len(MARKS) else f" ({at + 1})"
        lines.append(markdown_row(row, mark))
    head = ["| what | Skerry | limit | ratio | best peer | ratio | spread | budget | met |",
            "| --- | ---: | ---: | ---: | --- | ---: | ---: | --- | --- |"]
    said = [f"Measured on {record['machine']['date']}: {record['machine_in_words']}. {rounds(record)}"
            f"{' of short loads (`--quick`)' if record['quick'] else ''}; server and load on one CPU each. "
            "*Limit* is the shortest raw program that does the same, *best peer* the best of the others; a ratio is "
            "Skerry's figure as a multiple of theirs. `!` marks rounds that differ too much to be trusted."
            f"{took(record)}"]
    said += [f"**Noisy:** {warning}." for warning in record["warnings"]]
    notes = [f"{MARKS[at] if at < len(MARKS) else f'({at + 1})'} {text}  " for at, text in enumerate(texts)]
    return "\n".join([" ".join(said), "", *head, *lines] + (["", *notes] if notes else [])) + "\n"


def wrapped(block):
    return f"{BEGIN}\n{block}{END}\n"


def replace_block(document, block):
    """The document with what stands between the markers replaced. Raises ValueError without markers."""
    pattern = re.compile(re.escape(BEGIN) + r"\n.*?" + re.escape(END) + r"\n", re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"no lines {BEGIN} and {END}")
    return pattern.sub(lambda _: wrapped(block), document, count=1)


def readme_block(record, why):
    left_out = out_of_reach(record)
    return (markdown(record, [row for row in record["rows"] if row["headline"]], why) +
            (f"\nPoints of curves out of reach: {'; '.join(left_out)}.\n" if left_out else "") +
            "\n[All rows, and plots of growth](perf/results/published/README.md)\n")


def results_page(record, why, plots):
    """perf/results/published/README.md: every row, and every plot."""
    missing = ["Not measured:", *(f"- {line}" for line in absent(record)), ""] if absent(record) else []
    pictures = [f"### {title}\n\n![{title}]({file})\n" for file, title in plots]
    return "\n".join(["# Measured", "", "Written by `scripts/bench --readme`; the rows are explained in "
                      "[perf/README.md](../../README.md).", "", markdown(record, record["rows"], why), *missing,
                      "## Plots", "", *pictures])


