# SPDX-License-Identifier: Apache-2.0
"""What scripts/bench computes, draws and writes, without measuring anything: contestants here are functions that give
numbers.

Run: python3 tests/project/bench_test.py [-v]
"""
import importlib.machinery
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import types
import unittest
import unittest.mock
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts" / "bench.d"))

import catalogue  # noqa: E402
import growth  # noqa: E402
import machine  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402
import scenarios  # noqa: E402
import stats  # noqa: E402
from measure import Failure, NotBuilt  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"


def gives(*values):
    """A scenario that gives these values, one per turn."""
    left = list(values)
    return lambda _: left.pop(0)


def raises(error):
    def scenario(_):
        raise error
    return scenario


def measured(contestants, rounds=3, limit="raw", **options):
    row = rows.Row("row", "what it is", "us", **options)
    return rows.run(rows.Experiment("micro", contestants, (row,), limit=limit, limit_is="raw_program"), None, rounds)[0]


def record_of(*results, warnings=()):
    return {"machine": {"date": "2026-01-02"}, "machine_in_words": "a machine", "rounds": 3, "quick": False,
            "rows": [report.entry(result) for result in results], "curves": [], "warnings": list(warnings)}


class Preparation(unittest.TestCase):
    def commands(self, built_before):
        loader = importlib.machinery.SourceFileLoader("bench", str(ROOT / "scripts" / "bench"))
        bench = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench", loader))
        loader.exec_module(bench)
        with tempfile.TemporaryDirectory() as folder:
            bench.root = Path(folder)
            made = bench.root / "build" / "release"
            made.mkdir(parents=True)
            if built_before:
                (made / "CMakeCache.txt").touch()
            with unittest.mock.patch.object(bench.subprocess, "run") as run:
                run.return_value.returncode = 0
                bench.prepare("release")
        return [Path(str(call.args[0][0])).name for call in run.call_args_list]

    def test_peers_installed_after_a_build_are_looked_for_again(self):
        self.assertEqual(self.commands(built_before=True), ["setup", "cmake", "build", "build"])
        self.assertEqual(self.commands(built_before=False), ["setup", "build", "build"])


class StatisticsTest(unittest.TestCase):
    def test_one_wild_round_moves_neither_median_nor_deviation(self):
        self.assertEqual(stats.median([10, 11, 12, 13, 1000]), 12)
        self.assertEqual(stats.mad([10, 11, 12, 13, 1000]), 1)
        self.assertAlmostEqual(stats.spread([10, 11, 12, 13, 1000]), 1 / 12)

    def test_rounds_that_gave_nothing_do_not_count(self):
        self.assertEqual(stats.median([None, 4, None, 6]), 5)
        self.assertIsNone(stats.median([None]))
        self.assertIsNone(stats.mad([]))
        self.assertIsNone(stats.spread([7, None]))

    def test_spread_of_zeros_is_zero(self):
        self.assertEqual(stats.spread([0, 0, 0]), 0)

    def test_ratios_are_taken_within_a_round(self):
        # The machine slows down in the second round; both sides do, and the ratio does not.
        self.assertEqual(stats.ratios([2, 20, None, 2], [1, 10, 1, 0]), [2, 2])

    def test_percentile_is_a_value_that_occurs(self):
        values = list(range(1, 101))
        self.assertEqual([stats.percentile(values, part) for part in (0.5, 0.9, 0.99, 1)], [50, 90, 99, 100])
        self.assertEqual(stats.percentile([3], 0.9), 3)
        self.assertIsNone(stats.percentile([None], 0.5))

    def test_best_is_the_lowest_or_the_highest_of_those_that_have_a_value(self):
        candidates = {"a": 3, "b": None, "c": 2}
        self.assertEqual(stats.best(candidates), "c")
        self.assertEqual(stats.best(candidates, higher_is_better=True), "a")
        self.assertIsNone(stats.best({"b": None}))


