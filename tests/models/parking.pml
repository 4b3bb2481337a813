/* SPDX-License-Identifier: Apache-2.0
 *
 * parking: how workers of the compute pool go to sleep and are called, for the model checker spin. One worker forks
 * FORKS times; others steal, or park when there is nothing. One of them waits for a fork of its own to be done meanwhile
 * and parks, too. Work that nobody is called for, or a wait that nobody ends, is a state in which nobody can go on.
 *
 *   in the code                                    here
 *   work_deque::push: bottom (seq_cst)             `forks` grows, one step
 *   the look at sleepers_ (seq_cst)                the next step
 *   call_a_sleeper, park, park_until under mutex_  steps between lock and unlock; a wait gives the lock back
 *   nothing_to_steal                               one step of its own
 *   run_stolen: exchange(done), then wake          two steps
 *
 * MUTANT n is the same with one mistake; each must be found:
 *   1  the forker looks at the sleepers before it pushes
 *   2  a worker looks for work before it is on the list
 *   3  a worker does not look again once it is on the list
 *   4  who waits for a fork does not say so
 *   5  the thief looks whether somebody waits before it says that it is done
 *   6  who waits for a fork goes to sleep without looking whether it is done
 */

#ifndef MUTANT
#define MUTANT 0
#endif
#ifndef FORKS
#define FORKS 3
#endif
#define WORKERS 2
#define WAITER WORKERS /* its number among those who sleep */

byte forks;         /* pushed and not stolen */
byte done_total;
bool locked;
byte sleepers;
bool listed[WORKERS + 1], called[WORKERS + 1];
bool fork_done, fork_waited_for; /* of the one who waits */
bool fork_notified;
bool stopping;

inline lock() { atomic { !locked -> locked = true } }
inline unlock() { locked = false }

inline enter(who) {
  listed[who] = true;
  called[who] = false;
  sleepers++
}

inline leave(who) {
  listed[who] = false;
  sleepers--
}

/* the workers first: they can do anything */
inline call_one() {
  lock();
  if
  :: listed[0] -> called[0] = true;
     leave(0)
  :: !listed[0] && listed[1] -> called[1] = true;
     leave(1)
  :: !listed[0] && !listed[1] && listed[WAITER] -> called[WAITER] = true;
     leave(WAITER)
  :: else
  fi;
  unlock()
}

/* One that forks and goes on; it ends when all is done. */
proctype forker() {
  byte left = FORKS;
  byte seen;
  do
  :: left > 0 ->
#if MUTANT == 1
     seen = sleepers;
     forks++;
#else
     forks++;
     seen = sleepers;
#endif
     left--;
     if
     :: seen > 0 -> call_one()
     :: else
     fi;
     seen = 0
  :: left == 0 -> break
  od;
  done_total == FORKS && fork_done;
  lock();
  stopping = true;
  unlock()
}

inline steal() {
  atomic {
    if
    :: forks > 0 -> forks--; done_total++; got = true
    :: else -> got = false
    fi
  }
}

inline park(me) {
#if MUTANT == 2
  seen = forks;
#endif
  lock();
  if
  :: stopping -> unlock(); goto gone
  :: else
  fi;
  enter(me);
#if MUTANT == 2
#elif MUTANT == 3
  seen = 0;
#else
  seen = forks;
#endif
  if
  :: seen == 0 ->
     unlock();
     called[me] || stopping;
     lock()
  :: else
  fi;
  if
  :: listed[me] -> leave(me)
  :: else
  fi;
  seen = 0;
  unlock()
}

proctype worker(byte me) {
  bool got;
  byte seen;
  do
  :: steal();
     if
     :: got
     :: else -> park(me)
     fi
  od;
gone:
  skip
}

inline park_until() {
  lock();
  atomic {
    is_done = fork_done;
#if MUTANT != 4
    fork_waited_for = fork_waited_for || !is_done
#endif
  }
#if MUTANT == 6
  is_done = false;
#endif
  if
  :: is_done -> unlock()
  :: else ->
     enter(WAITER);
     fork_notified = false;
     if
#if MUTANT == 6
     :: forks == 0 -> unlock(); called[WAITER] || fork_notified; lock()
#else
     :: forks == 0 && !fork_done -> unlock(); called[WAITER] || fork_notified; lock()
#endif
     :: else
     fi;
     if
     :: listed[WAITER] -> leave(WAITER)
     :: else
     fi;
     unlock()
  fi;
  is_done = false
}

/* One whose fork was stolen: it helps, and parks. */
proctype waiter() {
  bool got, is_done;
  do
  :: fork_done -> break
  :: !fork_done ->
     steal();
     if
     :: got
     :: else -> park_until()
     fi
  od
}

/* The one who stole it. */
proctype thief() {
  bool told;
#if MUTANT == 5
  told = fork_waited_for;
  fork_done = true;
#else
  atomic { told = fork_waited_for; fork_done = true }
#endif
  if
  :: told -> lock(); fork_notified = true; unlock()
  :: else
  fi
}

init {
  atomic {
    run forker();
    run waiter();
    run thief();
    byte n;
    for (n : 0 .. WORKERS - 1) { run worker(n) }
  }
}
