# SPDX-License-Identifier: Apache-2.0
"""What is done to a program to get one number of one row. A function that ends in a lambda or an inner function returns
a scenario: something that takes the machine and gives one number per call."""
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from measure import (AllocationCount, ConfigurationFile, Failure, NotBuilt, Server, START_SECONDS, connect, cpu_ns,
                     free_port, memory_bytes, sleeps, time_ns)

LOAD_SECONDS = 1.0
WRK_SECONDS = 2  # whole seconds only
SCRAPED_SECONDS = 3.0  # some scrapes
IDLE_SECONDS = 3.0
IDLE_CONNECTIONS = 10_000
KEYS = 100_000


# ---- servers: what to run and on which CPUs ----

def skerry_echo(machine):
    return [machine.program("apps/echo_server"), "--shards", "1", "--port", "{port}", "--cpuset",
            machine.server_cpu], {machine.server_cpu}


def raw_echo(machine):
    return [machine.program("perf/echo_uring"), "{port}"], {machine.server_cpu}


def skerry_kv(shards):
    def server(machine):
        cpus = [machine.server_cpu, machine.load_cpu][:shards]
        return [machine.program("apps/kv_server"), "--shards", shards, "--port", "{port}", "--cpuset",
                ",".join(map(str, cpus))], set(cpus)
    return server


def redis(machine):
    return [machine.program("redis-server"), "--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly",
            "no", "--daemonize", "no"], {machine.server_cpu}


def skerry_http(machine):
    return [machine.program("apps/http_server"), "--shards", "1", "--port", "{port}", "--cpuset",
            machine.server_cpu], {machine.server_cpu}


def raw_http(machine):
    return [machine.program("perf/http_uring"), "{port}"], {machine.server_cpu}


# One process, so that its CPU time is all there is; what costs time per request and is not the answer is off. Nothing
# uses the temporary paths, but nginx makes them as it starts.
NGINX = """
daemon off;
master_process off;
pid $folder/pid;
error_log stderr error;
events { worker_connections 16384; }
http {
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_temp_path $folder/body;
  proxy_temp_path $folder/proxy;
  fastcgi_temp_path $folder/fastcgi;
  uwsgi_temp_path $folder/uwsgi;
  scgi_temp_path $folder/scgi;
  server {
    listen 127.0.0.1:$port backlog=4096;
    location / { return 200 "Hello, World!"; }
  }
}
"""


def nginx(machine):
    return [machine.program("nginx"), "-e", "stderr", "-c", ConfigurationFile(NGINX)], {machine.server_cpu}


# ---- CPU per message ----

def cpu_us_per(server, machine, command, count):
    server.check_alive()
    before = cpu_ns(server.pid)
    done = machine.load(command)
    settle(server.pid)
    used = cpu_ns(server.pid) - before
    server.check_alive()
    if done[count] == 0:
        raise Failure(f"{command[0]} got nothing done")
    return used / done[count] / 1000


def settle(pid):
    """Waits until the server's CPU time stands still (a spinning one gets at most a second)."""
    last = -1
    for _ in range(50):
        now = cpu_ns(pid)
        if now == last:
            return
        last = now
        time.sleep(0.02)


def echo_command(machine, server, seconds=LOAD_SECONDS):
    return [machine.program("perf/echo_load"), server.port, "--connections", 64, "--size", 64, "--seconds", seconds]


def kv_command(machine, server, op, seconds=LOAD_SECONDS):
    return [machine.program("perf/kv_load"), server.port, "--connections", 8, "--pipeline", 32, "--seconds", seconds,
            "--op", op, "--keys", KEYS, "--value", 64]


def http_command(machine, server, seconds=LOAD_SECONDS):
    return [machine.program("perf/http_load"), server.port, "--connections", 64, "--seconds", seconds]


def echo_cpu(kind):
    def scenario(machine):
        with Server(*kind(machine)) as server:
            machine.load(echo_command(machine, server, 0.2))  # pages touched, caches warm
            return cpu_us_per(server, machine, echo_command(machine, server), "messages")
    return scenario


