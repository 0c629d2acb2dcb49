/* The limiter's state file: cut at every byte, damaged, locked, of another run of the machine. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "limiter/state_file.h"

#define RESOURCES  3
#define RECORDS    4
#define AREA       (5u << 18)
#define HEAD       4096
#define AREA_HEAD  2048 /* of an area: what says what is in it */
#define PLACES     (HEAD + 2 * AREA)
#define PLACES_END (PLACES + RESOURCES * 10240 + RECORDS * 256)

struct folder {
    char path[64];
    char file[96];
};

static struct folder make_folder(void)
{
    struct folder folder = {.path = "/tmp/test_limiter_state.XXXXXX"};
    assert_non_null(mkdtemp(folder.path));
    snprintf(folder.file, sizeof(folder.file), "%s/" STATE_FILE_NAME, folder.path);
    return folder;
}

static void remove_folder(const struct folder *folder)
{
    unlink(folder->file);
    rmdir(folder->path);
}

static struct status try_open(const struct folder *folder, const char *boot, size_t resources,
                              char error_text[256], struct state_file **out)
{
    const struct state_file_options options = {
        .folder = folder->path, .boot = boot, .resources = resources, .records = RECORDS};
    return state_file_open(&options, error_text, out);
}

static struct state_file *open_file(const struct folder *folder)
{
    char error_text[256];
    struct state_file *file = NULL;
    assert_status_ok(try_open(folder, "boot one", RESOURCES, error_text, &file));
    return file;
}

static void begin_anew(struct state_file *file)
{
    char error_text[256];
    assert_status_ok(state_file_reset(file, error_text));
    state_file_seal(file);
}

/* Blobs whose length and bytes tell which step wrote them. */
static void put(struct state_file *file, enum state_table table, size_t i, unsigned step)
{
    size_t len = 20 + 7 * step % 40;
    memset(state_file_room(file), (int)(step * 16 + i), len);
    state_file_put(file, table, i, len);
}

static void put_step(struct state_file *file, unsigned step)
{
    put(file, STATE_RESOURCES, 0, step);
    put(file, STATE_RESOURCES, 1 + step % 2, step);
    put(file, STATE_RECORDS, step % RECORDS, step);
    state_file_commit(file);
}

static bool is_of_step(struct span blob, size_t i, unsigned step)
{
    for (size_t b = 0; b < blob.len; b++) {
        if ((uint8_t)blob.at[b] != (uint8_t)(step * 16 + i)) {
            return false;
        }
    }
    return blob.len == 20 + 7 * step % 40;
}

/* Whether the file is as after a step, in all that this one and the two before it wrote. */
static bool is_after(const struct state_file *file, unsigned step)
{
    return is_of_step(state_file_get(file, STATE_RESOURCES, 0), 0, step) &&
           is_of_step(state_file_get(file, STATE_RESOURCES, 1 + step % 2), 1 + step % 2, step) &&
           is_of_step(state_file_get(file, STATE_RESOURCES, 2 - step % 2), 2 - step % 2,
                      step - 1) &&
           is_of_step(state_file_get(file, STATE_RECORDS, step % RECORDS), step % RECORDS, step) &&
           is_of_step(state_file_get(file, STATE_RECORDS, (step - 1) % RECORDS),
                      (step - 1) % RECORDS, step - 1);
}

static void write_at(int fd, size_t at, const void *bytes, size_t len)
{
    assert_int_equal(pwrite(fd, bytes, len, (off_t)at), len);
}

/* --- kills -------------------------------------------------------------------------------------
 */

struct part {
    size_t from, to;
};

/* In the order of the program: the blobs of an area, its head, the places. */
static const struct part as_written[] = {
    {HEAD + AREA_HEAD, HEAD + AREA},
    {HEAD, HEAD + AREA_HEAD},
    {PLACES - AREA + AREA_HEAD, PLACES},
    {PLACES - AREA, PLACES - AREA + AREA_HEAD},
    {PLACES, PLACES_END},
};

/* Were it the other way round. */
static const struct part head_first[] = {{HEAD, PLACES_END}};

/* The bytes in which two images differ. */
static size_t differences(struct span before, struct span after, const struct part *parts,
                          size_t n_parts, size_t *out)
{
    size_t n = 0;
    assert_int_equal(before.len, PLACES_END);
    assert_int_equal(after.len, PLACES_END);
    for (size_t p = 0; p < n_parts; p++) {
        for (size_t i = parts[p].from; i < parts[p].to; i++) {
            if (before.at[i] != after.at[i]) {
                out[n++] = i;
            }
        }
    }
    return n;
}

/* What steps write: heads and first blobs of the areas, and the places. */
static void restore(int fd, struct span image)
{
    write_at(fd, HEAD, image.at + HEAD, 2 * AREA_HEAD);
    write_at(fd, HEAD + AREA, image.at + HEAD + AREA, 2 * AREA_HEAD);
    write_at(fd, PLACES, image.at + PLACES, PLACES_END - PLACES);
}