class RowsTest(unittest.TestCase):
    def test_contestants_take_turns_in_every_round(self):
        turns = []
        contestants = {name: (lambda _, name=name: turns.append(name) or 1.0) for name in ("skerry", "raw", "peer")}
        measured(contestants, rounds=2)
        self.assertEqual(turns, ["skerry", "raw", "peer"] * 2)

    def test_ratio_is_the_median_of_the_ratios_of_rounds(self):
        result = measured({"skerry": gives(2, 20, 3), "raw": gives(1, 10, 3), "peer": gives(4, 4, 4)})
        self.assertEqual(result.ratio("raw"), 2)
        self.assertEqual(result.median("skerry"), 3)
        self.assertEqual(result.peers(), ["peer"])

    def test_a_peer_that_fails_sinks_nothing_and_is_not_tried_again(self):
        turns = []

        def fails(_):
            turns.append(1)
            raise Failure("it died")
        result = measured({"skerry": gives(1, 1, 1), "raw": gives(1, 1, 1), "peer": fails,
                           "other": raises(NotBuilt("perf/other")), "odd": lambda _: {}["messages"]}, budget=2)
        self.assertEqual(len(turns), 1)
        self.assertEqual(result.verdict(), "met")
        self.assertEqual(result.notes, {"peer": "failed: it died", "other": "not built: perf/other",
                                        "odd": "failed: KeyError: 'messages'"})
        self.assertEqual(result.peers(), [])

    def test_skerry_failing_in_a_later_round_fails_the_row(self):
        def fails_later(_, values=[1.0]):  # noqa: B006
            if not values:
                raise Failure("it died")
            return values.pop()
        result = measured({"skerry": fails_later, "raw": gives(1, 1, 1)}, budget=2, against="raw")
        self.assertEqual(result.verdict(), "FAILED")

    def test_budget_is_against_a_contestant_or_absolute(self):
        for skerry, options, verdict in ((2, {"budget": 2, "against": "raw"}, "met"),
                                         (2.1, {"budget": 2, "against": "raw"}, "MISSED"),
                                         (2, {"budget": 2, "against": "raw", "strict": True}, "MISSED"),
                                         (2, {"budget": 2, "against": "gone"}, "no gone"),
                                         (5, {"budget": 5}, "met"), (5, {"budget": 5, "strict": True}, "MISSED"),
                                         (5, {"budget": 5, "higher_is_better": True}, "met"),
                                         (6, {"budget": 5, "higher_is_better": True}, "met"),
                                         (4, {"budget": 5, "higher_is_better": True}, "MISSED"),
                                         (2, {"budget": 2, "against": "raw", "higher_is_better": True,
                                              "strict": True}, "MISSED"),
                                         (5, {}, "")):
            with self.subTest(skerry=skerry, **options):
                self.assertEqual(measured({"skerry": gives(skerry), "raw": gives(1)}, 1, **options).verdict(), verdict)

    def test_a_budget_says_on_which_side_of_it_one_must_be(self):
        for options, text in (({}, "<= 2 us"), ({"strict": True}, "< 2 us"), ({"higher_is_better": True}, ">= 2 us"),
                              ({"against": "raw"}, "<= 2 x raw")):
            self.assertEqual(rows.Row("row", "", "us", budget=2, **options).budget_text(), text)

    def test_limits_and_what_stands_beside_them_are_no_peers(self):
        row = rows.Row("row", "", "us")
        experiment = rows.Experiment("net", {name: gives(1) for name in ("skerry", "raw", "epoll", "peer")}, (row,),
                                     limit="raw", beside=("epoll",))
        self.assertEqual(rows.run(experiment, None, 1)[0].peers(), ["peer"])

    def test_best_of_several_raw_programs_is_the_limit_round_by_round(self):
        pair = (rows.Row("cpu", "", "us", "cpu", 1.05, "raw"), rows.Row("rate", "", "/s", "rate", higher_is_better=True))
        experiment = rows.Experiment("net", {
            "skerry": gives({"cpu": 4, "rate": 10}, {"cpu": 4, "rate": 10}),
            "ring": gives({"cpu": 2, "rate": 8}, {"cpu": 8, "rate": 30}),
            "epoll": gives({"cpu": 4, "rate": 20}, {})}, pair, limit="raw", best_of=("ring", "epoll"),
            beside=("ring", "epoll"))
        cpu, rate = rows.run(experiment, None, 2)
        self.assertEqual((cpu.values["raw"], rate.values["raw"], cpu.peers()), ([2, 8], [20, 30], []))
        self.assertEqual((cpu.ratio("raw"), cpu.verdict()), (1.25, "MISSED"))

    def test_noise_that_hits_both_sides_is_no_noise_of_the_row(self):
        calm = measured({"skerry": gives(2, 4, 20), "raw": gives(1, 2, 10)})
        self.assertEqual((calm.spread(), calm.is_noisy()), (0, False))
        self.assertTrue(measured({"skerry": gives(2, 4, 20), "raw": gives(1, 1, 1)}).is_noisy())

    def test_a_difference_of_nearly_nothing_is_not_noisy_beside_its_budget(self):
        for values, noisy in (((0.1, -0.1, 0.3), False), ((1, 1.5, 2), True)):
            result = measured({"skerry": gives(*values)}, limit="", budget=2, strict=True)
            self.assertEqual(result.is_noisy(), noisy, values)
        self.assertTrue(measured({"skerry": gives(0.1, -0.1, 0.3)}, limit="").is_noisy())

    def test_one_scenario_serves_several_rows(self):
        pair = tuple(rows.Row(metric, "", "us", metric) for metric in ("cpu", "p99"))
        experiment = rows.Experiment("net", {"skerry": gives({"cpu": 1, "p99": 2}), "peer": gives({"cpu": 3})}, pair)
        cpu, p99 = rows.run(experiment, None, 1)
        self.assertEqual((cpu.median("peer"), p99.median("peer"), p99.median("skerry")), (3, None, 2))
        self.assertEqual(p99.notes, {"peer": "does not measure this"})

    def test_rounds_end_where_more_tell_nothing(self):
        experiment = rows.Experiment("memory", {"skerry": gives(0)}, (rows.Row("row", "", ""),), rounds_max=1)
        self.assertEqual(rows.run(experiment, None, 9)[0].values, {"skerry": [0]})