def kv_cpu(kind, op):
    def scenario(machine):
        with Server(*kind(machine)) as server:
            machine.load(kv_command(machine, server, "fill"))
            machine.load(kv_command(machine, server, op, 0.2))
            return cpu_us_per(server, machine, kv_command(machine, server, op), "commands")
    return scenario


def http_cpu(kind):
    def scenario(machine):
        with Server(*kind(machine)) as server:
            warm = machine.load(http_command(machine, server, 0.2))
            if warm["body_bytes"] != len("Hello, World!"):
                raise Failure(f"a body of {warm['body_bytes']} bytes is not Hello, World!")
            return cpu_us_per(server, machine, http_command(machine, server), "requests")
    return scenario


def scraped_http_cpu(scrapes):
    """As http_cpu, while somebody fetches /metrics so many times a second; both are answered by the same shard."""
    def scenario(machine):
        admin = free_port()
        command, cpus = skerry_http(machine)
        with Server([*command, "--admin", f"127.0.0.1:{admin}"], cpus) as server:
            machine.load(http_command(machine, server, 0.2))
            done = threading.Event()
            sizes = []

            def scrape():
                while not done.wait(1 / scrapes):
                    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=START_SECONDS) as answer:
                        sizes.append(len(answer.read()))

            scraper = threading.Thread(target=scrape)
            if scrapes:
                scraper.start()
            try:
                return cpu_us_per(server, machine, http_command(machine, server, SCRAPED_SECONDS), "requests")
            finally:
                done.set()
                if scrapes:
                    scraper.join()
                    if len(sizes) < scrapes * SCRAPED_SECONDS / 2 or min(sizes) < 1000:
                        raise Failure(f"{len(sizes)} scrapes in {SCRAPED_SECONDS} s")
    return scenario


def http_wrk(kind):
    """Wall time per request as wrk sees it, when it is not the server's CPU that counts but who gets more done."""
    def scenario(machine):
        with Server(*kind(machine)) as server:
            command = [machine.program("wrk"), "-t1", "-c64", f"-d{WRK_SECONDS}s", f"http://127.0.0.1:{server.port}/"]
            output = subprocess.run(command, capture_output=True, text=True, timeout=60,
                                    preexec_fn=lambda: os.sched_setaffinity(0, {machine.load_cpu})).stdout
            rate = re.search(r"Requests/sec:\s*([0-9.]+)", output)
            if not rate or float(rate.group(1)) == 0 or "Socket errors" in output or "Non-2xx" in output:
                raise Failure(f"wrk: {output.strip()[-500:]}")
            return 1e6 / float(rate.group(1))
    return scenario


# ---- programs that measure themselves ----

def benchmark(program, name, unit, counter=None):
    """The worst case of a Google Benchmark, in `unit`, or its counter."""
    def scenario(machine):
        cases = machine.benchmark(f"perf/{program}", name)
        if counter is not None:
            if any(counter not in case for case in cases):
                raise Failure(f"{program} {name} has no counter {counter}")
            return max(case[counter] for case in cases)
        return max(map(time_ns, cases)) / {"ns": 1, "us": 1e3}[unit]
    return scenario


def raw(program, result):
    return lambda machine: machine.run([machine.program(f"perf/{program}"), machine.server_cpu, machine.load_cpu])[result]


def faster_wake(machine):
    program = machine.program("perf/wake_ping_pong")
    return min(machine.run([program, way, machine.server_cpu, machine.load_cpu])["us"]
               for way in ("eventfd", "msg_ring"))


# ---- heap allocations: counted over the middle of a load, when every connection is up ----

