// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/admin/page.hpp>

namespace skerry::net::admin {

const std::string_view page_html = R"html(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Skerry: the shards at work</title>
<link rel="icon" href="data:,">
<style>
:root {
  color-scheme: light dark; --ink: #1b2a33; --paper: #f6f8f9; --card: #ffffff; --line: #cfd8dc; --sea: #1f7a8c;
  --hot: 31, 122, 140;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e3ebee; --paper: #11191d; --card: #1a252b; --line: #33434b; --sea: #5cc4d6; --hot: 92, 196, 214;
  }
}
body {
  margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif;
}
h1 { font-size: 1.35rem; margin: 0 0 .2rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .5rem; }
p { margin: .2rem 0 .6rem; max-width: 60rem; } a { color: var(--sea); }
#shards { display: grid; grid-template-columns: repeat(auto-fill, minmax(13.5rem, 1fr)); gap: .7rem; }
.island { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; }
.island h3 { margin: 0 0 .3rem; font-size: 1rem; }
.bar { height: .5rem; border-radius: .25rem; background: var(--line); overflow: hidden; margin-bottom: .4rem; }
.bar i { display: block; height: 100%; background: var(--sea); }
dl { display: grid; grid-template-columns: 1fr auto; margin: 0; gap: .05rem .6rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; text-align: right; }
dt { text-decoration: underline dotted; text-underline-offset: .2em; cursor: help; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; background: var(--card); }
th, td { border: 1px solid var(--line); padding: .25rem .55rem; text-align: right; }
th { font-weight: 600; } td.text, th.text { text-align: left; }
#state { font-size: .9rem; opacity: .8; }
</style>
</head>
<body>
<h1>The shards at work</h1>
<p>Each island is one shard: a thread with its own memory, tasks, timers and ring. Shards share nothing and talk only by
messages. Rest the pointer on a word, or move to it with the Tab key, to learn what it counts.</p>
<p id="state" role="status">Asking the shards…</p>
<noscript><p>Without scripts the same figures are at <a href="/shards">/shards</a>, <a href="/hops">/hops</a>,
<a href="/tasks">/tasks</a> and <a href="/metrics">/metrics</a>.</p></noscript>
<div id="shards"></div>
<h2>Messages between shards, per second</h2>
<p>Row: the sender. Column: the receiver. The darker, the more. In brackets: how long a message waited on average until
its receiver looked. A design that chats between cores shows here.</p>
<div id="hops"></div>
<h2>Tasks and what they wait for</h2>
<div id="tasks"></div>
<p>For programs: <a href="/metrics">/metrics</a> (Prometheus), <a href="/shards">/shards</a>, <a href="/hops">/hops</a>,
<a href="/tasks">/tasks</a>, <a href="/health">/health</a>, <a href="/ready">/ready</a>. For you:
<a href="/trace?ms=100" download>a recording of the next 100 ms</a> of every shard, with an arrow for each message; open
the file in Perfetto.</p>
<script>
"use strict";
const explain = {
  "steps/s": "Steps of tasks, from one wait to the next, in a second.",
  "turns/s": "Turns of the loop in a second. Each runs ready tasks, polls timers and mailboxes, and enters the " +
    "kernel at most once.",
  "tasks": "Tasks that are alive in the root scope. A connection is one.",
  "timers": "Timers that are armed.",
  "entries/s": "System calls of the loop in a second. Under load one entry serves many operations.",
  "completions/s": "Operations that the kernel has finished in a second.",
  "sent/s": "Messages to other shards in a second.",
  "away": "Messages that were sent and are not back yet.",
  "sleeps/s": "Times the shard slept in a second. An idle shard sleeps, and costs nothing.",
  "frames": "Coroutine frames in use.",
  "buffers": "Receive buffers that readers hold, of those made.",
};
let before = null;
const element = (tag, text, attributes = {}) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};
const number = n =>
  n >= 1e6 ? (n / 1e6).toFixed(1) + " M" : n >= 1e4 ? (n / 1e3).toFixed(1) + " k" : String(Math.round(n));
