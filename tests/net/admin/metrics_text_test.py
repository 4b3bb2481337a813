# SPDX-License-Identifier: Apache-2.0
"""What /metrics of a program under load says, read by the parsers of others: promtool for Prometheus' text, the strict
one of prometheus_client for OpenMetrics.

metrics_text_test.py HTTP_SERVER. Exit status 77 when one of them is not installed (prometheus, python3-prometheus-client)."""
import http.client
import os
import shutil
import subprocess
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "support"))
from http_program import Program, expect  # noqa: E402

SKIPPED = 77
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"


def get(server, accept):
    asked = urllib.request.Request(f"http://{server.admin}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def ask_for_things(server):
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for path, method in (("/", "GET"), ("/nowhere", "GET"), ("/items", "PATCH"), ("/items?limit=x", "GET")):
        client.request(method, path, headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
        client.getresponse().read()
    client.close()


def check_prometheus(text):
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60,
                          check=False)
    expect(done.returncode == 0 and not done.stderr.strip(), done.stdout + done.stderr)
    broken = subprocess.run(["promtool", "check", "metrics"], input=text.replace("_total", "_sum"), capture_output=True,
                            text=True, timeout=60, check=False)
    expect(broken.returncode != 0, "promtool finds nothing wrong with anything")


def check_openmetrics(parse, text):
    families = {family.name: family for family in parse(text)}
    expect(families["skerry_tasks_run"].type == "counter")
    expect(families["skerry_reactor_idle_seconds"].unit == "seconds")
    expect(families["skerry_frame_pool_bytes"].unit == "bytes")
    for name in ("skerry_tasks", "skerry_tasks_ready", "skerry_reactor_turns", "skerry_reactor_turn_seconds",
                 "skerry_kernel_submissions", "skerry_buffers", "skerry_messages_sent", "skerry_hop_messages",
                 "skerry_timers", "skerry_net_connections", "skerry_http_responses", "skerry_group_cpu_seconds"):
        expect(name in families and families[name].samples, name)
    responses = {}
    for sample in families["skerry_http_responses"].samples:
        if sample.labels["server"] == "http":
            responses[sample.labels["class"]] = responses.get(sample.labels["class"], 0) + sample.value
    expect(responses["2xx"] == 1 and responses["4xx"] == 3, responses)
    buckets = [sample for sample in families["skerry_http_handler_seconds"].samples
               if sample.labels.get("server") == "http" and sample.name.endswith("_bucket")]
    examples = [sample.exemplar for sample in buckets if sample.exemplar]
    expect(examples and all(each.labels == {"trace_id": TRACE} for each in examples), examples)
    expect(buckets[-1].value == 4, buckets)


def main():
    try:
        from prometheus_client.openmetrics.parser import text_string_to_metric_families  # pylint: disable=import-outside-toplevel
    except ImportError:
        text_string_to_metric_families = None
    if text_string_to_metric_families is None or shutil.which("promtool") is None:
        print("needs the packages prometheus and python3-prometheus-client (scripts/setup clients)")
        return SKIPPED
    with Program(sys.argv[1], "--shards", "3", "--overprovision") as server:
        ask_for_things(server)
        kind, text = get(server, OPENMETRICS)
        expect(kind == "application/openmetrics-text; version=1.0.0; charset=utf-8", kind)
        check_openmetrics(text_string_to_metric_families, text)
        kind, text = get(server, "*/*")
        expect(kind == "text/plain; version=0.0.4; charset=utf-8", kind)
        check_prometheus(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
