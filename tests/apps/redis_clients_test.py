# SPDX-License-Identifier: Apache-2.0
"""The key-value server with other people's clients: redis-cli, redis-benchmark and redis-py, unchanged.

redis_clients_test.py KV_SERVER. Exit status 77 when they are not installed (scripts/setup redis)."""
import os
import re
import shutil
import subprocess
import sys

SKIPPED = 77


def start(program):
    server = subprocess.Popen([program, "--port", "0", "--shards", "4", "--overprovision"], stderr=subprocess.PIPE,
                              text=True)
    for line in server.stderr:
        listening = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
        if listening:
            return server, int(listening.group(1))
    raise SystemExit("the server ended before it listened")


def expect(got, wanted):
    if got != wanted:
        raise SystemExit(f"got {got!r}, wanted {wanted!r}")


def run(command, text=""):
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=100, check=False)
    output = done.stdout + done.stderr
    if done.returncode != 0:
        raise SystemExit(f"{command}: exit status {done.returncode}: {output}")
    return output


def check_redis_cli(port):
    cli = ["redis-cli", "-p", str(port)]
    expect(run(cli + ["set", "a", "1"]), "OK\n")
    expect(run(cli + ["get", "a"]), "1\n")
    expect(run(cli, "incr a\nget a\nmget a none\n"), "2\n2\n2\n\n")
    expect(run(cli + ["--scan", "--pattern", "a*"]), "a\n")
    expect(run(cli + ["--pipe"], "SET p 1\r\nSET q 2\r\n").splitlines()[-1], "errors: 0, replies: 2")
    expect(run(cli + ["get", "no such"]), "\n")
    info = run(cli + ["info"])
    for line in ("redis_version:7", "# Shards", "shard3:keys=", "connected_clients:1"):
        expect(line in info, True)
    expect("# Memory" in run(cli + ["info", "keyspace"]), False)
    expect(run(cli + ["config", "get", "maxmemory-policy"]), "maxmemory-policy\nnoeviction\n")
    expect(run(cli + ["command", "count"]), "33\n")
    expect("proto" in run(cli + ["hello"]), True)
    expect(run(cli + ["client", "setname", "me"]), "OK\n")
    expect("Biggest string" in run(cli + ["--bigkeys"]), True)
    expect(run(cli + ["flushall"]), "OK\n")


def check_redis_benchmark(port):
    output = run(["redis-benchmark", "-p", str(port), "-t", "ping,set,get,incr,mset", "-n", "20000", "-P", "16", "-q"])
    for name in ("PING_INLINE", "SET", "GET", "INCR", "MSET"):
        expect(f"{name}" in output and "per second" in output, True)
    expect("ERR" in output or "WARN" in output, False)


def check_library(redis, port):
    client = redis.Redis(port=port, decode_responses=True, client_name="library", health_check_interval=1)
    expect(client.ping(), True)
    expect(client.flushall(), True)
    expect(client.set("key", "value", ex=100), True)
    expect(client.set("key", "other", nx=True), None)
    expect(client.get("key"), "value")
    expect(0 < client.ttl("key") <= 100, True)
    expect(client.set("key", "next", get=True, keepttl=True), "value")
    expect(client.persist("key"), True)
    expect(client.ttl("key"), -1)
    expect(client.mset({f"k{i}": i for i in range(100)}), True)
    expect(client.mget([f"k{i}" for i in range(100)]), [str(i) for i in range(100)])
    expect(client.incrby("k1", 41), 42)
    expect(client.append("key", "!"), 5)
    expect(client.strlen("key"), 5)
    expect(client.getdel("key"), "next!")
    expect(client.exists("key", "k1", "k1"), 2)
    expect(client.delete("k1", "k2", "none"), 2)
    expect(client.type("k3"), "string")
    expect(sorted(client.scan_iter(match="k*", count=7)), sorted(f"k{i}" for i in range(100) if i not in (1, 2)))
    expect(sorted(client.keys("k9?")), sorted(f"k9{i}" for i in range(10)))
    expect(client.dbsize(), 98)
    expect(client.pexpire("k3", 1), True)
    pipeline = client.pipeline(transaction=False)
    for i in range(1000):
        pipeline.set(f"p{i}", i).get(f"p{i}")
    expect(pipeline.execute(), [answer for i in range(1000) for answer in (True, str(i))])
    expect(client.client_getname(), "library")
    expect(client.client_id() > 0, True)
    expect(client.config_get("maxmemory*")["maxmemory-policy"], "noeviction")
    info = client.info()
    expect(info["redis_version"].startswith("7."), True)
    expect(sum(info[f"shard{s}"]["keys"] for s in range(4)), info["db0"]["keys"])
    expect("used_memory" in client.info("memory"), True)
    expect(client.command()["get"]["arity"], 2)
    expect(client.command_count(), 33)
    try:
        client.execute_command("NOSUCH")
        raise SystemExit("an unknown command was answered")
    except redis.ResponseError as error:
        expect(str(error).startswith("unknown command 'NOSUCH'"), True)
    binary = redis.Redis(port=port)
    value = bytes(range(256)) * 10_000
    expect(binary.set(b"\x00\r\n", value), True)
    expect(binary.get(b"\x00\r\n") == value, True)


def main():
    try:
        import redis  # pylint: disable=import-outside-toplevel
    except ImportError:
        redis = None
    if redis is None or not all(map(shutil.which, ("redis-cli", "redis-benchmark"))):
        print("needs the packages redis-tools and python3-redis (scripts/setup redis)")
        return SKIPPED
    server, port = start(sys.argv[1])
    try:
        check_redis_cli(port)
        check_redis_benchmark(port)
        check_library(redis, port)
        server.terminate()
        expect(server.wait(timeout=30), 0)
    finally:
        if server.poll() is None:
            os.kill(server.pid, 9)
            server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