/* Everything a kill can leave on the way from one step to the next, one byte after the other. */
static void cut_everywhere(const struct part *parts, size_t n_parts)
{
    struct folder folder = make_folder();
    CLEANUP(arena_drop) struct arena *arena = arena_new(64u << 20);
    struct state_file *file = open_file(&folder);
    begin_anew(file);
    size_t *at = ARENA_ARRAY(arena, size_t, 8192), befores = 0;
    for (unsigned step = 1; step <= 6; step++) {
        put_step(file, step);
    }
    struct span six = harness_read(arena, folder.file);
    put_step(file, 7);
    struct span seven = harness_read(arena, folder.file);
    state_file_close(file);
    size_t n = differences(six, seven, parts, n_parts, at);
    int fd = open(folder.file, O_WRONLY);
    for (size_t cut = 0; cut <= n; cut++) {
        for (size_t i = 0; i < n; i++) { /* all of them: opening repairs */
            write_at(fd, at[i], (i < cut ? seven : six).at + at[i], 1);
        }
        file = open_file(&folder);
        assert_int_equal(state_file_found(file), STATE_KEPT);
        bool before = is_after(file, 6);
        assert_true(before || is_after(file, 7));
        assert_true(!before || befores == cut); /* from one byte on it is this step */
        befores += before;
        put_step(file, before ? 7 : 8); /* and goes on */
        assert_true(is_after(file, before ? 7 : 8));
        state_file_close(file);
        restore(fd, six);
    }
    print_message("# %zu cuts: %zu times the step before, %zu times this one\n", n + 1, befores,
                  n + 1 - befores);
    assert_true(befores > 100 && n - befores > 50);
    close(fd);
    remove_folder(&folder);
}

static void test_a_step_is_whole_wherever_it_is_cut(void **state)
{
    (void)state;
    cut_everywhere(as_written, ARRAY_LEN(as_written));
    cut_everywhere(head_first, ARRAY_LEN(head_first));
}

/* --- damage ------------------------------------------------------------------------------------
 */

static enum state_found found_with(const struct folder *folder, size_t at, uint8_t flip)
{
    uint8_t byte;
    int fd = open(folder->file, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= flip;
    write_at(fd, at, &byte, 1);
    struct state_file *file = open_file(folder);
    enum state_found found = state_file_found(file);
    if (found == STATE_DAMAGED) {
        assert_int_equal(state_file_get(file, STATE_RESOURCES, 0).len, 0);
    } else {
        assert_true(is_after(file, 7));
    }
    state_file_close(file);
    byte ^= flip;
    write_at(fd, at, &byte, 1);
    close(fd);
    return found;
}

/* Wherever a byte changes, it is seen, or it is repaired from the last step. */
static void test_damage_is_seen(void **state)
{
    (void)state;
    struct folder folder = make_folder();
    CLEANUP(arena_drop) struct arena *arena = arena_new(8u << 20);
    struct state_file *file = open_file(&folder);
    begin_anew(file);
    for (unsigned step = 1; step <= 7; step++) {
        put_step(file, step);
    }
    state_file_close(file);
    struct span image = harness_read(arena, folder.file);
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(found_with(&folder, i, 0x10), STATE_DAMAGED);
    }
    size_t seen = 0;
    for (size_t i = HEAD; i < PLACES_END; i++) {
        if (image.at[i] == 0) {
            continue;
        }
        enum state_found found = found_with(&folder, i, 0x04);
        seen += found == STATE_DAMAGED;
        int fd = open(folder.file, O_WRONLY);
        restore(fd, image);
        close(fd);
    }
    print_message("# %zu flipped bytes were seen\n", seen);
    assert_true(seen > 200);
    remove_folder(&folder);
}

static void test_files_that_are_none(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        off_t size;
    } rows[] = {{"empty", 0}, {"short", 10}, {"a page of zeros", 4096}, {"large", 5000000}};
    struct folder folder = make_folder();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        print_message("# %s\n", rows[i].what);
        int fd = open(folder.file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_int_equal(ftruncate(fd, rows[i].size), 0);
        close(fd);
        struct state_file *file = open_file(&folder);
        assert_int_equal(state_file_found(file), rows[i].size == 0 ? STATE_NONE : STATE_DAMAGED);
        assert_true(state_file_grown(file));
        begin_anew(file);
        put_step(file, 1);
        state_file_close(file);
        file = open_file(&folder);
        assert_int_equal(state_file_found(file), STATE_KEPT);
        assert_false(state_file_grown(file));
        /* Cut short while nobody looked. */
        state_file_close(file);
        assert_int_equal(truncate(folder.file, PLACES_END - 1), 0);
        file = open_file(&folder);
        assert_int_equal(state_file_found(file), STATE_DAMAGED);
        state_file_close(file);
    }
    remove_folder(&folder);
}

