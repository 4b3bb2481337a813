/* SPDX-License-Identifier: Apache-2.0
 *
 * doorbell: the hand-shake between two shards, for the model checker spin. Both send MESSAGES to each other through
 * queues of CAPACITY entries, sleep when there is nothing to do, and end when all is sent and all has come. A message
 * that is never found, or a shard that is never woken, is a state in which nobody can go on: spin reports it ("invalid
 * end state").
 *
 *   in the code                                                here
 *   doorbell::ring, take, announce_sleep, woken                one atomic step each: each is one read-modify-write
 *   doorbell::take's look before its exchange (a hint)         may see an old word: the step may be left out
 *   mailboxes::push: push, `starved`, push again, ring         four steps
 *   mailboxes::drain: pop, the count, `starved`, ring back     a step each; one look pops up to BATCH
 *   reactor::idle: announce, look again, wait                  a step each; the look may find what is not modelled
 *   backend::wake, backend::wait                               a counter: a wake-up before the wait ends the wait
 *
 * The queue's own indices are not modelled: that boost::lockfree::spsc_queue delivers is taken for granted, and so is a
 * total order of the read-modify-writes of a word, which is what the memory model promises. That plain memory follows
 * in that order is what ThreadSanitizer checks (doorbell_test, submit_to_test).
 *
 * MUTANT n is the same with one mistake; each must be found:
 *   1  ring before the push
 *   2  sleep though a bit is set
 *   3  no second try after `starved` was set
 *   4  the receiver never looks at `starved`
 *   5  the sender decides on a look at the sleeper from before its push
 *   6  the receiver takes the bits after it has emptied the queue
 *   7  the receiver looks at `starved` before it pops
 */

#ifndef MUTANT
#define MUTANT 0
#endif
#ifndef CAPACITY
#define CAPACITY 1
#endif
#ifndef BATCH
#define BATCH 1
#endif
#ifndef MESSAGES
#define MESSAGES 3
#endif

#define SMALLER(a, b) ((a) < (b) -> (a) : (b))

/* [i]: of shard i; of a queue: from shard i to the other */
byte left[2] = MESSAGES;
byte got[2];
byte queued[2];
bool starved[2];
byte popped[2];
bool rung[2];
bool asleep[2];
byte wakes[2];

/* true in `first` if the target sleeps and nobody has rung before: who finds that pays for the wake-up */
inline ring(target, first) {
  atomic {
    first = asleep[target] && !rung[target];
    rung[target] = true;
  }
}

inline wake_if(first, target) {
  if
  :: first -> wakes[target]++; first = false
  :: else
  fi
}

inline push() {
  atomic {
    count = SMALLER(left[me], CAPACITY - queued[me]);
    queued[me] = queued[me] + count;
    left[me] = left[me] - count;
    pushed = pushed || count > 0;
    count = 0;
  }
}

inline flush() {
  if
  :: left[me] > 0 ->
     pushed = false;
#if MUTANT == 1
     ring(other, must_wake);
     wake_if(must_wake, other);
#endif
#if MUTANT == 5
     must_wake = asleep[other];
#endif
     push();
     if
     :: left[me] > 0 ->
        starved[me] = true;
#if MUTANT != 3
        push()
#endif
     :: else
     fi;
     if
     :: pushed ->
#if MUTANT == 5
        rung[other] = true;
        wake_if(must_wake, other)
#elif MUTANT != 1
        ring(other, must_wake);
        wake_if(must_wake, other)
#endif
     :: else -> must_wake = false
     fi
  :: else
  fi
}

inline look_at_starved() {
  atomic {
    was_starved = starved[other];
    starved[other] = false
  }
  if
  :: was_starved ->
     was_starved = false;
     ring(other, must_wake);
     wake_if(must_wake, other)
  :: else
  fi
}

inline drain() {
  total = 0;
#if MUTANT == 7
  look_at_starved();
#endif
  do
  :: atomic {
       count = SMALLER(queued[other], BATCH);
       queued[other] = queued[other] - count;
       total = total + count
     }
     if
     :: count < BATCH -> count = 0; break
     :: else -> count = 0
     fi
  od;
  atomic {
    got[me] = got[me] + total;
    assert(got[me] <= MESSAGES);
    popped[other] = popped[other] + total
  }
#if MUTANT != 4 && MUTANT != 7
  /* once for every CAPACITY entries, as the code does */
  if
  :: (popped[other] - total) / CAPACITY != popped[other] / CAPACITY -> look_at_starved()
  :: else
  fi;
#endif
  total = 0
}

inline poll() {
  if
#if MUTANT == 6
  :: rung[me] -> drain(); atomic { rung[me] = false; asleep[me] = false }
#else
  :: atomic { rung[me] -> rung[me] = false; asleep[me] = false }
     drain()
#endif
  :: true /* nothing rung, or not seen yet */
  fi
}

inline idle() {
  atomic { may_sleep = !rung[me] || MUTANT == 2; asleep[me] = true }
  if
  :: may_sleep -> atomic { wakes[me] > 0 -> wakes[me]-- }
  :: true /* work after all */
  fi;
  atomic { asleep[me] = false; may_sleep = false }
}

proctype shard(byte me) {
  byte other = 1 - me;
  byte count, total;
  bool pushed, must_wake, was_starved, may_sleep;
  do
  :: left[me] == 0 && got[me] == MESSAGES -> break
  :: else ->
     poll();
     flush();
     if
     :: left[me] == 0 && got[me] == MESSAGES -> skip
     :: else -> idle()
     fi
  od
}

init {
  atomic {
    run shard(0);
    run shard(1)
  }
}