class SelectionTest(unittest.TestCase):
    def names(self, *words):
        return [row.name for each in rows.chosen(catalogue.EXPERIMENTS, words) for row in each.rows]

    def test_without_words_everything_but_what_takes_minutes(self):
        everything = self.names()
        self.assertEqual(everything, self.names("all"))
        self.assertIn("echo_cpu", everything)
        self.assertNotIn("build", everything)
        self.assertEqual(self.names("build"), ["build"])
        self.assertEqual(self.names("all", "build"), [*everything, "build"])  # what --readme publishes

    def test_a_group_is_chosen_as_a_whole_and_anything_else_by_name(self):
        self.assertEqual({each.group for each in rows.chosen(catalogue.EXPERIMENTS, ["kv", "micro"])}, {"kv", "micro"})
        self.assertEqual(self.names("submit_to_sl", "timer_hot"), ["timer_hot", "submit_to_sleeping"])

    def test_the_group_http_has_all_that_says_how_fast_http_is(self):
        self.assertLessEqual({"http_cpu", "http_nginx", "http_wrk", "http_head", "http_head_beast", "http_head_rate",
                              "allocations_http", "http_scraped", "trace_off"}, set(self.names("http")))

    def test_a_word_that_names_nothing_is_refused(self):
        with self.assertRaises(KeyError):
            self.names("echo_cpu", "nonsense")

    def test_names_are_unique_and_contestants_of_budgets_exist(self):
        every = [(each, row) for each in catalogue.EXPERIMENTS for row in each.rows]
        names = [row.name for _, row in every] + [curve.name for curve in growth.CURVES]
        self.assertEqual(len(names), len(set(names)))
        for experiment, row in every:
            for name in filter(None, (row.against, experiment.limit, *experiment.beside)):
                if name == experiment.limit and experiment.best_of:
                    self.assertLessEqual(set(experiment.best_of), set(experiment.beside))
                    continue
                self.assertIn(name, experiment.contestants, row.name)

    def test_command_line_names_what_it_does_not_know(self):
        for words in (["nonsense"], ["growth_nonsense"], ["--rounds", "0"], ["--readme", "kv"]):
            run = subprocess.run([sys.executable, "-B", ROOT / "scripts/bench", "--no-build", *words],
                                 capture_output=True, text=True, check=False)
            self.assertNotEqual(run.returncode, 0)
            self.assertRegex(run.stderr, "nonsense|--rounds|--readme")


