// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/admin/page.hpp>

namespace skerry::net::admin {

// An element is made once and then only told what to show: what has the keyboard's focus keeps it.
const std::string_view page_script = R"html("use strict";
const explain = {
  "busy": "The share of the last second in which the loop did not sleep.",
  "run queue": "Tasks that were ready when the shard was asked. More than a few for long: the shard is saturated.",
  "loop time": "How long one turn of the loop took on average, sleep not counted. What has just arrived waits " +
    "this long.",
  "connections": "Open connections, closing ones included.",
  "longest turn": "The longest turn since the start. A task that does not yield keeps all others waiting.",
  "turn p99": "Of a hundred turns since the start one took longer.",
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
const first_figures = ["run queue", "loop time", "connections"];
const rest_figures = Object.keys(explain).filter(name => name !== "busy" && !first_figures.includes(name));
const $ = id => document.getElementById(id);
const drawing = document.querySelector("#timeline svg");
const make = (tag, attributes = {}, text) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
};
const draw = (tag, attributes = {}, text) => {
  const made = document.createElementNS(drawing.namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
};
const number = n => n >= 1e6 ? (n / 1e6).toFixed(1) + " M" : n >= 1e4 ? (n / 1e3).toFixed(1) + " k" :
  n > 0 && n < 10 && n % 1 ? n.toFixed(1) : String(Math.round(n));
const span = us => us >= 1e6 ? (us / 1e6).toFixed(2) + " s" : us >= 1e3 ? (us / 1e3).toFixed(us < 1e4 ? 2 : 1) + " ms" :
  us >= 100 ? us.toFixed(0) + " µs" : us >= .1 || us === 0 ? us.toFixed(1) + " µs" : (us * 1e3).toFixed(0) + " ns";

// ---- islands ----
const islands = [];
function island_of(shard) {
  if (islands[shard]) return islands[shard];
  const box = make("section", { class: "island", "aria-label": "shard " + shard });
  const made = { loads: [], figures: {} };
  const head = make("h3", {}, "Shard " + shard);
  made.busy = make("b", { "data-tip": explain.busy, tabindex: "0", "data-figure": "busy" });
  head.append(made.busy);
  made.picture = draw("svg", { viewBox: "0 0 60 20", preserveAspectRatio: "none", "aria-hidden": "true" });
  made.area = draw("path", { class: "area" });
  made.edge = draw("path", { class: "edge", "vector-effect": "non-scaling-stroke" });
  made.picture.append(draw("rect", { class: "row", width: 60, height: 20 }), made.area, made.edge);
  const lists = [make("dl", { class: "first" }), make("dl", { class: "rest" })];
  [first_figures, rest_figures].forEach((names, i) => names.forEach(name => {
    const into = i === 0 ? lists[0].appendChild(make("div")) : lists[1];
    into.append(make("dt", { "data-tip": explain[name], tabindex: "0" }, name));
    made.figures[name] = into.appendChild(make("dd", { "data-figure": name, "data-tip": explain[name] }));
  }));
  const meter = make("div", { class: "meter", "aria-hidden": "true" });
  made.level = meter.appendChild(make("i"));
  box.append(head, made.picture, meter, ...lists);
  $("shards").append(box);
  return islands[shard] = made;
}
function show_shards(now, before, seconds) {
  now.shards.forEach((s, i) => {
    const was = before.shards[i] ?? s, island = island_of(s.shard);
    const change = name => s[name] - was[name], rate = name => number(change(name) / seconds);
    const up = change("uptime_us"), active = Math.max(0, up - change("idle_us"));
    const load = up > 0 ? Math.min(1, active / up) : 0;
    island.loads = [...island.loads.slice(-60), load];
    const shown = Math.max(15, island.loads.length - 1), begin = 60 - 60 * (island.loads.length - 1) / shown;
    const points = island.loads.map((l, i) => `${(begin + 60 * i / shown).toFixed(2)},${(20 - 19 * l).toFixed(2)}`);
    island.edge.setAttribute("d", "M" + points.join("L"));
    island.area.setAttribute("d", `M${begin.toFixed(2)},20L` + points.join("L") + "L60,20Z");
    island.busy.textContent = Math.round(load * 100) + " %";
    island.level.style.width = load * 100 + "%";
    const values = {
      "run queue": number(s.ready), "loop time": span(active / Math.max(1, change("turns"))),
      "connections": number(s.connections), "longest turn": span((s.turn_ns_max ?? 0) / 1e3),
      "turn p99": span((s.turn_ns_p99 ?? 0) / 1e3), "steps/s": rate("tasks_run"), "turns/s": rate("turns"),
      "tasks": number(s.tasks), "timers": number(s.timers), "entries/s": rate("kernel_entries"),
      "completions/s": rate("completions"), "sent/s": rate("messages_sent"), "away": number(s.messages_outstanding),
      "sleeps/s": rate("sleeps"), "frames": number(s.frames), "buffers": `${s.buffers_taken} of ${s.buffers}`,
    };
    for (const [name, value] of Object.entries(values)) island.figures[name].textContent = value;
  });
}

// ---- tables ----
/// The head of a column, and what its figures are.
const column = (title, tip, attributes) => [title, { "data-tip": tip, tabindex: "0", ...attributes }];
/// A table whose cells stay: rows of [{text, …attributes}]; made anew only when its shape changes. A cell that explains
/// nothing of its own explains its column.
function show_table(where, head, rows) {
  const shape = JSON.stringify([head, rows.length]);
  if (where.shape !== shape) {
    where.shape = shape;
    const table = make("table"), titles = table.appendChild(make("tr"));
    for (const [title, attributes] of head) titles.append(make("th", attributes, title));
    where.cells = rows.map(row => {
      const line = table.appendChild(make("tr"));
      const tip = x => ({ "data-tip": head[x][1]["data-tip"] });
      return row.map((cell, x) => line.appendChild(make(cell.tag ?? "td", tip(x))));
    });
    where.replaceChildren(table);
  }
  rows.forEach((row, y) => row.forEach(({ tag, text, small, ...attributes }, x) => {
    const cell = where.cells[y][x];
    if (cell.firstChild?.nodeValue !== String(text)) cell.textContent = text;
    if (small !== undefined) {
      if (cell.children.length === 0) cell.append(make("small"));
      cell.lastChild.textContent = small;
    } else if (cell.children.length !== 0) cell.lastChild.remove();
    for (const [name, value] of Object.entries(attributes)) cell.setAttribute(name, value);
  }));
}
function show_hops(now, before, seconds) {
  const count = now.shards.length, old = new Map(before.hops.map(h => [h.from + "/" + h.to, h]));
  const cells = new Map(now.hops.map(h => {
    const was = old.get(h.from + "/" + h.to) ?? h;
    return [h.from + "/" + h.to, { all: h.messages, messages: h.messages - was.messages, wait: h.wait_us - was.wait_us,
                                   service: h.service_us - was.service_us,
                                   batches: h.batches - was.batches,
                                   waits: h.waits.map((n, i) => n - (was.waits[i] ?? 0)) }];
  }));
  // Below which power of two this part of them was.
  const wait_below = (waits, part) => {
    let left = part * waits.reduce((sum, n) => sum + n, 0);
    return span(2 ** waits.findIndex(n => (left -= n) <= 0) / 1e3);
  };
  const most = Math.max(1, ...[...cells.values()].map(c => c.messages));
  const numbers = [...Array(count).keys()];
  show_table($("hops"), [column("from \\ to", "Senders in rows, receivers in columns; both are shards."),
    ...numbers.map(to => column(String(to), `What shard ${to} receives, by sender.`))], numbers.map(from => [
    { tag: "th", text: from, tabindex: "0", "data-tip": `What shard ${from} sends, by receiver.` },
    ...numbers.map(to => {
      const c = cells.get(from + "/" + to) ?? { all: 0, messages: 0, wait: 0, service: 0, batches: 0, waits: [] };
      const wait = c.messages > 0 ? span(c.wait / c.messages) : "–";
      const [half, most_of_them] = [.5, .99].map(part => c.messages > 0 ? wait_below(c.waits, part) : "–");
      return {
        text: from === to ? "·" : number(c.messages / seconds),
        small: from === to ? "" : c.messages > 0 ? `${half} · ${most_of_them}` : "–",
        style: `background:rgba(var(--hot),${(0.65 * c.messages / most).toFixed(2)})`, tabindex: "0",
        "data-from": from, "data-to": to, "data-messages": c.all,
        "data-tip": from === to ? "A shard that calls itself sends no message." :
          `Shard ${from} sent ${c.all} messages to shard ${to} since the start. In the last second they came in ` +
          `batches of ${(c.messages / Math.max(1, c.batches)).toFixed(1)} and waited ${wait} on average, half of ` +
          `them below ${half} and 99 of 100 below ${most_of_them}; ` +
          `from there to the answer it took ${c.messages > 0 ? span(c.service / c.messages) : "–"}.`,
      };
    }),
  ]));
}
function show_servers(now, before, seconds) {
  const sums = shards => {
    const all = new Map();
    for (const s of shards) for (const h of s.http) {
      const sum = all.get(h.server) ??
        { connections: 0, handling: 0, timeouts: 0, refused: 0, responses: [0, 0, 0, 0, 0] };
      for (const name of ["connections", "handling", "timeouts", "refused"]) sum[name] += h[name];
      h.responses.forEach((n, i) => sum.responses[i] += n);
      all.set(h.server, sum);
    }
    return all;
  };
  const all = sums(now.shards), old = sums(before.shards);
  $("web").hidden = all.size === 0;
  const tips = { "server": "The name that the program gave it.", "connections": "Open connections.",
    "in handlers": "Requests that a handler works on.", "2xx/s": "Successes in a second.", "3xx/s": "Redirections.",
    "4xx/s": "The client's mistakes.", "5xx/s": "The server's.", "timeouts": "Waits that a time limit ended, in all.",
    "refused": "Requests that broke the protocol or a limit, in all." };
  show_table($("servers"), Object.entries(tips).map(([name, tip]) => column(name, tip)),
    [...all].map(([name, s]) => [{ text: name, class: "text" }, { text: s.connections }, { text: s.handling },
      ...[1, 2, 3, 4].map(i => ({ text: number((s.responses[i] - (old.get(name)?.responses[i] ?? 0)) / seconds) })),
      { text: s.timeouts }, { text: s.refused }]));
}
function show_groups(now, before) {
  const names = [...new Set(now.shards.flatMap(s => s.groups.map(g => g.name)))];
  show_table($("groups"), [
    column("group", "Tasks are in the group of whoever spawned them unless told otherwise; main is the program's own.",
           { class: "text" }),
    ...now.shards.map(s => column("shard " + s.shard, `The share of shard ${s.shard}'s last second that the tasks of ` +
      "the group were charged. It may be more than its part of the shares while others have nothing to do."))],
    names.map(name => [{ text: name, class: "text" }, ...now.shards.map((s, i) => {
      const used = from => from?.groups.find(g => g.name === name)?.cpu_us ?? 0, was = before.shards[i] ?? s;
      const up = s.uptime_us - was.uptime_us;
      return { text: up > 0 ? (100 * (used(s) - used(was)) / up).toFixed(1) + " %" : "–" };
    })]));
}
// A coroutine's name without scopes, arguments and those of templates: "serve" for "net::server<int>::serve(long)".
const brief_names = new Map();
function brief(name) {
  if (brief_names.has(name)) return brief_names.get(name);
  let depth = 0, plain = "";
  for (const c of name.replaceAll("operator()", "")) {
    if ("(<[{".includes(c)) depth++;
    if (depth === 0) plain += c;
    if (")>]}".includes(c)) depth--;
  }
  const parts = plain.replace(/ const$/, "").split("::"), last = parts.findLast(part => part !== "");
  const short = name[0] === "/" || last === undefined ? name : last + (parts.at(-1) === "" ? " λ" : "");
  brief_names.set(name, short);
  return short;
}
const outermost_first = t => (t.coroutines ?? []).toReversed();
// Who awaits whom in a task and what the last waits for, down to the last of its branches; those that say the same are
// counted.
function await_chain(t) {
  return [...outermost_first(t).map(brief), what_for(t)].join(" → ");
}
function what_for(t) {
  if (!t.branches) return t.waits_for ?? "–";
  const same = new Map();
  for (const b of t.branches) {
    const text = (b.name === t.name ? "" : b.name + ": ") + (b.state === "waiting" ? await_chain(b) : b.state);
    same.set(text, (same.get(text) ?? 0) + 1);
  }
  return t.waits_for + " → " + [...same].map(([text, n]) => n > 1 ? `${n} × ${text}` : text).join(" | ");
}
const task_states = {
  ready: "Ready tasks have what they waited for, or have just been spawned, and wait for their turn.",
  running: "Running tasks have the CPU of their shard at this moment: one of each shard at most.",
  waiting: "Waiting tasks hold no CPU; the column behind says what will wake them.",
  ending: "Ending tasks were cancelled or are through, and their frames are being taken down.",
  done: "Done tasks have a result that nobody has fetched yet.",
};
function show_states(counts) {
  const where = $("states"), shown = where.shown ??= new Map();
  if (shown.size === 0) where.append("The newest tasks beyond a thousand of a shard are left out.");
  for (const state of Object.keys(counts)) {
    if (shown.has(state)) continue;
    const tip = { "data-tip": task_states[state] ?? "A state of tasks.", tabindex: "0", "data-state": state };
    shown.set(state, make("span", tip));
    where.insertBefore(shown.get(state), where.lastChild).after(". ");
  }
  for (const [state, box] of shown) box.textContent = `${counts[state] ?? 0} ${state}`;
}
function show_tasks(now) {
  const groups = new Map(), states = {};
  for (const t of now.tasks) {
    states[t.state] = (states[t.state] ?? 0) + 1;
    const key = JSON.stringify([t.name, t.state, await_chain(t)]);
    const group = groups.get(key) ?? { total: 0, shards: new Set(), whole: outermost_first(t).join(" → ") };
    group.total++;
    group.shards.add(t.shard);
    groups.set(key, group);
  }
  show_states(states);
  const text = { class: "text" };
  show_table($("tasks"), [column("task", "The name that it was spawned with.", text),
    column("state", "What all tasks of this line are doing: " + Object.values(task_states).join(" "), text),
    column("who awaits whom, and what", "Its coroutines, each awaiting the next, and what the innermost waits for; " +
           "behind an arrow what its branches do, each for itself.", text),
    column("how many", "Tasks that have this name and this state, and wait for the same."),
    column("on shards", "How many shards have one of these."),
  ], [...groups].sort((a, b) => b[1].total - a[1].total).map(([key, group]) => [
      ...JSON.parse(key).map((text, i) => i < 2 ? { text, class: "text" } :
        { text, class: "text", tabindex: "0", "data-tip": group.whole || "None of its coroutines waits." }),
      { text: group.total }, { text: group.shards.size }]));
}

// ---- histograms: the difference to what they were some seconds ago ----
const window_length = 5, earlier = [];
function show_histograms(now) {
  const then = earlier[0] ?? [], key = h => h.name + JSON.stringify(h.labels);
  earlier.push(now.histograms);
  if (earlier.length > window_length) earlier.shift();
  const cards = $("histograms").cards ??= new Map();
  for (const h of now.histograms) {
    const old = new Map(then.find(o => key(o) === key(h))?.buckets ?? []);
    const bins = h.buckets.map(([least, n]) => [least, n - (old.get(least) ?? 0)]).filter(([, n]) => n > 0);
    let card = cards.get(key(h));
    if (bins.length === 0 && card === undefined) continue;
    if (card === undefined) {
      card = { box: make("div", { class: "card" }), text: make("small"),
               picture: draw("svg", { viewBox: "0 0 400 110", preserveAspectRatio: "none", role: "img" }) };
      const labels = Object.values(h.labels).join(", ");
      card.box.append(make("h3", { "data-tip": h.help, tabindex: "0" }, h.help.replace(/\.$/, "") +
                           (labels ? ` (${labels})` : "")), card.text, card.picture);
      card.axis = card.box.appendChild(make("div", { class: "axis", "aria-hidden": "true" }));
      card.axis.append(make("span"), make("span"));
      $("histograms").append(card.box);
      cards.set(key(h), card);
    }
    const total = bins.reduce((sum, [, n]) => sum + n, 0);
    const unit = h.unit === "nanoseconds" ? v => span(v / 1e3) : number;
    const quantile = q => {
      let left = q * total;
      for (const [least, n] of bins) if ((left -= n) <= 0) return least;
      return 0;
    };
    card.text.textContent = total === 0 ? "nothing in the last seconds" : `${number(total)} values; half below ` +
      `${unit(quantile(.5))}, 99 % below ${unit(quantile(.99))}, 99.9 % below ${unit(quantile(.999))}`;
    if (total === 0) {
      card.picture.replaceChildren();
      continue;
    }
    const powers = new Map();
    for (const [least, n] of bins) {
      const power = least < 16 ? least && Math.floor(Math.log2(least)) + 1 : Math.floor(Math.log2(least) * 2) / 2 + 1;
      powers.set(power, (powers.get(power) ?? 0) + n);
    }
    const low = Math.min(...powers.keys()), high = Math.max(...powers.keys(), low + 6);
    const most = Math.max(...powers.values());
    const value = power => power > 0 ? 2 ** (power - 1) : 0;
    card.axis.firstChild.textContent = unit(value(low));
    card.axis.lastChild.textContent = unit(value(high + .5));
    const x = power => 390 * (power - low) / (high - low + .5) + 5, parts = [];
    for (const [power, n] of powers) {
      const tall = Math.max(1.5, 84 * n / most);
      parts.push(draw("rect", { class: "bin", x: x(power), width: Math.max(2, x(.5) - x(0) - 1), y: 90 - tall,
                                height: tall, "data-tip": `${n} from ${unit(value(power))} on` }));
    }
    card.picture.replaceChildren(draw("rect", { class: "row", x: 0, y: 90, width: 400, height: 1 }), ...parts);
    card.picture.setAttribute("aria-label", card.text.textContent);
  }
}

// ---- recorder ----
let recording = null, view = null;
/// What Perfetto reads, as rows of steps and a list of arrows.
function read_recording(events) {
  const rows = new Map(), begun = new Map(), ends = [], open = new Map();
  let first = Infinity, last = 0;
  for (const e of events) {
    if (e.ts === undefined) {
      if (e.name === "thread_name") rows.set(e.tid, []);
      continue;
    }
    first = Math.min(first, e.ts);
    last = Math.max(last, e.ts);
    if (e.ph === "B") open.set(e.tid, e);
    if (e.ph === "E" && open.has(e.tid)) {
      rows.get(e.tid)?.push([open.get(e.tid).ts, e.ts, e.name]);
      open.delete(e.tid);
    }
    if (e.ph === "s") begun.set(e.id, e);
    if (e.ph === "f") ends.push(e);
  }
  const arrows = [];
  for (const e of ends) {
    const begin = begun.get(e.id);
    if (begin === undefined) continue;
    arrows.push({ from: begin.tid, to: e.tid, begin: begin.ts, end: e.ts, id: e.id, back: e.name === "reply" });
  }
  arrows.sort((a, b) => a.begin - b.begin);
  return { rows: [...rows].sort((a, b) => a[0] - b[0]), arrows, first, last: Math.max(last, first + 1) };
}
async function record() {
  const button = $("record"), said = $("recorded");
  if (button.disabled) return;
  button.disabled = true;
  said.textContent = "Recording…";
  try {
    const answer = await fetch("/trace?ms=" + $("length").value, { cache: "no-store" });
    const text = await answer.text();
    if (!answer.ok) throw new Error(JSON.parse(text).detail);
    recording = read_recording(JSON.parse(text));
    if ($("file").href) URL.revokeObjectURL($("file").href);
    $("file").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    for (const id of ["file", "timeline", "zoom"]) $(id).hidden = false;
    // So far in that a few dozen messages can be told apart.
    const middle = recording.arrows.length >> 1, near = recording.arrows.slice(Math.max(0, middle - 10), middle + 10);
    view = near.length === 0 ? [recording.first, recording.last] :
      [near[0].begin - 5, Math.max(near.at(-1).end, near[0].begin + 40) + 5];
    show_view();
    show_waits();
    said.textContent = `${span(recording.last - recording.first)}, ` +
      `${number(recording.rows.reduce((sum, [, steps]) => sum + steps.length, 0))} steps, ` +
      `${number(recording.arrows.filter(a => !a.back).length)} messages. The file opens in Perfetto (ui.perfetto.dev).`;
  } catch (problem) {
    said.textContent = "No recording: " + problem.message;
  }
  button.disabled = false;
}
/// Steps of one row as rectangles; what is too close to be told apart is one.
function boxes(steps, [begin, end], x, y, height) {
  const parts = [];
  let open = null;
  const close = () => {
    if (open === null) return;
    const tip = open.count === 1 ? `${open.name}, ${span(open.to - open.from)}` : `${open.count} steps of tasks`;
    parts.push(draw("rect", { class: open.count === 1 ? "step" : "step several", x: x(open.from), y, height, rx: 2,
                              width: Math.max(1, x(open.to) - x(open.from)), "data-tip": tip }));
  };
  for (const [from, to, name] of steps) {
    if (to < begin || from > end) continue;
    if (open !== null && x(from) - x(open.to) < .7) {
      open.to = to;
      open.count++;
    } else {
      close();
      open = { from, to, name, count: 1 };
    }
  }
  close();
  return parts;
}
function show_view() {
  const { rows, arrows, first, last } = recording, left = 62, width = 1100, step = 64, top = 34 + 8 * rows.length;
  view = [Math.max(first, view[0]), Math.min(last, view[1])];
  if (view[1] - view[0] < 1) view[1] = view[0] + 1;
  const [begin, end] = view, room = width - left;
  const x = t => left + room * (Math.min(end, Math.max(begin, t)) - begin) / (end - begin);
  const whole = t => left + (width - left) * (t - first) / (last - first), parts = [];
  const place = new Map(rows.map(([shard], i) => [shard, top + i * step]));
  rows.forEach(([shard, steps], i) => {
    const y = place.get(shard);
    parts.push(draw("rect", { class: "row", x: left, y: 4 + 8 * i, width: width - left, height: 6 }));
    parts.push(...boxes(steps, [first, last], whole, 4 + 8 * i, 6));
    parts.push(draw("text", { x: 0, y: y + 15 }, "shard " + shard));
    parts.push(draw("rect", { class: "row", x: left, y, width: width - left, height: 22, rx: 3 }));
    parts.push(...boxes(steps, view, x, y, 22));
  });
  parts.push(draw("rect", { class: "window", x: whole(begin), y: 1, width: Math.max(2, whole(end) - whole(begin)),
                            height: 8 * rows.length + 4 }));
  const seen = arrows.filter(a => a.end >= begin && a.begin <= end), every = Math.ceil(seen.length / 400);
  seen.forEach((a, n) => {
    if (n % every !== 0) return;
    const down = place.get(a.to) > place.get(a.from), from = place.get(a.from) + (down ? 22 : 0);
    const to = place.get(a.to) + (down ? 0 : 22), bend = (to - from) * .4, x1 = x(a.begin), x2 = x(a.end);
    const back = a.back ? " back" : "", point = down ? -6 : 6;
    const tip = `${a.back ? "Reply" : "Message"} from shard ${a.from} to shard ${a.to}, under way for ` +
      span(Math.max(0, a.end - a.begin));
    parts.push(draw("path", { class: "arrow" + back, "data-tip": tip,
                              d: `M${x1},${from}C${x1},${from + bend} ${x2},${to - bend} ${x2},${to + point}` }));
    parts.push(draw("path", { class: "head" + back, d: `M${x2},${to}l-3.5,${point}h7z` }));
  });
  const bottom = top + rows.length * step - 28;
  for (let i = 0; i <= 5; ++i) {
    const t = begin + (end - begin) * i / 5;
    parts.push(draw("text", { x: x(t), y: bottom, "text-anchor": i === 5 ? "end" : i ? "middle" : "start" },
                    ((t - first) / 1e3).toFixed(end - begin < 1e4 ? 3 : 1) + " ms"));
  }
  drawing.setAttribute("viewBox", `0 0 ${width} ${bottom + 8}`);
  drawing.setAttribute("aria-label", `${rows.length} shards from ${span(begin - first)} to ${span(end - first)}: ` +
    `${seen.length} arrows` + (every > 1 ? `, of which one in ${every} is drawn` : ""));
  drawing.replaceChildren(...parts);
}
function show_waits() {
  const pairs = new Map();
  for (const a of recording.arrows) {
    if (a.back) continue;
    const key = a.from + " → " + a.to;
    pairs.set(key, [...(pairs.get(key) ?? []), Math.max(0, a.end - a.begin)]);
  }
  const at = (sorted, q) => span(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]);
  const tip = "From the moment the task sent it until the receiver took it out of its mailbox. Events of one slice " +
    "share a stamp, so times below 10 µs are not exact.";
  const quantile = part => `${part} waited less than this. ${tip}`;
  show_table($("waits"), [
    column("messages", "From which shard to which; replies are not counted.", { class: "text" }),
    column("recorded", "Messages of this pair that are whole in the recording, sent and received."),
    column("half waited less than", tip), column("90 %", quantile("Nine of ten messages")),
    column("99 %", quantile("Of a hundred messages all but one")), column("longest", "The longest wait of all. " + tip),
  ], [...pairs].sort().map(([key, waits]) => {
      waits.sort((a, b) => a - b);
      return [{ text: key, class: "text" }, { text: waits.length },
              ...[.5, .9, .99, 1].map(q => ({ text: at(waits, q) }))];
    }));
}
function zoom(factor, around = (view[0] + view[1]) / 2) {
  view = view.map(t => around + (t - around) * factor);
  show_view();
}
function pan(part) {
  const length = view[1] - view[0], { first, last } = recording;
  const begin = Math.max(first, Math.min(last - length, view[0] + part * length));
  view = [begin, begin + length];
  show_view();
}
$("record").addEventListener("click", record);
$("zoom").addEventListener("click", ({ target: { dataset } }) => {
  if (dataset.zoom) zoom(Number(dataset.zoom));
  if (dataset.pan) pan(Number(dataset.pan));
});
drawing.addEventListener("wheel", event => {
  if (!event.ctrlKey && !event.shiftKey) return;
  event.preventDefault();
  const box = drawing.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width * 1100 - 62) / 1038;
  zoom(event.deltaY + event.deltaX > 0 ? 1.25 : .8, view[0] + (view[1] - view[0]) * Math.min(1, Math.max(0, at)));
}, { passive: false });
drawing.addEventListener("keydown", event => {
  const does = { "+": () => zoom(.5), "-": () => zoom(2), ArrowLeft: () => pan(-.25), ArrowRight: () => pan(.25),
                 Home: () => { view = [recording.first, recording.last]; show_view(); } }[event.key];
  if (does === undefined || recording === null) return;
  event.preventDefault();
  does();
});

