# SPDX-License-Identifier: Apache-2.0
"""What a row is, and how rows are measured. The rows themselves are in catalogue.py.

    experiment   contestants who do the same thing, each a scenario that gives one number or several
    row          one of these numbers, with its unit and its budget

One experiment serves several rows (CPU, latencies and throughput come from the same load), and in each of its rounds
every contestant has its turn: skerry, limit, peer, peer, skerry, limit… A contestant that is not built or fails keeps
its note and takes no further turns; the others go on.
"""
from dataclasses import dataclass, field
from typing import Callable, Optional

import stats
from measure import Failure, NotBuilt

SKERRY = "skerry"
NOISY = 0.10  # half of the rounds are further than this from the median: the figure says little


@dataclass(frozen=True)
class Row:
    name: str
    what: str
    unit: str
    metric: str = ""                   # of what the scenarios give; "" for scenarios that give one number
    budget: Optional[float] = None     # at most (where more is better, at least) this: a multiple of `against` if that is
                                       # given, else in `unit`; None: for information
    against: str = ""                  # a contestant
    strict: bool = False               # the budget itself is past it
    higher_is_better: bool = False
    shown_first: bool = False          # in README.md though it has no budget

    @property
    def headline(self):
        return self.shown_first or self.budget is not None

    def budget_text(self):
        if self.budget is None:
            return ""
        word = (">" if self.higher_is_better else "<") + ("" if self.strict else "=")
        return f"{word} {self.budget:g} {f'x {self.against}' if self.against else self.unit}".rstrip()


@dataclass(frozen=True)
class Experiment:
    group: str
    contestants: dict                  # {name: scenario}
    rows: tuple
    limit: str = ""                    # the contestant that is the shortest raw program
    limit_is: str = ""                 # its program, for the reader
    beside: tuple = ()                 # other raw programs: no peers, so never the best of them
    best_of: tuple = ()                # the limit is no contestant but, round by round, the best of these
    rounds_max: Optional[int] = None   # for what is the same each time
    on_request: bool = False           # only when its group or a row of it is named


@dataclass
class Result:
    """What all rounds of one experiment gave one row."""
    row: Row
    experiment: Experiment
    values: dict = field(default_factory=dict)   # {contestant: [number or None, one per round]}
    notes: dict = field(default_factory=dict)    # {contestant: why it has none}

    def median(self, name):
        return stats.median(self.values.get(name, []))

    def ratio(self, other):
        """Skerry's number as a multiple of another's."""
        return stats.median(stats.ratios(self.values.get(SKERRY, []), self.values.get(other, [])))

    def peers(self):
        raw = {SKERRY, self.experiment.limit, *self.experiment.beside}
        return [name for name in self.values if name not in raw and self.median(name) is not None]

    def best_peer(self):
        return stats.best({name: self.median(name) for name in self.peers()}, self.row.higher_is_better)

    def reference(self):
        """What the row's spread is taken against: the budget's, else the limit, else the best peer."""
        named = self.row.against or self.experiment.limit
        return named if named and self.median(named) is not None else self.best_peer()

    def spread(self):
        """Of the ratio where there is one, since noise that hits both sides does not move it."""
        values, other = self.values.get(SKERRY, []), self.reference()
        compared = stats.ratios(values, self.values[other]) if other else stats.present(values)
        return stats.spread(compared)

    def is_noisy(self):
        """Not where the deviation is small beside an absolute budget: a difference of nearly nothing may well double."""
        spread = self.spread()
        if spread is None or spread <= NOISY:
            return False
        absolute = self.row.budget if not self.row.against else None
        return not absolute or stats.mad(self.values[SKERRY]) > NOISY * absolute

    def verdict(self):
        if self.notes.get(SKERRY, "").startswith("failed"):
            return "FAILED"
        if self.median(SKERRY) is None or self.row.budget is None:
            return ""
        compared = self.ratio(self.row.against) if self.row.against else self.median(SKERRY)
        if compared is None:
            return f"no {self.row.against}"
        if compared == self.row.budget:
            return "MISSED" if self.row.strict else "met"
        return "met" if (compared > self.row.budget) == self.row.higher_is_better else "MISSED"


def one_turn(scenario, machine):
    """({metric: number}, note). A contestant must not sink the run, so whatever it raises becomes its note."""
    try:
        said = scenario(machine)
    except NotBuilt as missing:
        return {}, f"not built: {missing}"
    except Failure as failure:
        return {}, f"failed: {failure}"
    except (OSError, KeyError, TypeError, ValueError) as wrong:  # a reply without the field, a program that vanished
        return {}, f"failed: {type(wrong).__name__}: {wrong}"
    return (said if isinstance(said, dict) else {"": said}), ""


def run(experiment, machine, rounds, each_round: Callable = lambda: None, say: Callable = lambda text: None):
    """All results of an experiment, one per row."""
    notes, turns = {}, {name: [] for name in experiment.contestants}
    for _ in range(min(rounds, experiment.rounds_max or rounds)):
        each_round()
        for name, scenario in experiment.contestants.items():
            said = {}
            if name not in notes:
                said, note = one_turn(scenario, machine)
                if note:
                    notes[name] = note
                    say(f"{experiment.rows[0].name}: {name} {note}")
            turns[name].append(said)
    results = []
    for row in experiment.rows:
        values = {name: [said.get(row.metric) for said in all_rounds] for name, all_rounds in turns.items()}
        if experiment.best_of:
            best = max if row.higher_is_better else min
            values[experiment.limit] = [best(stats.present(those), default=None)
                                        for those in zip(*(values[name] for name in experiment.best_of))]
        missing = {name: notes.get(name, "does not measure this") for name in turns
                   if not stats.present(values[name]) or notes.get(name, "").startswith("failed")}
        results.append(Result(row, experiment, values, missing))
    return results


def chosen(experiments, words):
    """The experiments, each with the rows that a word names: a group, or part of a row's name. Without words all but
    those on request. Raises KeyError with a word that names nothing."""
    every = [row for each in experiments for row in each.rows]
    groups = {each.group for each in experiments}
    for word in words:
        if word not in groups and word != "all" and not any(word in row.name for row in every):
            raise KeyError(word)
    picked = []
    for each in experiments:
        whole = each.group in words or (not each.on_request and (not words or "all" in words))
        rows = each.rows if whole else tuple(row for row in each.rows
                                             if any(word in row.name for word in words if word not in groups))
        if rows:
            picked.append(Experiment(**{**vars(each), "rows": rows}))
    return picked