class GrowthTest(unittest.TestCase):
    def curve(self, contestants, **options):
        return growth.Curve("c", "title", "x", "ns", (1, 2), contestants, metric="", **options)

    def test_a_point_out_of_reach_is_left_out_and_said(self):
        def needs(point):
            if point == 2:
                raise Failure("too many")
        got = growth.measure(self.curve({"skerry": lambda point: gives(point, point)}, needs=needs), None, 1)
        self.assertEqual((got["points"], got["series"]), ([1], {"skerry": [1]}))
        self.assertEqual(got["notes"], {"all at 2": "left out: too many"})
        self.assertEqual(report.out_of_reach({"curves": [got]}), ["all at 2: left out: too many (c)"])

    def test_the_furthest_point_of_this_machine_is_one_of_the_curve(self):
        for most, points in ((19, (1, 2, 19)), (None, (1, 2)), (2, (1, 2))):
            self.assertEqual(self.curve({}, most=lambda most=most: most).wanted(False, False), points)
        self.assertEqual(self.curve({}, long_points=(100,), most=lambda: 19).wanted(True, False), (1, 2, 19, 100))
        most = growth.most_connections()
        self.assertTrue(most is None or most % 1000 == 0 and 0 < most < growth.CONNECTIONS_WANTED, most)

    def test_the_best_raw_program_of_each_point_is_the_limit(self):
        contestants = {"skerry": lambda point: gives(5), "ring": lambda point: gives(point),
                       "epoll": lambda point: gives(3 - point)}
        got = growth.measure(self.curve(contestants, limit="raw", best_of=("ring", "epoll")), None, 1)
        self.assertEqual(got["series"], {"skerry": [5, 5], "raw": [1, 1]})
        self.assertEqual((got["limit"], got["beside"]), ("raw", {"ring": [1, 2], "epoll": [2, 1]}))

    def test_a_curve_without_its_raw_programs_has_no_limit(self):
        contestants = {"skerry": lambda point: gives(5), "ring": lambda _: raises(NotBuilt("x"))}
        got = growth.measure(self.curve(contestants, limit="raw", best_of=("ring", "epoll")), None, 1)
        self.assertEqual((got["series"], got["limit"], got["beside"]), ({"skerry": [5, 5]}, "", {}))

    def test_a_peer_that_is_not_built_has_no_line(self):
        contestants = {"skerry": lambda point: gives(point), "peer": lambda _: raises(NotBuilt("x"))}
        got = growth.measure(self.curve(contestants), None, 1)
        self.assertEqual((list(got["series"]), got["notes"]), (["skerry"], {"peer": "not built: x"}))

    def test_long_adds_points_and_quick_leaves_some_out(self):
        curve = self.curve({}, long_points=(3,), quick_points=(2,))
        self.assertEqual([curve.wanted(False, False), curve.wanted(True, False), curve.wanted(False, True)],
                         [(1, 2), (1, 2, 3), (2,)])

    def test_words_choose_curves(self):
        self.assertEqual(growth.chosen(["growth"]), growth.CURVES)
        self.assertEqual([curve.name for curve in growth.chosen(["growth_ti"])], ["timers"])
        self.assertEqual(growth.chosen(["kv"]), [])


class MachineTest(unittest.TestCase):
    def test_server_and_load_are_on_two_cores_if_there_are_two(self):
        siblings = {0: {0, 1}, 1: {0, 1}, 2: {2, 3}, 3: {2, 3}}
        self.assertEqual(machine.choose_cpus({0, 1, 2, 3}, siblings), (0, 2, False))
        self.assertEqual(machine.choose_cpus({0, 1}, siblings), (0, 1, True))
        with self.assertRaises(SystemExit):
            machine.choose_cpus({3}, siblings)

    def test_lists_of_cpus_are_read_as_the_kernel_writes_them(self):
        self.assertEqual(machine.cpu_list("0-2,5"), {0, 1, 2, 5})

    def test_times_of_all_cpus_are_told_apart(self):
        text = "cpu  10 1 5 100 4 0 2 3 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
        self.assertEqual(machine.cpu_times(text), (18, 3, 125))

    def test_each_kind_of_noise_has_its_warning(self):
        quiet = {"spin_spread": 0.01, "steal": 0.0, "others_before": 0.0}
        self.assertEqual(machine.warnings(quiet, False), [])
        for name, word in (("spin_spread", "spin"), ("steal", "hypervisor"), ("others_before", "other programs")):
            said = machine.warnings({**quiet, name: 0.5}, False)
            self.assertEqual(len(said), 1)
            self.assertIn(word, said[0])
        self.assertIn("one core", machine.warnings(quiet, True)[0])

    def test_slow_spins_are_seen(self):
        noise = machine.Noise((0,), spins=[100] * 8 + [130, 150])
        self.assertAlmostEqual(noise.spin_spread(), 0.3)