static void test_what_is_not_sealed_does_not_count(void **state)
{
    (void)state;
    char error_text[256];
    struct folder folder = make_folder();
    struct state_file *file = open_file(&folder);
    assert_status_ok(state_file_reset(file, error_text));
    put_step(file, 1);
    state_file_close(file);
    file = open_file(&folder);
    assert_int_equal(state_file_found(file), STATE_DAMAGED);
    state_file_close(file);
    remove_folder(&folder);
}

/* Found out when the file is made, not by a store to memory that is not there. */
static void test_a_disk_without_room_is_said(void **state)
{
    (void)state;
    char error_text[256] = "";
    struct rlimit before, little;
    struct folder folder = make_folder();
    struct state_file *file = open_file(&folder);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    little = (struct rlimit){.rlim_cur = 1u << 20, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    struct status s = state_file_reset(file, error_text);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_status(s, REASON_STORE_FAILED);
    assert_non_null(strstr(error_text, "File too large"));
    state_file_close(file);
    file = open_file(&folder);
    assert_true(state_file_found(file) != STATE_KEPT);
    begin_anew(file);
    state_file_close(file);
    remove_folder(&folder);
}

/* --- whose it is -------------------------------------------------------------------------------
 */

static void test_one_process_at_a_time(void **state)
{
    (void)state;
    char error_text[256] = "";
    struct folder folder = make_folder();
    struct state_file *file = open_file(&folder), *second = NULL;
    struct status s = try_open(&folder, "boot one", RESOURCES, error_text, &second);
    assert_status(s, REASON_STORE_FAILED);
    print_message("# %s\n", error_text);
    assert_non_null(strstr(error_text, "another process uses it"));
    assert_null(second);
    state_file_close(file);
    file = open_file(&folder);
    state_file_close(file);
    struct folder nowhere = {.path = "/tmp/test_limiter_state.none"};
    assert_status(try_open(&nowhere, "boot one", RESOURCES, error_text, &second),
                  REASON_FILE_UNREADABLE);
    remove_folder(&folder);
}

static void test_another_run_of_the_machine(void **state)
{
    (void)state;
    char error_text[256];
    struct folder folder = make_folder();
    struct state_file *file = open_file(&folder);
    begin_anew(file);
    for (unsigned step = 1; step <= 7; step++) {
        put_step(file, step);
    }
    state_file_close(file);
    assert_status_ok(try_open(&folder, "boot two", RESOURCES, error_text, &file));
    assert_int_equal(state_file_found(file), STATE_OTHER_BOOT);
    assert_true(is_after(file, 7)); /* it can be looked at */
    begin_anew(file);
    assert_int_equal(state_file_get(file, STATE_RESOURCES, 0).len, 0);
    state_file_close(file);
    assert_status_ok(try_open(&folder, "boot two", RESOURCES, error_text, &file));
    assert_int_equal(state_file_found(file), STATE_KEPT);
    state_file_close(file);
    remove_folder(&folder);
}

static void test_it_grows_and_never_shrinks(void **state)
{
    (void)state;
    char error_text[256];
    struct folder folder = make_folder();
    struct state_file *file = open_file(&folder);
    begin_anew(file);
    put_step(file, 1);
    state_file_close(file);
    assert_status_ok(try_open(&folder, "boot one", 1, error_text, &file));
    assert_int_equal(state_file_places(file, STATE_RESOURCES), RESOURCES);
    assert_false(state_file_grown(file));
    state_file_close(file);
    assert_status_ok(try_open(&folder, "boot one", 10, error_text, &file));
    assert_int_equal(state_file_places(file, STATE_RESOURCES), 10);
    assert_true(state_file_grown(file));
    assert_true(is_of_step(state_file_get(file, STATE_RESOURCES, 0), 0, 1));
    assert_int_equal(state_file_get(file, STATE_RESOURCES, 9).len, 0);
    begin_anew(file);
    put(file, STATE_RESOURCES, 9, 3);
    state_file_commit(file);
    assert_true(is_of_step(state_file_get(file, STATE_RESOURCES, 9), 9, 3));
    state_file_close(file);
    remove_folder(&folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_a_step_is_whole_wherever_it_is_cut),
    cmocka_unit_test(test_damage_is_seen),
    cmocka_unit_test(test_files_that_are_none),
    cmocka_unit_test(test_what_is_not_sealed_does_not_count),
    cmocka_unit_test(test_a_disk_without_room_is_said),
    cmocka_unit_test(test_one_process_at_a_time),
    cmocka_unit_test(test_another_run_of_the_machine),
    cmocka_unit_test(test_it_grows_and_never_shrinks),
};

HARNESS_MAIN(tests)
