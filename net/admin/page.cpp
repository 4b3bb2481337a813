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
<noscript><meta http-equiv="refresh" content="0; url=/text"></noscript>
<style>
:root {
  color-scheme: light dark; --ink: #16252e; --soft: #56707d; --paper: #eef3f5; --card: #ffffff; --line: #d5dfe4;
  --sea: #14748a; --deep: #0d5568; --sand: #b7791f; --coral: #c2452d; --hot: 20, 116, 138; --bar: #dfe8ec;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4edf0; --soft: #93a9b3; --paper: #0e161a; --card: #172127; --line: #2b3a42; --sea: #4fbcd0;
    --deep: #8ad7e5; --sand: #e0ad5c; --coral: #f0836c; --hot: 79, 188, 208; --bar: #24323a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 76rem; padding: 1.2rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; font-variant-numeric: tabular-nums;
}
h1 { font-size: 1.5rem; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
p { margin: .2rem 0 .7rem; max-width: 58rem; color: var(--soft); }
a { color: var(--sea); }
header { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; align-items: baseline; justify-content: space-between; }
#state { color: var(--soft); }
#state::before { content: "●"; color: var(--sea); margin-right: .4rem; }
#state.bad::before { color: var(--coral); }
#shards { display: grid; grid-template-columns: repeat(auto-fill, minmax(16.5rem, 1fr)); gap: .9rem; }
.card, .island { background: var(--card); border: 1px solid var(--line); border-radius: .7rem; padding: .8rem 1rem; }
.island h3 { display: flex; justify-content: space-between; align-items: baseline; margin: 0; font-size: 1rem; }
.island h3 b { font-size: 1.3rem; font-weight: 650; color: var(--deep); }
.island svg { display: block; width: 100%; height: 2.6rem; margin: .35rem 0 .2rem; }
.meter { height: .3rem; border-radius: .15rem; background: var(--bar); margin-bottom: .55rem; overflow: hidden; }
.meter i { display: block; height: 100%; background: var(--sea); }
.island .first { display: grid; grid-template-columns: repeat(3, 1fr); gap: .4rem; margin: 0 0 .5rem; }
.island .first div { background: var(--paper); border-radius: .4rem; padding: .25rem .45rem; }
.island .first dt { font-size: .74rem; white-space: nowrap; }
.island .first dd { text-align: left; font-size: 1.05rem; font-weight: 600; }
dl { margin: 0; } dl.rest { display: grid; grid-template-columns: 1fr auto; gap: .05rem .6rem; font-size: .92rem; }
dd { margin: 0; text-align: right; white-space: nowrap; }
dt, [data-tip] { cursor: help; } dt { color: var(--soft); }
dt[data-tip], th[data-tip], #states span { text-decoration: underline dotted; text-underline-offset: .22em; }
:focus-visible { outline: 2px solid var(--sea); outline-offset: 2px; border-radius: .2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; background: var(--card); border: 1px solid var(--line); font-size: .92rem; }
th, td { border: 1px solid var(--line); padding: .3rem .65rem; text-align: right; white-space: nowrap; }
th { font-weight: 600; color: var(--soft); } td.text, th.text { text-align: left; }
#hops td { min-width: 6.4rem; } #hops td small { display: block; opacity: .8; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: .9rem; }
.card h3 { margin: 0 0 .1rem; font-size: .95rem; font-weight: 600; overflow-wrap: anywhere; }
.card small { color: var(--soft); }
#histograms svg { display: block; width: 100%; height: 6rem; margin-top: .3rem; }
.axis { display: flex; justify-content: space-between; font-size: .8rem; color: var(--soft); }
button, select {
  font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: .45rem;
  padding: .3rem .8rem; cursor: pointer;
}
button.main { background: var(--sea); border-color: var(--sea); color: var(--card); font-weight: 600; }
button:disabled { opacity: .55; cursor: progress; }
.tools { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: .4rem 0 .7rem; }
#timeline { margin-bottom: .9rem; } #timeline svg { display: block; width: 100%; touch-action: pan-y; }
.row { fill: var(--paper); } .step { fill: var(--sea); } .several { fill: var(--deep); opacity: .75; }
.arrow { fill: none; stroke: var(--sand); stroke-width: 1.3; }
.arrow.back { stroke: var(--soft); stroke-dasharray: 4 3; }
.head { fill: var(--sand); } .head.back { fill: var(--soft); } .window { fill: none; stroke: var(--coral); }
svg text { fill: var(--soft); font-size: 11px; }
.area { fill: rgba(var(--hot), .22); } .edge { fill: none; stroke: var(--sea); }
.bin { fill: var(--sea); } .mark { stroke: var(--coral); stroke-dasharray: 3 3; }
#tip {
  position: fixed; z-index: 9; max-width: 22rem; padding: .45rem .65rem; border-radius: .45rem; pointer-events: none;
  background: var(--ink); color: var(--paper); font-size: .88rem; box-shadow: 0 .2rem .8rem rgb(0 0 0 / .25);
}
kbd {
  border: 1px solid var(--line); border-radius: .25rem; padding: 0 .3rem; font-size: .85em; background: var(--card);
}
@media (prefers-reduced-motion: no-preference) { .edge, .area { transition: d .3s; } }
</style>
</head>
<body>
<header><h1>The shards at work</h1><span id="state" role="status">Asking the shards…</span></header>
<p>Each island is one shard: a thread with its own memory, tasks, timers and ring. Shards share nothing and talk only
by messages. Rest the pointer on a figure, or move to it with <kbd>Tab</kbd>, to learn what it counts.
<kbd>P</kbd> pauses, <kbd>R</kbd> records.</p>
<noscript><p>Without scripts the same figures are at <a href="/text">/text</a> in plain tables, and at
<a href="/shards">/shards</a>, <a href="/hops">/hops</a>, <a href="/histograms">/histograms</a>,
<a href="/tasks">/tasks</a> and <a href="/metrics">/metrics</a>, and a recording at
<a href="/trace?ms=100">/trace?ms=100</a>.</p></noscript>
<main>
<div id="shards"></div>
<h2>Messages between shards, per second</h2>
<p>Row: the sender. Column: the receiver. The darker, the more. Below: how long messages waited until their
receiver looked, half of them less than the first figure and 99 of 100 less than the second, to the next power of two; a
recording has them exactly. A design that chats between cores shows here.</p>
<div id="hops" class="scroll"></div>
<div id="web" hidden><h2>HTTP</h2><div id="servers" class="scroll"></div></div>
<h2>How long things take</h2>
<p>All shards together, in the last seconds. Each bar is a range of durations, on a logarithmic scale.</p>
<div id="histograms" class="columns"></div>
<h2>Scheduling groups</h2>
<p>Which share of each CPU the tasks of a group were charged. Of the groups that have work, the one that got least for
its shares goes next. Time is charged where there is somebody to share with, so a group that is alone shows less.</p>
<div id="groups" class="scroll"></div>
<h2>Recorder</h2>
<p>Records every step of every task, every message and every completion for a while. Boxes are steps of tasks, arrows
are messages, broken arrows replies. With the picture in focus <kbd>+</kbd> <kbd>−</kbd> <kbd>←</kbd> <kbd>→</kbd>
<kbd>Home</kbd> move through it.</p>
<div class="tools">
<button id="record" class="main">Record</button>
<label>for <select id="length"><option value="20">20 ms</option><option value="100" selected>100 ms</option>
<option value="500">500 ms</option><option value="2000">2 s</option></select></label>
<span id="zoom" hidden><button data-zoom=".5" aria-label="zoom in">+</button>
<button data-zoom="2" aria-label="zoom out">−</button> <button data-pan="-.5" aria-label="earlier">←</button>
<button data-pan=".5" aria-label="later">→</button></span>
<a id="file" hidden download="trace.json">the recording as a file</a>
<span id="recorded" role="status"></span>
</div>
<div id="timeline" hidden class="card"><svg role="img" tabindex="0"></svg></div>
<div id="waits" class="scroll"></div>
<h2>Tasks and what they wait for</h2>
<p id="states"></p>
<p>Each coroutine awaits the one behind the arrow; the last one waits for what is named there. Branches of a combinator
stand side by side, between bars.</p>
<div id="tasks" class="scroll"></div>
<p style="margin-top:2rem">For programs: <a href="/metrics">/metrics</a> (Prometheus, OpenMetrics),
<a href="/shards">/shards</a>, <a href="/hops">/hops</a>, <a href="/histograms">/histograms</a>,
<a href="/tasks">/tasks</a>, <a href="/health">/health</a>, <a href="/ready">/ready</a>,
<a href="/trace?ms=100" download>/trace?ms=100</a>.</p>
</main>
<div id="tip" role="tooltip" hidden></div>
<script>
)html";

}  // namespace skerry::net::admin