class ReportTest(unittest.TestCase):
    def setUp(self):
        self.missed = measured({"skerry": gives(3, 3, 3), "raw": gives(1, 1, 1), "peer": gives(6, 6, 6)}, budget=2,
                               against="raw")
        self.met = measured({"skerry": gives(3, 3, 3), "raw": gives(2, 2, 2)}, budget=2, against="raw")

    def test_an_entry_has_what_a_reader_of_the_json_needs(self):
        entry = report.entry(self.missed)
        self.assertEqual([entry[name] for name in ("name", "unit", "skerry", "limit", "ratio")], ["row", "us", 3, 1, 3])
        self.assertEqual(entry["peers"], {"peer": {"value": 6, "ratio": 0.5}})
        json.dumps(entry)

    def test_the_table_has_the_columns_and_marks_noise(self):
        noisy = measured({"skerry": gives(1, 2, 9), "raw": gives(1, 1, 1)})
        lines = report.table([report.entry(self.missed), report.entry(noisy)]).splitlines()
        self.assertRegex(lines[0], "^row +Skerry +limit +ratio +best peer +ratio +spread +budget$")
        self.assertRegex(lines[1], r"^row +3 us +1 us +3 +peer 6 us +0.5 +±0% +<= 2 x raw +MISSED$")
        self.assertIn("!", lines[2])
        footer = report.footer(record_of(noisy, warnings=["it was loud"]))
        self.assertIn("warning: it was loud", footer)
        self.assertRegex(footer, r"differ by more than 10 % .*: row")

    def test_how_long_it_took_stands_under_the_table_and_in_readme(self):
        for seconds, said in ((42, "It took 42 s."), (725, "It took 12 min 5 s.")):
            record = {**record_of(self.met), "seconds": seconds}
            self.assertIn(said, report.footer(record))
            self.assertIn(said, report.readme_block(record, {}))
        self.assertNotIn("took", report.readme_block(record_of(self.met), {}))  # a record of before it was kept

    def test_a_limit_that_a_peer_beats_is_named(self):
        for peer, options, named in ((0.9, {}, True), (0.97, {}, False), (1.1, {}, False),
                                     (1.1, {"higher_is_better": True}, True), (0.9, {"higher_is_better": True}, False)):
            result = measured({"skerry": gives(3), "raw": gives(1), "peer": gives(peer)}, 1, **options)
            self.assertEqual("faster than the limit" in report.footer(record_of(result)), named, (peer, options))

    def test_absent_contestants_are_named_once(self):
        result = measured({"skerry": gives(1), "raw": gives(1), "peer": raises(NotBuilt("perf/peer"))}, 1)
        self.assertIn("peer not built: perf/peer (row)", report.footer(record_of(result)))
        self.assertIn("raw: raw_program", report.footer(record_of(result)))

    def test_the_page_of_results_says_what_was_not_measured_and_shows_every_plot(self):
        record = record_of(self.met)
        record["curves"] = [{"name": "timers", "notes": {"Go at 10": "left out: too many"}}]
        page = report.results_page(record, {}, [("growth_timers.svg", "Timers")])
        self.assertIn("- Go at 10: left out: too many (timers)", page)
        self.assertIn("![Timers](growth_timers.svg)", page)

    def test_reasons_are_read_from_the_list_and_belong_to_rows(self):
        text = ("# A\n\n## Where the budget is not met, and why\n\nintro\n\n- **one thing** (`row`, `other`): because\n"
                "  of this.\n- **no row**: says nothing.\n- **two** (`third`): because of that.\n\n## Next\n\n"
                "- **x** (`y`): z\n")
        self.assertEqual(report.reasons(text), {"row": "**one thing**: because of this.",
                                                "other": "**one thing**: because of this.",
                                                "third": "**two**: because of that."})

    def test_a_missed_row_has_its_reason_as_a_note_and_a_met_one_has_none(self):
        text = report.markdown(record_of(self.missed, self.met), record_of(self.missed, self.met)["rows"],
                               {"row": "**one thing**: because."})
        self.assertEqual(text.count("no¹"), 1)
        self.assertIn("\n¹ **one thing**: because.", text)
        self.assertIn(report.NO_REASON, report.markdown(record_of(self.missed), [report.entry(self.missed)], {}))

    def test_the_block_between_the_markers_is_replaced_and_nothing_else(self):
        document = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
        self.assertEqual(report.replace_block(document, "new \\1\n"),
                         f"before\n{report.BEGIN}\nnew \\1\n{report.END}\nafter\n")
        with self.assertRaises(ValueError):
            report.replace_block("no markers", "new\n")

    def test_reasons_of_this_project_name_rows_that_exist(self):
        names = {row.name for each in catalogue.EXPERIMENTS for row in each.rows}
        reasons = report.reasons((ROOT / "ARCHITECTURE.md").read_text())
        self.assertLessEqual(set(reasons), names)

    def test_the_page_of_perf_names_every_row_and_every_program(self):
        page = (ROOT / "perf/README.md").read_text()
        said = {word.strip("/") for word in re.findall(r"`([\w./*-]+)`", page)}
        patterns = [re.compile(re.escape(word).replace(r"\*", ".*")) for word in said]
        names = [row.name for each in catalogue.EXPERIMENTS for row in each.rows]
        self.assertEqual([name for name in names if not any(each.fullmatch(name) for each in patterns)], [])
        folders = [each.name for each in (ROOT / "perf").iterdir() if (each / "CMakeLists.txt").exists()]
        programs = [each.stem for folder in ("limits", "load") for each in (ROOT / "perf" / folder).glob("*.cpp")]
        programs = [name for name in programs if not name.endswith("_counter")]  # a library, named by its path
        self.assertEqual([name for name in (*folders, *programs) if name not in said], [])
        self.assertLessEqual({experiment.group for experiment in catalogue.EXPERIMENTS},
                             set(re.search(r"groups: ([\w ]+)", page).group(1).split()))

    def test_every_published_budget_that_is_missed_has_its_reason(self):
        published = ROOT / "perf/results/published/latest.json"
        if not published.exists():
            self.skipTest("nothing is published yet: scripts/bench --readme")
        why = report.reasons((ROOT / "ARCHITECTURE.md").read_text())
        unexplained = report.unexplained(json.loads(published.read_text())["rows"], why)
        self.assertEqual(unexplained, [], "fix: an entry in ARCHITECTURE.md, Where the budget is not met, with the row's "
                                          "name in brackets; then scripts/bench --render")

    def test_a_missed_budget_without_a_reason_is_found(self):
        rows_ = [report.entry(self.missed), report.entry(self.met)]
        self.assertEqual(report.unexplained(rows_, {}), ["row"])
        self.assertEqual(report.unexplained(rows_, {"row": "because"}), [])
        self.assertEqual(report.unexplained([{**rows_[0], "verdict": "FAILED"}], {}), ["row"])

    def test_readme_shows_what_is_published(self):
        readme = (ROOT / "README.md").read_text()
        self.assertIn(report.BEGIN, readme)
        published = ROOT / "perf/results/published/latest.json"
        if not published.exists():
            self.skipTest("nothing is published yet: scripts/bench --readme")
        why = report.reasons((ROOT / "ARCHITECTURE.md").read_text())
        block = report.readme_block(json.loads(published.read_text()), why)
        self.assertEqual(report.replace_block(readme, block), readme,
                         "README.md, ARCHITECTURE.md or scripts/bench changed; fix: scripts/bench --render")


