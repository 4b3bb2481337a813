/* SPDX-License-Identifier: Apache-2.0
 *
 * work_deque: the deque of toolkit/pool, for the model checker spin. The owner pushes ITEMS items and pops as it likes;
 * two thieves steal until all are taken. Every item is taken once, and is the one that was pushed.
 *
 *   in the code                                    here
 *   bottom and top of pop and steal (seq_cst)      a step each, in one total order
 *   push: slot, then bottom                        two steps
 *   compare_exchange of top                        one atomic step
 *   a stale view of top in push (top_seen_)        the look at top may be left out when there is room by an older one
 *
 * MUTANT n is the same with one mistake; each must be found:
 *   1  pop reads top before it writes bottom (what a relaxed store lets a CPU do)
 *   2  steal reads bottom before top
 *   3  pop takes the last item without asking top
 *   4  steal moves top on without comparing
 *   5  push writes bottom before the slot
 *   6  push does not look whether there is room
 *   7  steal reads the slot after it has moved top on
 */

#ifndef MUTANT
#define MUTANT 0
#endif
#ifndef CAPACITY
#define CAPACITY 2
#endif
#ifndef ITEMS
#define ITEMS 4
#endif
#define THIEVES 2

/* numbers of items from 1; 0 is nothing */
byte slot[CAPACITY];
short top, bottom;
byte taken[ITEMS + 1];
byte taken_total;

inline take(item) {
  atomic {
    assert(item > 0);
    assert(taken[item] == 0);
    taken[item] = 1;
    taken_total++
  }
}

/* moves top on from t if it is still there */
inline move_on(won) {
  atomic {
    won = (top == t);
    if
    :: won -> top = t + 1
    :: else
    fi
  }
}

inline steal() {
#if MUTANT == 2
  b = bottom;
  t = top;
#else
  t = top;
  b = bottom;
#endif
  if
  :: t < b ->
#if MUTANT != 7
     got = slot[t % CAPACITY];
#endif
#if MUTANT == 4
     top = t + 1;
     won = true;
#else
     move_on(won);
#endif
#if MUTANT == 7
     got = slot[t % CAPACITY];
#endif
     if
     :: won -> take(got)
     :: else
     fi;
     got = 0;
     won = false
  :: else
  fi;
  atomic { t = 0; b = 0 }
}

inline push() {
  if
#if MUTANT == 6
  :: true ->
#else
  :: bottom - seen < CAPACITY ->
#endif
#if MUTANT == 5
     bottom = bottom + 1;
     slot[(bottom - 1) % CAPACITY] = next;
#else
     slot[bottom % CAPACITY] = next;
     bottom = bottom + 1;
#endif
     next++
  :: bottom - seen >= CAPACITY -> seen = top
  fi
}

inline pop() {
#if MUTANT == 1
  t = top;
  b = bottom - 1;
  bottom = b;
#else
  b = bottom - 1;
  bottom = b;
  t = top;
#endif
  if
  :: t < b -> got = slot[b % CAPACITY]; take(got)
  :: t == b ->
     got = slot[b % CAPACITY];
#if MUTANT == 3
     won = true;
     top = t + 1;
#else
     move_on(won);
#endif
     bottom = b + 1;
     if
     :: won -> take(got)
     :: else
     fi
  :: t > b -> bottom = b + 1
  fi;
  atomic { t = 0; b = 0; got = 0; won = false }
}

proctype owner() {
  byte next = 1, got;
  short b, t, seen;
  bool won;
  do
  :: next <= ITEMS -> push()
  :: taken_total < ITEMS -> pop()
  :: next > ITEMS && taken_total == ITEMS -> break
  od
}

proctype thief() {
  short b, t;
  byte got;
  bool won;
  do
  :: taken_total < ITEMS -> steal()
  :: taken_total == ITEMS -> break
  od
}

init {
  atomic {
    run owner();
    byte n;
    for (n : 1 .. THIEVES) { run thief() }
  }
}