// ---- explanations, for pointer and keyboard ----
const tip = $("tip");
const pointer = { x: -1, y: -1 };
function show_tip(event) {
  if (event.type === "pointerover") {
    // What moves beneath a pointer that rests (a refresh, a scroll) must not take the place of what has the focus.
    if (event.clientX === pointer.x && event.clientY === pointer.y) return;
    [pointer.x, pointer.y] = [event.clientX, event.clientY];
  }
  const about = event.target.closest?.("[data-tip]");
  tip.hidden = about === null || about === undefined;
  if (tip.hidden) return;
  tip.textContent = about.dataset.tip;
  const box = about.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const x = event.type === "focusin" ? box.left : event.clientX;
  tip.style.left = Math.max(8, Math.min(x, innerWidth - own.width - 8)) + "px";
  tip.style.top = (box.bottom + own.height + 12 > innerHeight ? box.top - own.height - 6 : box.bottom + 6) + "px";
  about.setAttribute("aria-describedby", "tip");
}
for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, show_tip);
document.addEventListener("focusout", () => tip.hidden = true);

// ---- once a second ----
let before = null, paused = false, timer;
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
  if (event.key === "Escape") tip.hidden = true;
  if (event.key === "r") record();
  if (event.key === "p" && !(paused = !paused)) refresh();
});
async function refresh() {
  clearTimeout(timer);
  const state = $("state");
  try {
    const ask = async path => (await fetch(path, { cache: "no-store" })).json();
    const [shards, hops, tasks, histograms] = await Promise.all(["/shards", "/hops", "/tasks", "/histograms"].map(ask));
    const now = { shards, hops, tasks, histograms };
    if (before !== null) {
      const seconds = (shards[0].uptime_us - before.shards[0].uptime_us) / 1e6;  // the program's time, not ours
      for (const show of [show_shards, show_hops, show_servers, show_groups, show_tasks, show_histograms]) {
        show(now, before, seconds);
      }
      state.textContent = `${shards.length} shards, up for ${number(shards[0].uptime_us / 1e6)} s`;
      state.className = "";
    }
    timer = setTimeout(refresh_unless_paused, before === null ? 250 : 1000);
    before = now;
  } catch (problem) {
    state.textContent = "The program does not answer: " + problem.message;
    state.className = "bad";
    timer = setTimeout(refresh_unless_paused, 1000);
  }
}
function refresh_unless_paused() {
  if (!paused) return refresh();
  $("state").textContent = "paused; P goes on";
}
refresh();
</script>
</body>
</html>
)html";

}  // namespace skerry::net::admin