class ScenarioTest(unittest.TestCase):
    def test_a_clean_build_has_everything_but_what_was_built(self):
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder) / "scripts" / "build"
            for file in (script, Path(folder) / "build" / "release" / "old", Path(folder) / ".git" / "HEAD"):
                file.parent.mkdir(parents=True)
                file.write_text("#!/bin/sh\n[ ! -e build ] && [ ! -e .git ] && [ -z \"$CXX_COMPILER_LAUNCHER\" ]\n")
            script.chmod(0o755)
            self.assertGreater(scenarios.clean_build_seconds(types.SimpleNamespace(root=Path(folder))), 0)
            script.write_text("#!/bin/sh\necho it broke\nexit 1\n")
            with self.assertRaisesRegex(Failure, "a clean build failed: it broke"):
                scenarios.clean_build_seconds(types.SimpleNamespace(root=Path(folder)))


class PlotTest(unittest.TestCase):
    CURVE = {"title": "a < b & c", "x": "timers", "unit": "ns", "points": [1, 10, 1000], "limit": "raw",
             "series": {"peer": [5, 6, 7], "raw": [1, 2, None], "skerry": [3.0, 3.5, 4.0]}}

    def test_a_curve_is_well_formed_and_has_a_line_and_a_name_for_each(self):
        tree = ElementTree.fromstring(plot.curve(self.CURVE))
        lines = tree.findall(f"{SVG}polyline")
        self.assertEqual([len(line.get("points").split()) for line in lines], [3, 2, 3])
        self.assertEqual([line.get("class") for line in lines], ["s0", "s1", "s2"])
        said = [text.text for text in tree.findall(f"{SVG}text")]
        for name in ("Skerry", "raw", "peer", "a < b & c", "timers", "ns"):
            self.assertIn(name, said)

    def test_everything_lies_within_the_picture(self):
        tree = ElementTree.fromstring(plot.curve(self.CURVE))
        drawn = " ".join(line.get("points") for line in tree.findall(f"{SVG}polyline"))
        for x, y in re.findall(r"([-\d.]+),([-\d.]+)", drawn):
            self.assertTrue(0 <= float(x) <= plot.WIDTH and 0 <= float(y) <= plot.HEIGHT, (x, y))

    def test_colours_follow_the_readers_scheme(self):
        style = plot.style()
        light, dark = style.split("@media(prefers-color-scheme:dark)")
        for palette, rules in ((plot.LIGHT, light), (plot.DARK, dark)):
            for colour in palette:
                self.assertIn(colour, rules)
        self.assertEqual(len(plot.LIGHT), len(plot.DARK))
        self.assertGreaterEqual(len(plot.LIGHT), max(len(curve.contestants) for curve in growth.CURVES))

    def test_every_colour_is_legible_on_its_background(self):
        def luminance(colour):
            parts = [int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5)]
            return sum(weight * (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
                       for weight, part in zip((0.2126, 0.7152, 0.0722), parts))
        for palette, background in ((plot.LIGHT, "#ffffff"), (plot.DARK, "#0d1117")):
            for colour in palette:
                low, high = sorted((luminance(colour), luminance(background)))
                self.assertGreaterEqual((high + 0.05) / (low + 0.05), 4.5, f"{colour} on {background}")

    def test_names_at_the_ends_do_not_lie_on_each_other(self):
        placed = sorted(plot.spread_apart({"a": 10, "b": 11, "c": 12, "d": 100}).values())
        self.assertTrue(all(b - a >= plot.LINE_APART for a, b in zip(placed, placed[1:])))
        self.assertEqual(placed[-1], 100)

    def test_axes_are_logarithmic_for_magnitudes_and_straight_for_a_zero(self):
        self.assertTrue(plot.Axis([1, 1000], 0, 100).log)
        straight = plot.Axis([0, 50, 100], 0, 100)
        self.assertFalse(straight.log)
        self.assertEqual([straight.at(0), straight.at(50), straight.at(100)], [0, 50, 100])
        self.assertLessEqual(len(straight.ticks()), 7)
        plot.Axis([5, 5], 0, 100).ticks()

    def test_nothing_measured_is_still_a_picture(self):
        ElementTree.fromstring(plot.curve({**self.CURVE, "series": {"skerry": [None] * 3}}))

    def test_bars_have_one_for_each_contestant(self):
        result = measured({"skerry": gives(3), "raw": gives(1), "peer & co": gives(6)}, 1)
        tree = ElementTree.fromstring(plot.bars(report.entry(result)))
        widths = [float(bar.get("width")) for bar in tree.findall(f"{SVG}rect")]
        self.assertEqual(len(widths), 3)
        self.assertGreater(widths[2], widths[0])
        self.assertGreater(widths[0], widths[1])


if __name__ == "__main__":
    os.chdir(ROOT)
    unittest.main()
