# SPDX-License-Identifier: Apache-2.0
"""The admin page in a browser: a loaded kv_server's figures show and change, a recording has arrows, everything can be
reached with the keyboard, nothing goes wrong, and nobody else is asked.

page_test.py KV_SERVER FOLDER; screenshots go to FOLDER. Exit status 77 where there is no chromium."""
import os
import re
import socket
import sys
import threading
import urllib.request

from browser import Browser

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "support"))
from http_program import Program, expect  # noqa: E402

SKIPPED = 77


def load(port, stop):
    """Keys of all shards, so that messages cross, until it is told to stop."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        number = 0
        while not stop.is_set():
            client.sendall(b"".join(b"INCR key:%d\r\n" % (number + i) for i in range(64)))
            number = (number + 64) % 65536
            answered = b""
            while answered.count(b"\n") < 64:
                answered += client.recv(65536)


def figures(page, name):
    return page.evaluate(f"""[...document.querySelectorAll('[data-figure="{name}"]')].map(e => e.textContent)""")


def check_figures(page):
    page.until("/^4 shards, up for \\d/.test(document.querySelector('#state').textContent)")
    expect(page.evaluate("document.querySelectorAll('.island').length") == 4)
    for name in ("busy", "run queue", "loop time", "connections", "steps/s", "turns/s", "sent/s"):
        expect(len(figures(page, name)) == 4, name)
    for name in ("steps/s", "sent/s", "turns/s"):
        seen = figures(page, name)
        expect(any(value != "0" for value in seen), name, seen)
        page.until(f"""[...document.querySelectorAll('[data-figure="{name}"]')].map(e => e.textContent).join()
                       !== {",".join(seen)!r}""")
    cells = page.evaluate("""[...document.querySelectorAll('#hops td')].map(e =>
        [e.dataset.from, e.dataset.to, Number(e.dataset.messages)])""")
    expect(len(cells) == 16 and any(n > 0 for _, _, n in cells), cells)
    expect(all(n == 0 for a, b, n in cells if a == b), cells)
    waits = [cell for cell in page.evaluate("[...document.querySelectorAll('#hops small')].map(e => e.textContent)")]
    expect(any(re.fullmatch(r"[\d.]+ .?s · [\d.]+ .?s", wait) for wait in waits), waits)
    page.until("document.querySelectorAll('#histograms .bin').length > 0")
    tasks = page.evaluate("document.querySelector('#tasks').innerText")
    expect("connection" in tasks and "waiting" in tasks, tasks)
    # By the names of coroutines, from the outermost on, without their arguments.
    expect(re.search(r"\w+ → ", tasks) and "(" not in tasks and "::" not in tasks, tasks)
    # A connection that waits for other shards, which now and then a refresh meets, waits in a coroutine of its own.
    page.until("""[...document.querySelectorAll('#tasks [data-tip]')].some(e => / → kv_server::.*\\(.* → /.test(e.dataset.tip)
                  && /\\w+ → \\w+ → /.test(e.textContent))""")
    groups = page.evaluate("document.querySelector('#groups').innerText")
    expect("main" in groups and "%" in groups, groups)


def check_explanations(page):
    """Whatever heads a column or is a figure explains itself; columns do to the keyboard, too."""
    page.until("document.querySelector('#tasks td') !== null && document.querySelector('#states span') !== null")
    for what in ("th", "td", "dt", "dd", "#states span", ".island b", "#histograms h3"):
        silent = page.evaluate(f"""[...document.querySelectorAll({what!r})].filter(e => e.closest('[hidden]') === null)
            .filter(e => !(e.dataset.tip?.length > 9)).map(e => e.parentElement.innerText)""")
        expect(not silent, what, silent)
        expect(page.evaluate(f"document.querySelectorAll({what!r}).length") > 0, what)
    for what in ("th", "dt", "#states span"):
        expect(page.evaluate(f"[...document.querySelectorAll({what!r})].every(e => e.tabIndex === 0)"), what)
    for table in ("hops", "groups", "waits", "tasks"):
        expect(page.evaluate(f"document.querySelectorAll('#{table} th').length") > 2, table)
    known = page.evaluate("[...document.querySelectorAll('#states span')].every(e => e.dataset.state in task_states)")
    expect(known, page.evaluate("document.querySelector('#states').innerText"))


def check_recorder(page):
    page.click("#record")
    page.until("document.querySelectorAll('#timeline .arrow').length > 0")
    tips = page.evaluate("[...document.querySelectorAll('#timeline .arrow')].map(e => e.dataset.tip)")
    known = re.compile(r"Message from shard \d to shard \d, under way for [\d.]+ .?s$")
    expect(any(map(known.match, tips)), tips[:5])
    expect(page.evaluate("document.querySelectorAll('#timeline .step').length") > 0)
    waits = page.evaluate("document.querySelector('#waits').innerText")
    expect(re.search(r"\d → \d\s+\d+\s+[\d.]+ .?s", waits), waits)
    kinds = page.evaluate("""fetch(document.querySelector('#file').href).then(answer => answer.json())
        .then(events => [...new Set(events.map(e => e.ph))].sort().join(''))""")
    expect({"B", "E", "M", "f", "s"} <= set(kinds), kinds)
    before = page.evaluate("document.querySelector('#timeline svg').getAttribute('aria-label')")
    page.click("[data-zoom='2']")
    page.until(f"document.querySelector('#timeline svg').getAttribute('aria-label') !== {before!r}")
    page.click("[data-zoom='.5']")


def check_keyboard(page):
    page.evaluate("document.activeElement.blur()")
    for _ in range(200):
        page.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "loop time":
            break
    expect(page.evaluate("!tip.hidden && tip.textContent.startsWith('How long one turn of the loop took')"))
    expect(page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "tip")
    uptime = page.evaluate("document.querySelector('#state').textContent")
    page.until(f"document.querySelector('#state').textContent !== {uptime!r}")
    expect(page.evaluate("document.activeElement.textContent") == "loop time", "the focus stays over a refresh")
    page.press("p", "p")
    page.until("document.querySelector('#state').textContent.startsWith('paused')")
    page.press("p", "p")
    page.until("/^4 shards/.test(document.querySelector('#state').textContent)")


def check_without_scripts(admin):
    with urllib.request.urlopen(f"http://{admin}/", timeout=30) as answer:
        text = answer.read().decode()
    shown = " ".join(re.findall("<noscript>(.*?)</noscript>", text, re.DOTALL))
    links = re.findall(r'(?:href="|url=)(/[^"]*)"', shown)
    expect(len(links) >= 6 and "/text" in links, links)
    for link in links:
        with urllib.request.urlopen(f"http://{admin}{link}", timeout=30) as answer:
            expect(answer.status == 200 and answer.read(), link)


def check_page(page, admin, folder):
    page.open(f"http://{admin}/")
    check_figures(page)
    check_recorder(page)
    check_explanations(page)
    page.screenshot(os.path.join(folder, "page.png"))
    page.scheme("dark")
    page.screenshot(os.path.join(folder, "page-dark.png"))
    check_keyboard(page)
    elsewhere = [url for url in page.asked if not re.match(rf"(http://{admin}/|data:|blob:)", url)]
    expect(not elsewhere, elsewhere)
    expect(not page.problems, page.problems)


def main():
    program, folder = sys.argv[1:]
    if not Browser.installed():
        print("needs the package chromium (scripts/setup browser)")
        return SKIPPED
    stop = threading.Event()
    with Program(program, "--shards", "4", "--overprovision") as server:
        loader = threading.Thread(target=load, args=(server.port, stop))
        loader.start()
        try:
            with Browser() as page:
                check_page(page, server.admin, folder)
            check_without_scripts(server.admin)
        finally:
            stop.set()
            loader.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
