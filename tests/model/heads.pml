/*
 * Who waits for a slot of a pool at limiters that share a store. Each registers its foremost waiter
 * as its head in the pool; nobody is granted past a head that came earlier; whoever leaves a slot
 * free wakes the limiter of the first head, by a message that may be lost. Limiters die and leave
 * their heads behind, callers leave. A step is one transaction of the store, so it is atomic here.
 *
 * Calls are numbered as they came: they are granted in that order, never more than there are slots,
 * and when nothing more can happen nobody who is alive still waits.
 *
 * -DNO_HEADS    others' heads are not looked at: a later call goes first
 * -DLATE_HEADS  a head is registered in a step of its own: the same
 * -DNO_TIMER    only messages wake: one that is lost leaves waiters behind
 * -DNO_EXPIRY   heads of the dead stay: nobody goes any more
 * -DNO_WAKE     no messages: timers alone are enough, only later
 */
#define LIMITERS 3
#ifndef SLOTS
#define SLOTS 1
#endif
#define CALLS    7
#define LOSSES   2
#define DEATHS   1
#define LEAVES   2

byte running = 0;
byte next = 1;
byte head[LIMITERS]; /* in the store; 0: none */
bool dead[LIMITERS];
bool woken[LIMITERS]; /* a message is on its way */
chan waiting[LIMITERS] = [CALLS] of { byte };
byte losses = 0, deaths = 0, leaves = 0;

hidden byte at, k, first, other; /* of a step */

/* The limiter, other than i, whose head came first before call `call`; LIMITERS: there is none. */
inline find_first(i, call) {
    first = LIMITERS;
    for (at : 0 .. LIMITERS - 1) {
        if
        :: at != i && head[at] != 0 && head[at] < call &&
           (first == LIMITERS || head[at] < head[first % LIMITERS]) -> first = at
        :: else
        fi
    }
}

/* Nobody alive waits who came before call k. */
inline check_order() {
    for (at : 0 .. LIMITERS - 1) {
        if
        :: nempty(waiting[at]) -> waiting[at]?<other>; assert(other > k)
        :: empty(waiting[at])
        fi
    }
}

inline put_head(i) {
    if
    :: nempty(waiting[i]) -> waiting[i]?<k>; head[i] = k
    :: empty(waiting[i]) -> head[i] = 0
    fi
}

/* The end of every step of limiter i: grants what can be granted, then the head, then the others. */
inline serve(i) {
    do
    :: empty(waiting[i]) || running == SLOTS -> break
    :: nempty(waiting[i]) && running < SLOTS ->
        waiting[i]?<k>;
        find_first(i, k);
#ifdef NO_HEADS
        first = LIMITERS;
#endif
        if
        :: first != LIMITERS -> break
        :: first == LIMITERS -> waiting[i]?k; check_order(); running++; assert(running <= SLOTS)
        fi
    od;
#ifdef LATE_HEADS
    head[i] = 0;
#else
    put_head(i);
#endif
    find_first(i, CALLS + 1);
#ifndef NO_WAKE
    if
    :: running < SLOTS && first != LIMITERS && !dead[first] -> woken[first] = true
    :: else
    fi
#endif
}

/* What its own clock tells limiter i without a message: nobody is in front of its head. */
#define ahead(j, i)  (j != i && head[j] != 0 && head[j] < head[i])
#define is_next(i)   (head[i] != 0 && running < SLOTS && !ahead(0, i) && !ahead(1, i) && !ahead(2, i))

active [LIMITERS] proctype limiter() {
end:
    do
    :: atomic { !dead[_pid] && next <= CALLS -> waiting[_pid]!next; next++; serve(_pid) }
    :: atomic { !dead[_pid] && running > 0 -> running--; serve(_pid) } /* a report */
    :: atomic { !dead[_pid] && woken[_pid] -> woken[_pid] = false; serve(_pid) }
#ifndef NO_TIMER
    :: atomic { !dead[_pid] && is_next(_pid) -> serve(_pid) }
#endif
#ifdef LATE_HEADS
    :: atomic { !dead[_pid] && nempty(waiting[_pid]) && head[_pid] == 0 -> put_head(_pid) }
#endif
    :: atomic {
           !dead[_pid] && nempty(waiting[_pid]) && leaves < LEAVES ->
           leaves++;
           waiting[_pid]?k;
           serve(_pid)
       }
    :: atomic { /* its callers go elsewhere */
           !dead[_pid] && deaths < DEATHS ->
           deaths++;
           dead[_pid] = true;
           woken[_pid] = false;
           do
           :: nempty(waiting[_pid]) -> waiting[_pid]?k
           :: empty(waiting[_pid]) -> break
           od
       }
    od
}

active proctype world() {
    byte i;
end:
    do
    :: atomic { losses < LOSSES && woken[0] -> losses++; woken[0] = false }
    :: atomic { losses < LOSSES && woken[1] -> losses++; woken[1] = false }
    :: atomic { losses < LOSSES && woken[2] -> losses++; woken[2] = false }
#ifndef NO_EXPIRY
    :: atomic { dead[0] && head[0] != 0 -> head[0] = 0 }
    :: atomic { dead[1] && head[1] != 0 -> head[1] = 0 }
    :: atomic { dead[2] && head[2] != 0 -> head[2] = 0 }
#endif
    :: atomic {
           timeout -> /* nothing else can happen */
           for (i : 0 .. LIMITERS - 1) {
               assert(empty(waiting[i]))
           }
           break
       }
    od
}
