# SPDX-License-Identifier: Apache-2.0
"""http_server and the HTTP example with other people's clients, unchanged: curl, wrk, h2load, ab, and Node's fetch, which
is undici.

http_clients_test.py HTTP_SERVER HTTP_ECHO. Those that are not installed are named, and then the exit status is 77
(curl, wrk, nghttp2-client, apache2-utils, nodejs)."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from http_program import Program, expect  # noqa: E402

SKIPPED = 77
SHARDS = ("--shards", "4", "--overprovision")


def run(*command, text=None):
    done = subprocess.run([str(word) for word in command], input=text, capture_output=True, text=True, timeout=100,
                          check=False)
    expect(done.returncode == 0, command, done.returncode, done.stdout, done.stderr)
    return done.stdout


def check_curl(server, echo):
    url = f"http://127.0.0.1:{server.port}"
    expect(run("curl", "-sS", url) == "Hello, World!")
    expect(run("curl", "-sS0", url) == "Hello, World!", "HTTP/1.0")
    head = run("curl", "-sSI", url)
    expect(head.startswith("HTTP/1.1 200 OK\n") and "\nContent-Length: 13\n" in head, head)
    expect(json.loads(run("curl", "-sS", url + "/items/1")) == {"id": 1, "name": "example on shard 0", "price": 100})
    made = json.loads(run("curl", "-sS", url + "/items", "--json", '{"name": "buoy", "price": 12}'))
    expect(made["name"] == "buoy" and made["price"] == 12, made)
    place = f"{url}/items/{made['id']}"
    expect(json.loads(run("curl", "-sS", place)) == made)
    expect(json.loads(run("curl", "-sS", "-X", "PUT", place, "--json", '{"name": "mole", "price": -1}'))["price"] == -1)
    examples = [f"example on shard {n}" for n in range(4)]
    expect([each["name"] for each in json.loads(run("curl", "-sS", url + "/items"))] == examples + ["mole"])
    show = ["-o", "/dev/null", "-w", "%{http_code}"]
    expect(run("curl", "-sS", *show, "-X", "DELETE", place) == "204")
    expect(run("curl", "-sS", *show, place) == "404")
    expect(run("curl", "-sS", *show, url + "/items/anchor") == "400")
    # Two requests on one connection, and three that were sent at once.
    expect(run("curl", "-sS", url, url, "-w", "%{num_connects}") == "Hello, World!1Hello, World!0")
    expect(run("curl", "-sSZ", url, url, url) == 3 * "Hello, World!")
    with tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(900_000))
        file.flush()
        for how in ([], ["-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"]):
            with tempfile.NamedTemporaryFile() as back:
                run("curl", "-sS", f"http://127.0.0.1:{echo.port}", "--data-binary", f"@{file.name}", "-o", back.name, *how)
                expect(open(back.name, "rb").read() == open(file.name, "rb").read(), how)
    large = run("curl", "-sS", *show, f"http://127.0.0.1:{echo.port}", "-X", "POST", "-H", "Expect: 100-continue",
                "-d", "x" * 100, "-H", "Content-Length: 20000000")
    expect(large == "413", large)


def check_wrk(server, _):
    output = run("wrk", "-t1", "-c64", "-d1s", f"http://127.0.0.1:{server.port}/")
    expect(float(re.search(r"Requests/sec:\s*([\d.]+)", output).group(1)) > 0, output)
    expect("Socket errors" not in output and "Non-2xx" not in output, output)


def check_h2load(server, _):
    output = run("h2load", "--h1", "-n", 5000, "-c", 20, "-m", 1, f"http://127.0.0.1:{server.port}/")
    expect(re.search(r"requests: 5000 total, 5000 started, 5000 done, 5000 succeeded, 0 failed, 0 errored", output), output)
    expect(re.search(r"status codes: 5000 2xx", output), output)


def check_ab(server, _):
    for how in (["-k"], []):  # HTTP/1.0, with and without keep-alive
        output = run("ab", "-q", *how, "-n", 2000, "-c", 20, f"http://127.0.0.1:{server.port}/")
        expect(re.search(r"Complete requests:\s+2000\n", output), output)
        expect(re.search(r"Failed requests:\s+0\n", output), output)
        expect("Non-2xx" not in output, output)
        expect(bool(re.search(r"Keep-Alive requests:\s+2000\n", output)) == bool(how), output)


NODE = """
const assert = require("node:assert");
(async () => {
  const [url, echo] = process.argv.slice(2);
  assert.strictEqual(await (await fetch(url)).text(), "Hello, World!");
  assert.deepStrictEqual(await (await fetch(url + "/json")).json(), { message: "Hello, World!" });
  // More than undici has connections for, so they are used again.
  const all = await Promise.all([...Array(200).keys()].map(async n => {
    const answer = await fetch(url + "/items", { method: "POST", headers: { "Content-Type": "application/json" },
                                                 body: JSON.stringify({ name: "item", price: n }) });
    assert.strictEqual(answer.status, 201);
    return answer.json();
  }));
  for (const item of all) assert.deepStrictEqual(await (await fetch(`${url}/items/${item.id}`)).json(), item);
  const problem = await fetch(url + "/items/anchor");
  assert.strictEqual(problem.status, 400);
  assert.strictEqual(problem.headers.get("content-type"), "application/problem+json");
  // A body whose length nobody knows goes out in chunks.
  const pieces = new ReadableStream({
    start(out) {
      for (let i = 0; i < 50; ++i) out.enqueue(new Uint8Array(7919).fill(i));
      out.close();
    } });
  const back = new Uint8Array(await (await fetch(echo, { method: "POST", body: pieces, duplex: "half" })).arrayBuffer());
  assert.strictEqual(back.length, 50 * 7919);
  assert(back.every((byte, at) => byte === Math.floor(at / 7919)));
  const given_up = new AbortController();
  const asked = fetch(url, { signal: given_up.signal });
  given_up.abort();
  await assert.rejects(asked, { name: "AbortError" });
  assert.strictEqual(await (await fetch(url)).text(), "Hello, World!");
  console.log("done with undici", process.versions.undici);
})().catch(error => { console.error(error); process.exit(1); });
"""


def check_node(server, echo):
    urls = [f"http://127.0.0.1:{each.port}" for each in (server, echo)]
    output = run("node", "-", *urls, text=NODE)
    expect("done with undici" in output, output)


def main():
    clients = {"curl": check_curl, "wrk": check_wrk, "h2load": check_h2load, "ab": check_ab, "node": check_node}
    missing = [name for name in clients if shutil.which(name) is None]
    with Program(sys.argv[1], *SHARDS) as server, Program(sys.argv[2], *SHARDS) as echo:
        for name, check in clients.items():
            if name not in missing:
                check(server, echo)
                print(f"{name}: works unchanged", flush=True)
    if missing:
        print(f"not installed: {', '.join(missing)} (scripts/setup clients)")
        return SKIPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
