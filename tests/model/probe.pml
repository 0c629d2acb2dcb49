/*
 * One probe for the fleet. A half-open breaker lends its single probe to a router under a lease of T
 * ticks; routers crash, are slow, and report late. At no time do two probes run at the provider, and
 * only the probe that is lent now decides.
 *
 * Time: tick() is taken only when every router that must have stopped by then has stopped. A router
 * stops GUARD ticks before its lease ends, by a clock that lags LAG ticks at most.
 *
 * -DGUARD=0       a router trusts its clock: two probes at once
 * -DANY_REPORT    reports of earlier probes count: a breaker is closed by what came before it opened
 * -DHEALTHY       the provider answers well and reports are prompt: the breaker closes (ltl heals)
 */
#ifndef GUARD
#define GUARD 2
#endif
#define ROUTERS 3
#define T       4
#define LAG     1
#define IDS     4 /* probes in a run */
#define CRASHES 1

mtype = { OPEN, HALF, CLOSED };
mtype = { OK, FAILED, NO_VERDICT };

mtype breaker = OPEN;
byte probe = 0;        /* id of the one that is lent; 0: none */
byte next = 1;
byte first = 1;        /* ids from here on were lent since the breaker opened */
byte age[IDS + 1];     /* ticks since it was lent */
bool runs[IDS + 1];    /* at the provider */
byte running = 0;
byte crashes = 0;
chan reports = [ROUTERS] of { byte, mtype };

#ifdef HEALTHY
#define PROMPT (len(reports) == 0) /* reports do not take a tick */
#else
#define PROMPT true
#endif

#define expired(id)  (age[id] >= T)
#define must_stop(id) (runs[id] && age[id] >= T - GUARD + LAG)
#define may_stop(id)  (age[id] >= T - GUARD)

inline stop(id) {
    runs[id] = false;
    running--
}

active [ROUTERS] proctype router() {
    byte id;
end_idle:
    atomic {
        next <= IDS && (breaker == OPEN || (breaker == HALF && (probe == 0 || expired(probe)))) ->
        id = next;
        next++;
        probe = id;
        breaker = HALF;
        age[id] = 0;
        runs[id] = true; /* sent at once: the longest it can run */
        running++;
        assert(running <= 1)
    };
    if
    :: atomic { crashes < CRASHES -> crashes++; stop(id) }; goto end_idle
#ifdef HEALTHY
    :: atomic { stop(id); reports!id, OK }; goto end_idle
#else
    :: atomic { may_stop(id) -> stop(id); reports!id, NO_VERDICT }; goto end_idle
    :: atomic { !expired(id) -> stop(id) };
       /* The report is on its way for as long as it likes. */
       if
       :: reports!id, OK
       :: reports!id, FAILED
       :: atomic { crashes < CRASHES -> crashes++ }
       fi;
       goto end_idle
#endif
    fi
}

active proctype limiter() {
    byte id;
    mtype verdict;
end:
    do
    :: atomic {
           reports??id, verdict ->
           if
#ifdef ANY_REPORT
           :: breaker == HALF ->
#else
           :: breaker == HALF && id == probe ->
#endif
               if
               :: verdict == OK -> assert(id >= first); breaker = CLOSED; probe = 0
               :: verdict == FAILED -> breaker = OPEN; first = next; probe = 0
               :: verdict == NO_VERDICT -> probe = 0
               fi
           :: else
           fi;
           id = 0;
           verdict = 0
       }
#ifndef HEALTHY
    :: atomic { breaker == CLOSED -> breaker = OPEN; first = next } /* it fails again later */
#endif
    od
}

active proctype clock() {
    byte i;
end:
    do
    :: atomic {
           probe != 0 && age[probe] < T && PROMPT;
           i = 1;
           do
           :: i > IDS -> break
           :: i <= IDS && must_stop(i) -> break
           :: else -> i++
           od;
           if
           :: i > IDS ->
               for (i : 1 .. IDS) {
                   if
                   :: (runs[i] || i == probe) && age[i] < T -> age[i]++
                   :: (runs[i] || i == probe) && age[i] == T
                   :: else -> age[i] = 0
                   fi
               }
           :: else /* first somebody stops */
           fi;
           i = 0
       }
    od
}

#ifdef HEALTHY
ltl heals { <> (breaker == CLOSED) }
#endif
