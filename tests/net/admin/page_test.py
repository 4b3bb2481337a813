# SPDX-License-Identifier: Apache-2.0
"""The admin page in a browser: a loaded kv_server's figures show and change, nothing goes wrong, nothing else is asked.

page_test.py KV_SERVER SCREENSHOT. Exit status 77 where there is no chromium."""
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

SKIPPED = 77


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(program, admin):
    server = subprocess.Popen([program, "--port", "0", "--shards", "4", "--overprovision", "--admin", admin],
                              stderr=subprocess.PIPE, text=True)
    ports = []
    for line in server.stderr:
        listening = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
        if listening:
            ports.append(int(listening.group(1)))
        if len(ports) == 2:  # its own, then the endpoint's
            return server, ports[0]
    raise SystemExit("the server ended before it listened")


def load(port, stop):
    """Keys of all shards, so that messages cross, until it is told to stop."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        number = 0
        while not stop.is_set():
            client.sendall(b"".join(b"INCR key:%d\r\n" % (number + i) for i in range(64)))
            number += 64
            answered = b""
            while answered.count(b"\n") < 64:
                answered += client.recv(65536)


def browse(url, screenshot):
    with tempfile.TemporaryDirectory() as profile:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                   f"--user-data-dir={profile}", "--window-size=1150,1000", "--virtual-time-budget=5000"]
        shot = subprocess.run(command + [f"--screenshot={screenshot}", url], capture_output=True, text=True,
                              timeout=120, check=True)
        dump = subprocess.run(command + ["--dump-dom", url], capture_output=True, text=True, timeout=120, check=True)
    return dump.stdout, shot.stderr + dump.stderr


def main():
    program, screenshot = sys.argv[1:]
    if shutil.which("chromium") is None:
        return SKIPPED
    admin = f"127.0.0.1:{free_port()}"
    server, port = start(program, admin)
    stop = threading.Event()
    loader = threading.Thread(target=load, args=(port, stop))
    loader.start()
    try:
        page, log = browse(f"http://{admin}/", screenshot)
    finally:
        stop.set()
        loader.join()
        server.terminate()
        server.stderr.read()
        status = server.wait(timeout=60)
    problems = [line for line in log.splitlines() if "CONSOLE" in line]
    assert not problems, problems
    assert status == 0, status
    assert re.search(r"4 shards, up for \d", page), page[-2000:]
    assert page.count('class="island"') == 4, page
    for figure in ("steps/s", "turns/s", "sent/s"):
        shown = re.findall(rf'data-figure="{figure}">([^<]*)<', page)
        assert len(shown) == 4 and any(value != "0" for value in shown), (figure, shown)
    cells = re.findall(r'<td [^>]*title="(\d+) messages from shard (\d) to shard (\d)', page)
    assert len(cells) == 16 and any(int(count) > 0 for count, _, _ in cells), cells
    assert ">connection</td>" in page, "the client's task is in the table"
    return 0


if __name__ == "__main__":
    sys.exit(main())
