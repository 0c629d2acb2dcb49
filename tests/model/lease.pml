/*
 * A lease that is renewed, a holder that comes back from the dead, and a slot that nobody can free
 * for somebody else. One slot, three holders. Requests and replies take as long as they like.
 *
 * A holder counts its lease from before it sent the request that got it; it stops its call GUARD
 * ticks before that ends, by a clock that lags LAG ticks at most. At no time do two calls run.
 *
 * -DGUARD=0       no guard: two at once
 * -DFROM_REPLY    the lease is counted from the reply: two at once
 * -DBY_SLOT       a release frees the slot, whoever holds it: two at once
 */
#ifndef GUARD
#define GUARD 2
#endif
#define HOLDERS 3
#define T       4
#define LAG     1
#define FENCES  4 /* grants in a run */
#define FREEZES 1 /* holders that die without a word */

mtype = { RENEW, RELEASE };

byte owner = 0; /* fence of who has the slot, 0: nobody */
byte age = 0;   /* of its lease */
byte next = 1;
byte freezes = 0;

byte fence[HOLDERS]; /* of the call that runs, 0: none */
byte since[HOLDERS]; /* ticks since what the present lease is counted from */
byte asked[HOLDERS]; /* ticks since a renewal was sent, plus one; 0: none is on its way */
byte running = 0;

chan requests = [HOLDERS] of { mtype, byte /* fence */, byte /* holder */ };
chan renewed[HOLDERS] = [1] of { bool };

#define expired()    (age >= T)
#define may_stop(h)  (since[h] >= T - GUARD)
#define must_stop(h) (fence[h] != 0 && since[h] >= T - GUARD + LAG)

inline stop(h) {
    fence[h] = 0;
    since[h] = 0;
    running--
}

active [HOLDERS] proctype holder() {
    bool good;
    byte old;
end_idle:
    atomic {
        next <= FENCES && (owner == 0 || expired()) ->
        owner = next;
        fence[_pid] = next;
        next++;
        age = 0;
        since[_pid] = 0;
        running++;
        assert(running <= 1)
    };
    do
    :: atomic { !must_stop(_pid) -> requests!!RENEW, fence[_pid], _pid; asked[_pid] = 1 };
       do
       :: atomic {
              renewed[_pid]?good ->
              if
              :: !good -> stop(_pid); goto end_idle
              :: else ->
#ifdef FROM_REPLY
                 since[_pid] = 0
#else
                 since[_pid] = asked[_pid] - 1
#endif
              fi;
              asked[_pid] = 0;
              break
          }
       :: atomic { may_stop(_pid) -> stop(_pid); asked[_pid] = 0 };
          renewed[_pid]?good; /* too late */
          goto end_idle
       od
    :: atomic { old = fence[_pid]; stop(_pid) }; /* the call has ended */
       requests!!RELEASE, old, _pid;
       old = 0;
       goto end_idle
    :: atomic { freezes < FREEZES -> freezes++; stop(_pid) };
       goto end_idle /* killed; its lease runs out */
    :: atomic { may_stop(_pid) -> old = fence[_pid]; stop(_pid) };
       requests!!RELEASE, old, _pid; /* a zombie says good-bye, perhaps much later */
       old = 0;
       goto end_idle
    od
}

active proctype limiter() {
    mtype what;
    byte whose, h;
end:
    do
    :: atomic {
           requests??what, whose, h ->
           if
           :: what == RENEW ->
               if
               :: whose == owner && !expired() -> age = 0; renewed[h]!true
               :: else -> renewed[h]!false
               fi
#ifdef BY_SLOT
           :: what == RELEASE -> owner = 0
#else
           :: what == RELEASE && whose == owner -> owner = 0
#endif
           :: else
           fi;
           whose = 0;
           h = 0
       }
    od
}

active proctype clock() {
    byte i;
end:
    do
    :: d_step {
           owner != 0 && age < T && !must_stop(0) && !must_stop(1) && !must_stop(2) ->
           age++;
           for (i : 0 .. HOLDERS - 1) {
               if
               :: fence[i] != 0 && asked[i] != 0 -> since[i]++; asked[i]++
               :: fence[i] != 0 && asked[i] == 0 -> since[i]++
               :: else
               fi
           }
           i = 0
       }
    od
}
