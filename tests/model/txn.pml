/*
 * Two limiters and one store that only compares and sets. A reply is lost, a command comes late, and
 * the store falls back to older data. Every write is based on the write before it, and who has lost
 * a write notices before it grants again: it closes the group until all that was forgotten is past.
 *
 * A blob's header is epoch, seq and stamp (limiter, step). rows: each limiter's last step.
 *
 * -DNO_STAMP      headers are epoch and seq: two timelines meet at one seq and writes vanish
 * -DNO_ROWS       nobody looks for its own last write: grants go on over the loss
 */
#define LIMITERS 2
#define N        3 /* admissions in the window, which is as long as a run */
#define STEPS    4 /* tries of each limiter */

typedef blob {
    byte epoch, seq, by, step, admitted, row[LIMITERS];
    byte version /* of the model only: which of the store's writes it is */
}

typedef command {
    bool there, closes;
    blob want, value
}

mtype = { NOTHING, SENT, DONE, CHANGED, SILENCE };

blob store, older;
command now[LIMITERS], late[LIMITERS];
mtype link[LIMITERS] = NOTHING;
byte last[LIMITERS], known[LIMITERS]; /* last step and epoch that it knows to be written */
byte epochs, versions;
byte admitted, lost; /* since the last closure; of them, by falling back */
bool fell = false, kept = false, silent = false;

inline copy(to, from) {
    to.epoch = from.epoch; to.seq = from.seq; to.by = from.by; to.step = from.step;
    to.admitted = from.admitted; to.row[0] = from.row[0]; to.row[1] = from.row[1];
    to.version = from.version
}

#ifdef NO_STAMP
#define same(a, b) (a.epoch == b.epoch && a.seq == b.seq)
#else
#define same(a, b) (a.epoch == b.epoch && a.seq == b.seq && a.by == b.by && a.step == b.step)
#endif

/* fits: it was written. */
inline execute(c, fits) {
    fits = same(store, c.want);
    if
    :: fits ->
        assert(store.version == c.want.version);
        if
        :: c.closes -> admitted = 0; lost = 0
        :: else ->
            admitted++;
            assert(admitted - lost <= N)
        fi;
        versions++;
        c.value.version = versions;
        copy(store, c.value)
    :: else
    fi
}

/* Who grants has not lost a write without knowing. */
#define grant_knows(who)                                                                           \
    assert(!same(store, now[who].want) || now[who].closes || store.epoch != known[who] ||          \
           store.row[who] >= last[who])

active proctype world() {
    byte i;
    bool fits;
end:
    do
    :: atomic { link[0] == SENT -> i = 0; goto take }
    :: atomic { link[1] == SENT -> i = 1; goto take }
    :: d_step { late[0].there -> late[0].there = false; execute(late[0], fits); fits = 0 }
    :: d_step { late[1].there -> late[1].there = false; execute(late[1], fits); fits = 0 }
    :: d_step { !kept -> kept = true; copy(older, store) }
    :: d_step {
           kept && !fell && store.epoch == older.epoch ->
           fell = true;
           lost = lost + store.admitted - older.admitted;
           copy(store, older)
       }
    od;
take:
    atomic {
        if
        :: true -> grant_knows(i); execute(now[i], fits); link[i] = (fits -> DONE : CHANGED)
        :: !silent -> silent = true; execute(now[i], fits); link[i] = SILENCE /* no reply */
        :: !silent -> silent = true; link[i] = SILENCE; /* the command comes later, or never */
            late[i].there = true; late[i].closes = now[i].closes;
            copy(late[i].want, now[i].want); copy(late[i].value, now[i].value)
        fi;
        fits = 0; i = 0
    };
    goto end
}

active [LIMITERS] proctype limiter() {
    blob cache;
    byte me = _pid - 1, step = 0;
    bool amnesia = false;
    do
    :: atomic { /* one try; no step number is used twice */
           step < STEPS && (amnesia || cache.admitted < N) ->
           step++;
           now[me].closes = amnesia;
           copy(now[me].want, cache);
           copy(now[me].value, cache);
           now[me].value.seq++;
           now[me].value.by = me + 1;
           now[me].value.step = step;
           now[me].value.row[me] = step;
           if
           :: amnesia ->
               epochs++;
               now[me].value.epoch = epochs;
               now[me].value.admitted = 0
           :: else -> now[me].value.admitted++
           fi;
           link[me] = SENT
       };
       atomic {
           link[me] != SENT;
           if
           :: link[me] == DONE ->
               copy(cache, now[me].value);
               last[me] = step;
               known[me] = cache.epoch
           :: else -> /* the store's blob came back, or is read now */
               copy(cache, store);
               if
               :: cache.row[me] == step -> last[me] = step; known[me] = cache.epoch
               :: cache.row[me] != step && cache.epoch != known[me] ->
                   known[me] = cache.epoch; /* whoever began it closed first */
                   last[me] = cache.row[me]
               :: else
               fi
           fi;
#ifndef NO_ROWS
           amnesia = cache.row[me] < last[me];
#endif
           link[me] = NOTHING
       }
    :: else -> break
    od
}
