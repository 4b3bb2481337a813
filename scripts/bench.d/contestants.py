# SPDX-License-Identifier: Apache-2.0
"""Servers that are compared: what to run, and on which CPUs. Each function takes the machine and returns (command,
CPUs); {port} in a command is filled in when it starts. A program that is not there raises NotBuilt, and its column says
so.

Peers run on the server's CPU alone, which is also how many threads their runtimes then make (Go and tokio read the
affinity).
"""
from measure import ConfigurationFile


# ---- Skerry ----

def skerry_echo(machine):
    return [machine.program("apps/echo_server"), "--shards", "1", "--port", "{port}", "--cpuset",
            machine.server_cpu], {machine.server_cpu}


def on_epoll(kind):
    """The same on the backend for where io_uring is forbidden."""
    def server(machine):
        command, cpus = kind(machine)
        return [*command, "--backend", "epoll"], cpus
    return server


def skerry_udp_echo(machine):
    return [machine.program("perf/udp_echo"), "--shards", "1", "--port", "{port}", "--cpuset",
            machine.server_cpu], {machine.server_cpu}


def skerry_http(machine):
    return [machine.program("apps/http_server"), "--shards", "1", "--port", "{port}", "--cpuset",
            machine.server_cpu], {machine.server_cpu}


def skerry_kv(shards):
    """One shard per CPU, the load's CPU among them: for what two shards cost together."""
    def server(machine):
        cpus = [machine.server_cpu, machine.load_cpu][:shards]
        return [machine.program("apps/kv_server"), "--shards", shards, "--port", "{port}", "--cpuset",
                ",".join(map(str, cpus))], set(cpus)
    return server


def skerry_accepting(policy, crowded=True):
    """Connections to shards by this policy: to four on the server's CPU, or to one on each CPU, pinned, as `steered`
    needs them."""
    def server(machine):
        cpus = [machine.server_cpu] if crowded else [machine.server_cpu, machine.load_cpu]
        shards = ["--shards", "4", "--overprovision"] if crowded else ["--shards", "2", "--pin", "on"]
        return [machine.program("apps/echo_server"), *shards, "--port", "{port}", "--cpuset", ",".join(map(str, cpus)),
                "--accept", policy, "--admin", "127.0.0.1:{admin}"], set(cpus)
    return server


def skerry_crowded(app, shards):
    """All shards on the server's CPU, so that the figure is what more shards cost and not what more CPUs bring."""
    def server(machine):
        return [machine.program(f"apps/{app}"), "--shards", shards, "--overprovision", "--port", "{port}", "--cpuset",
                machine.server_cpu], {machine.server_cpu}
    return server


def counted(kind):
    """Asked over its admin endpoint how often it entered the kernel. It opens one anyway, at a port that may be
    taken."""
    def server(machine):
        command, cpus = kind(machine)
        return [*command, "--admin", "127.0.0.1:{admin}"], cpus
    return server


# ---- limits and peers of our own: PORT is their only argument ----

def raw(name):
    return lambda machine: ([machine.program(f"perf/{name}"), "{port}"], {machine.server_cpu})


def peer(name, what):
    return raw(f"peer_{name}_{what}")


def node(what):
    return lambda machine: ([machine.program("node"), machine.source(f"perf/peers/{what}.mjs"), "{port}"],
                            {machine.server_cpu})


# ---- Debian's servers ----

def redis(machine):
    return [machine.program("redis-server"), "--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly",
            "no", "--daemonize", "no"], {machine.server_cpu}


def memcached(machine):
    """One worker thread. It refuses to be root, so it becomes nobody there; elsewhere -u is ignored."""
    return [machine.program("memcached"), "-p", "{port}", "-U", "0", "-l", "127.0.0.1", "-t", "1", "-m", "256", "-u",
            "nobody"], {machine.server_cpu}


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


# ---- who takes part ----

# The faster of the two raw echo servers is the limit: which one that is depends on the kernel and the load.
RAW_RING, RAW_EPOLL, ECHO_LIMIT = "raw io_uring", "raw epoll", "raw"
HTTP_LIMIT, UDP_LIMIT = RAW_RING, "raw mmsg"
ECHO_PEERS = {**{name: peer(file, "echo") for name, file in
                 (("Asio", "asio"), ("libuv", "libuv"), ("libevent", "libevent"), ("tokio", "tokio"), ("Go", "go"))},
              "Node.js": node("echo")}
ECHO = {"skerry": skerry_echo, RAW_RING: raw("echo_uring"), RAW_EPOLL: raw("epoll_echo"), **ECHO_PEERS}
# Skerry on epoll, beside a server that was written for it, and beside itself on io_uring.
ON_RING = "on io_uring"
ECHO_ON_EPOLL = {"skerry": on_epoll(skerry_echo), RAW_EPOLL: raw("epoll_echo"), ON_RING: counted(skerry_echo)}
UDP = {"skerry": skerry_udp_echo, UDP_LIMIT: raw("udp_mmsg")}
HTTP = {"skerry": skerry_http, HTTP_LIMIT: raw("http_uring"), "nginx": nginx, "Beast": peer("asio", "http"),
        "Go": peer("go", "http"), "Node.js": node("http")}
HTTP_ON_EPOLL = {"skerry": on_epoll(skerry_http), ON_RING: counted(skerry_http)}
KV = {"skerry": skerry_kv(1), "redis": redis}  # memcached is loaded by another protocol, see catalogue.py