def allocations(kind, machine, prepare, command):
    count = AllocationCount(machine)
    with Server(*kind(machine), count.environment()) as server:
        if prepare:
            machine.load(prepare(server))
        if count.read() == 0:
            raise Failure("the program was not seen to allocate at all; is it linked statically?")
        load = subprocess.Popen([str(word) for word in command(server)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                preexec_fn=lambda: os.sched_setaffinity(0, {machine.load_cpu}))
        time.sleep(0.8)
        before, start = count.read(), time.monotonic()
        time.sleep(1)
        per_second = (count.read() - before) / (time.monotonic() - start)
        _, errors = load.communicate(timeout=60)
        if load.returncode != 0:
            raise Failure(errors.decode())
        return per_second


def echo_allocations(machine):
    return allocations(skerry_echo, machine, None, lambda server: echo_command(machine, server, 2.2))


def http_allocations(machine):
    return allocations(skerry_http, machine, None, lambda server: http_command(machine, server, 2.2))


def kv_allocations(op):
    return lambda machine: allocations(skerry_kv(1), machine, lambda server: kv_command(machine, server, "fill"),
                                       lambda server: kv_command(machine, server, op, 2.2))


# ---- idle ----

def answered(client):
    """Whether one request, which an echo server sends back and a key-value server answers, brought something."""
    client.sendall(b"PING\r\n")
    return client.recv(16) in (b"PING\r\n", b"+PONG\r\n")


def answer_once(port):
    with connect(port) as client:
        if not answered(client):
            raise Failure("the server did not answer")


def idle_memory(kind):
    def scenario(machine):
        with Server(*kind(machine)) as server:
            answer_once(server.port)
            settle(server.pid)
            return memory_bytes(server.pid, ["Rss"]) / 1e6
    return scenario


def idle_wakeups(kind):
    def scenario(machine):
        with Server(*kind(machine)) as server:
            answer_once(server.port)
            time.sleep(1)  # a timer looks after the closed connection for half a second
            before, used = sleeps(server.pid), cpu_ns(server.pid)
            time.sleep(IDLE_SECONDS)
            if cpu_ns(server.pid) - used > IDLE_SECONDS * 1e9 / 2:
                raise Failure("the idle server spins")  # it never sleeps, so it is never woken either
            return (sleeps(server.pid) - before) / IDLE_SECONDS
    return scenario


def connection_bytes(kind):
    """Growth of private memory over many connections that were answered once and now say nothing."""
    def scenario(machine):
        count = min(IDLE_CONNECTIONS, machine.descriptors - 500)
        with Server(*kind(machine)) as server:
            for _ in range(100):
                answer_once(server.port)
            settle(server.pid)
            before = memory_bytes(server.pid, ["Private_Dirty", "Private_Clean"])
            clients = []
            try:
                for _ in range(count):
                    clients.append(connect(server.port))
                    if not answered(clients[-1]):
                        raise Failure("the server did not answer")
                settle(server.pid)
                return (memory_bytes(server.pid, ["Private_Dirty", "Private_Clean"]) - before) / count
            finally:
                for client in clients:
                    client.close()
    return scenario


# ---- start ----

def first_answer(port, deadline):
    """Connects in a tight loop until a request was answered."""
    while time.monotonic() < deadline:
        with socket.socket() as client:
            client.settimeout(START_SECONDS)
            if client.connect_ex(("127.0.0.1", port)) != 0:
                continue
            if answered(client):
                return
    raise Failure(f"no answer within {START_SECONDS} s of the start")


def start_ms(kind):
    def scenario(machine):
        command, cpus = kind(machine)
        port = free_port()
        words = [str(word).format(port=port) for word in command]
        quiet = [(os.POSIX_SPAWN_OPEN, stream, "/dev/null", os.O_RDWR, 0) for stream in (0, 1, 2)]
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cpus)  # inherited: nothing but the server runs between here and its first accept
        start = time.monotonic()
        pid = os.posix_spawn(words[0], words, os.environ, file_actions=quiet)
        os.sched_setaffinity(0, {machine.load_cpu})
        try:
            first_answer(port, start + START_SECONDS)
            return (time.monotonic() - start) * 1000
        finally:
            os.sched_setaffinity(0, mine)
            os.kill(pid, 15)
            os.waitpid(pid, 0)
    return scenario


# ---- build ----

def clean_build_seconds(machine):
    if not (machine.root / "scripts" / "build").exists():
        raise NotBuilt("scripts/build")
    with tempfile.TemporaryDirectory(prefix="skerry-build-") as folder:
        copy = Path(folder) / "skerry"
        shutil.copytree(machine.root, copy, ignore=shutil.ignore_patterns("build", ".git"), symlinks=True)
        start = time.monotonic()
        done = subprocess.run([str(copy / "scripts" / "build")], cwd=copy, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise Failure(f"a clean build failed: {done.stdout[-2000:]}")
        return time.monotonic() - start