function show_shards(now, seconds) {
  document.getElementById("shards").replaceChildren(...now.shards.map((s, i) => {
    const was = before.shards[i] ?? s;
    const rate = name => (s[name] - was[name]) / seconds;
    const up = s.uptime_us - was.uptime_us;
    const load = up > 0 ? Math.max(0, Math.min(1, 1 - (s.idle_us - was.idle_us) / up)) : 0;
    const island = element("section", undefined, { class: "island", "aria-label": "shard " + s.shard });
    island.append(element("h3", `Shard ${s.shard}: ${Math.round(load * 100)} % busy`));
    const bar = element("div", undefined, { class: "bar" });
    bar.append(element("i", undefined, { style: `width:${load * 100}%` }));
    const list = element("dl");
    const rows = {
      "steps/s": number(rate("tasks_run")), "turns/s": number(rate("turns")), "tasks": number(s.tasks),
      "timers": number(s.timers), "entries/s": number(rate("kernel_entries")),
      "completions/s": number(rate("completions")), "sent/s": number(rate("messages_sent")),
      "away": number(s.messages_outstanding), "sleeps/s": number(rate("sleeps")), "frames": number(s.frames),
      "buffers": `${s.buffers_taken} of ${s.buffers}`,
    };
    for (const [name, value] of Object.entries(rows)) {
      list.append(element("dt", name, { title: explain[name], tabindex: "0" }));
      list.append(element("dd", value, { "data-figure": name }));
    }
    island.append(bar, list);
    return island;
  }));
}
function show_hops(now, seconds) {
  const count = now.shards.length, table = element("table"), head = element("tr");
  head.append(element("th", "from \\ to"));
  for (let to = 0; to < count; ++to) head.append(element("th", to));
  table.append(head);
  const cells = new Map(now.hops.map(h => [h.from + "/" + h.to, h]));
  const old = new Map(before.hops.map(h => [h.from + "/" + h.to, h]));
  const change = (key, what) => (cells.get(key)?.[what] ?? 0) - (old.get(key)?.[what] ?? 0);
  let most = 1;
  for (const key of cells.keys()) most = Math.max(most, change(key, "messages"));
  for (let from = 0; from < count; ++from) {
    const row = element("tr");
    row.append(element("th", from));
    for (let to = 0; to < count; ++to) {
      const key = from + "/" + to, messages = change(key, "messages");
      const wait = messages > 0 ? ` (${(change(key, "wait_us") / messages).toFixed(1)} µs)` : "";
      row.append(element("td", from === to ? "" : number(messages / seconds) + wait, {
        style: `background:rgba(var(--hot),${(0.6 * messages / most).toFixed(2)})`,
        title: `${cells.get(key)?.messages ?? 0} messages from shard ${from} to shard ${to} since the start`,
      }));
    }
    table.append(row);
  }
  document.getElementById("hops").replaceChildren(table);
}
function show_tasks(now) {
  const groups = new Map();
  for (const t of now.tasks) {
    const key = JSON.stringify([t.name, t.waits_for ?? "the CPU"]);
    const group = groups.get(key) ?? { total: 0, shards: new Set() };
    group.total++;
    group.shards.add(t.shard);
    groups.set(key, group);
  }
  const table = element("table"), head = element("tr");
  for (const title of ["task", "waits for"]) head.append(element("th", title, { class: "text" }));
  for (const title of ["how many", "on shards"]) head.append(element("th", title));
  table.append(head);
  for (const [key, group] of [...groups].sort((a, b) => b[1].total - a[1].total)) {
    const [name, wait] = JSON.parse(key), row = element("tr");
    for (const text of [name, wait]) row.append(element("td", text, { class: "text" }));
    for (const count of [group.total, group.shards.size]) row.append(element("td", count));
    table.append(row);
  }
  document.getElementById("tasks").replaceChildren(table);
}
async function refresh() {
  const state = document.getElementById("state");
  try {
    const ask = async path => (await fetch(path, { cache: "no-store" })).json();
    const [shards, hops, tasks] = await Promise.all(["/shards", "/hops", "/tasks"].map(ask));
    const now = { shards, hops, tasks };
    if (before !== null) {
      const seconds = (shards[0].uptime_us - before.shards[0].uptime_us) / 1e6;  // the program's time, not ours
      show_shards(now, seconds);
      show_hops(now, seconds);
      show_tasks(now);
      state.textContent = `${shards.length} shards, up for ${number(shards[0].uptime_us / 1e6)} s`;
    }
    before = now;
  } catch (problem) {
    state.textContent = "The program does not answer: " + problem.message;
  }
  setTimeout(refresh, before === null ? 250 : 1000);
}
refresh();
</script>
</body>
</html>
)html";

}  // namespace skerry::net::admin
