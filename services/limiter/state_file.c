/*
 * The file: a head, two redo areas, the places.
 *
 * A step is written to one redo area, then copied to its places; the next step uses the other area.
 * So at any moment one area is whole: the last one, which is copied again at the start, or, while
 * an area is being written, the one before it, whose copies were complete by then.
 */
#include "limiter/state_file.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "codec/hash.h"

#define HEAD_SIZE      4096
#define AREA_SIZE      (5u << 18)
#define AREA_DATA      2048 /* where the blobs of an area begin */
#define RESOURCE_PLACE 10240
#define RECORD_PLACE   256
#define PLACES_MOST    (1u << 23)
#define VERSION        2

static const char magic[8] = {'p', 'r', 'i', 's', 'm', 'l', 'i', 'm'};

/* All numbers are little-endian. */
struct head {
    char magic[8];
    uint32_t version;
    uint32_t resources;
    uint32_t records;
    char boot[40];
    uint32_t crc; /* of what is in front of it */
};

struct item {
    uint32_t place;
    uint32_t len;
    uint32_t crc; /* of the blob */
};

/* The blobs lie behind each other from AREA_DATA on, each at a multiple of 8. */
struct area {
    uint32_t crc; /* of what is behind it, up to the last item */
    uint32_t n;
    uint64_t seq;
    struct item items[STATE_STEP_MOST];
};

/* The bytes follow. */
struct place {
    uint32_t len;
    uint32_t crc;
};

_Static_assert(sizeof(struct area) <= AREA_DATA, "items fit in front of the blobs");
_Static_assert(STATE_STEP_MOST *RESOURCE_PLACE <= AREA_SIZE - AREA_DATA, "blobs fit in an area");

struct state_file {
    char path[4096];
    char boot[40];
    int fd;
    uint8_t *at;
    size_t size;
    enum state_found found;
    size_t resources, records;               /* it has */
    size_t resources_wanted, records_wanted; /* it will have */
    uint64_t seq;                            /* of the step that is being put */
    size_t n;                                /* its blobs so far */
    size_t end;                              /* of the last of them in the area */
};

/* A kill between two stores leaves them in the order of the program, if the compiler does. */
static void in_order(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

static uint32_t crc_of(const void *at, size_t len)
{
    return hash_crc32c(0, span_of(at, len));
}

static size_t aligned(size_t len)
{
    return (len + 7) & ~(size_t)7;
}

/* --- layout ------------------------------------------------------------------------------------
 */

static size_t size_for(size_t resources, size_t records)
{
    return HEAD_SIZE + 2 * AREA_SIZE + resources * RESOURCE_PLACE + records * RECORD_PLACE;
}

static struct area *area_of(const struct state_file *file, uint64_t seq)
{
    return (struct area *)(file->at + HEAD_SIZE + (seq % 2) * AREA_SIZE);
}

static struct place *place_of(const struct state_file *file, size_t place)
{
    uint8_t *first = file->at + HEAD_SIZE + 2 * AREA_SIZE;
    size_t resources = place < file->resources ? place : file->resources;
    return (struct place *)(first + resources * RESOURCE_PLACE +
                            (place - resources) * RECORD_PLACE);
}

static size_t most_of(const struct state_file *file, size_t place)
{
    return (place < file->resources ? RESOURCE_PLACE : RECORD_PLACE) - sizeof(struct place);
}

static uint8_t *bytes_of(struct place *place)
{
    return (uint8_t *)(place + 1);
}

/* --- what is found -----------------------------------------------------------------------------
 */

static bool read_head(struct state_file *file)
{
    struct head head;
    if (file->size < HEAD_SIZE) {
        return false;
    }
    memcpy(&head, file->at, sizeof(head));
    size_t resources = le32toh(head.resources), records = le32toh(head.records);
    if (memcmp(head.magic, magic, sizeof(magic)) != 0 || le32toh(head.version) != VERSION ||
        le32toh(head.crc) != crc_of(&head, offsetof(struct head, crc)) || resources > PLACES_MOST ||
        records > PLACES_MOST || file->size != size_for(resources, records)) {
        return false;
    }
    file->resources = resources;
    file->records = records;
    file->found =
        memcmp(head.boot, file->boot, sizeof(head.boot)) == 0 ? STATE_KEPT : STATE_OTHER_BOOT;
    return true;
}

static uint32_t area_crc(const struct area *area, size_t n)
{
    return crc_of(&area->n, offsetof(struct area, items) - offsetof(struct area, n) +
                                n * sizeof(struct item));
}

static bool area_whole(const struct state_file *file, const struct area *area)
{
    size_t n = le32toh(area->n), at = AREA_DATA;
    if (n > STATE_STEP_MOST || le32toh(area->crc) != area_crc(area, n)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const struct item *item = &area->items[i];
        size_t place = le32toh(item->place), len = le32toh(item->len);
        if (place >= file->resources + file->records || len > most_of(file, place) ||
            le32toh(item->crc) != crc_of((const uint8_t *)area + at, len)) {
            return false;
        }
        at += aligned(len);
    }
    return true;
}

static void area_copy(struct state_file *file, const struct area *area)
{
    size_t at = AREA_DATA;
    for (size_t i = 0; i < le32toh(area->n); i++) {
        const struct item *item = &area->items[i];
        struct place *place = place_of(file, le32toh(item->place));
        place->len = item->len;
        place->crc = item->crc;
        memcpy(bytes_of(place), (const uint8_t *)area + at, le32toh(item->len));
        at += aligned(le32toh(item->len));
    }
}

static bool area_is_copied(const struct state_file *file, const struct area *area)
{
    size_t at = AREA_DATA;
    for (size_t i = 0; i < le32toh(area->n); i++) {
        const struct item *item = &area->items[i];
        struct place *place = place_of(file, le32toh(item->place));
        if (place->len != item->len ||
            memcmp(bytes_of(place), (const uint8_t *)area + at, le32toh(item->len)) != 0) {
            return false;
        }
        at += aligned(le32toh(item->len));
    }
    return true;
}

/* Finishes the last step. False: the file is not as a kill can have left it. */
static bool redo(struct state_file *file)
{
    struct area *areas[] = {area_of(file, 0), area_of(file, 1)};
    bool whole[] = {area_whole(file, areas[0]), area_whole(file, areas[1])};
    uint64_t seqs[] = {le64toh(areas[0]->seq), le64toh(areas[1]->seq)};
    if (!whole[0] && !whole[1]) {
        return false;
    }
    size_t last = whole[0] && whole[1] ? seqs[1] > seqs[0] : whole[1];
    file->seq = seqs[last] + 1;
    if (seqs[last] % 2 != last) {
        return false;
    }
    if (!whole[!last]) { /* it was being written: the one before it was done */
        return area_is_copied(file, areas[last]);
    }
    area_copy(file, areas[last]);
    return seqs[!last] + 1 == seqs[last];
}

static bool places_whole(const struct state_file *file)
{
    for (size_t i = 0; i < file->resources + file->records; i++) {
        struct place *place = place_of(file, i);
        size_t len = le32toh(place->len);
        if (len > most_of(file, i) ||
            (len > 0 && le32toh(place->crc) != crc_of(bytes_of(place), len))) {
            return false;
        }
    }
    return true;
}

static void look(struct state_file *file)
{
    file->found = STATE_DAMAGED;
    if (file->size == 0) {
        file->found = STATE_NONE;
    } else if (!read_head(file) || !redo(file) || !places_whole(file)) {
        file->found = STATE_DAMAGED;
    }
    if (file->found == STATE_NONE || file->found == STATE_DAMAGED) {
        file->resources = file->records = 0;
    }
}

/* --- opening -----------------------------------------------------------------------------------
 */

static struct status fail(const struct state_file *file, enum reason reason, const char *why,
                          char error_text[256])
{
    snprintf(error_text, 256, "%.150s: %s", file->path, why);
    return status_of(reason, error_text);
}

static bool map(struct state_file *file, size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
    if (at == MAP_FAILED) {
        return false;
    }
    file->at = at;
    file->size = size;
    return true;
}

static struct status open_file(struct state_file *file, char error_text[256])
{
    struct stat stat;
    file->fd = open(file->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file->fd < 0) {
        return fail(file, REASON_FILE_UNREADABLE, strerror(errno), error_text);
    }
    if (flock(file->fd, LOCK_EX | LOCK_NB) != 0) {
        return fail(file, REASON_STORE_FAILED,
                    errno == EWOULDBLOCK ? "another process uses it" : strerror(errno), error_text);
    }
    if (fstat(file->fd, &stat) != 0 || (stat.st_size > 0 && !map(file, (size_t)stat.st_size))) {
        return fail(file, REASON_FILE_UNREADABLE, strerror(errno), error_text);
    }
    look(file);
    file->resources_wanted =
        file->resources > file->resources_wanted ? file->resources : file->resources_wanted;
    file->records_wanted =
        file->records > file->records_wanted ? file->records : file->records_wanted;
    return STATUS_SUCCESS;
}

struct status state_file_open(const struct state_file_options *options, char error_text[256],
                              struct state_file **out)
{
    struct state_file *file = ALLOC(struct state_file);
    snprintf(file->path, sizeof(file->path), "%s/" STATE_FILE_NAME, options->folder);
    snprintf(file->boot, sizeof(file->boot), "%s", options->boot);
    file->resources_wanted = options->resources;
    file->records_wanted = options->records;
    check(options->resources <= PLACES_MOST && options->records <= PLACES_MOST);
    struct status s = open_file(file, error_text);
    if (!status_ok(s)) {
        state_file_close(file);
        return s;
    }
    *out = file;
    return STATUS_SUCCESS;
}

void state_file_close(struct state_file *file)
{
    if (file == NULL) {
        return;
    }
    if (file->at != NULL) {
        munmap(file->at, file->size);
    }
    if (file->fd >= 0) {
        close(file->fd);
    }
    free(file);
}

enum state_found state_file_found(const struct state_file *file)
{
    return file->found;
}

bool state_file_grown(const struct state_file *file)
{
    return file->resources_wanted > file->resources || file->records_wanted > file->records;
}

size_t state_file_places(const struct state_file *file, enum state_table table)
{
    return table == STATE_RESOURCES ? file->resources_wanted : file->records_wanted;
}

struct span state_file_get(const struct state_file *file, enum state_table table, size_t i)
{
    if (i >= (table == STATE_RESOURCES ? file->resources : file->records)) {
        return SPAN_NONE;
    }
    struct place *place = place_of(file, table == STATE_RESOURCES ? i : file->resources + i);
    return span_of(bytes_of(place), le32toh(place->len));
}

/* --- steps -------------------------------------------------------------------------------------
 */

uint8_t *state_file_room(struct state_file *file)
{
    file->end = file->n == 0 ? AREA_DATA : file->end;
    check(file->n < STATE_STEP_MOST);
    return (uint8_t *)area_of(file, file->seq) + file->end;
}

void state_file_put(struct state_file *file, enum state_table table, size_t i, size_t len)
{
    const uint8_t *room = state_file_room(file);
    size_t place = table == STATE_RESOURCES ? i : file->resources + i;
    check(i < (table == STATE_RESOURCES ? file->resources : file->records));
    check(len <= most_of(file, place));
    area_of(file, file->seq)->items[file->n++] = (struct item){
        .place = htole32((uint32_t)place),
        .len = htole32((uint32_t)len),
        .crc = htole32(crc_of(room, len)),
    };
    file->end += aligned(len);
}

void state_file_commit(struct state_file *file)
{
    struct area *area = area_of(file, file->seq);
    if (file->n == 0) {
        return;
    }
    area->n = htole32((uint32_t)file->n);
    area->seq = htole64(file->seq);
    area->crc = htole32(area_crc(area, file->n));
    in_order();
    area_copy(file, area);
    in_order();
    file->seq++;
    file->n = 0;
}

/* --- beginning anew ----------------------------------------------------------------------------
 */

struct status state_file_reset(struct state_file *file, char error_text[256])
{
    size_t size = size_for(file->resources_wanted, file->records_wanted);
    if (file->at != NULL) {
        munmap(file->at, file->size);
        file->at = NULL;
    }
    /* Allocated, not only as long: a full disk must not be found out by a store to memory. */
    int why = ftruncate(file->fd, 0) != 0 ? errno : posix_fallocate(file->fd, 0, (off_t)size);
    if (why != 0) {
        return fail(file, why == ENOSPC ? REASON_STORE_FULL : REASON_STORE_FAILED, strerror(why),
                    error_text);
    }
    if (!map(file, size)) {
        return fail(file, REASON_STORE_FAILED, strerror(errno), error_text);
    }
    file->resources = file->resources_wanted;
    file->records = file->records_wanted;
    for (uint64_t seq = 0; seq < 2; seq++) {
        struct area *area = area_of(file, seq);
        area->seq = htole64(seq);
        area->crc = htole32(area_crc(area, 0));
    }
    file->seq = 2;
    file->n = 0;
    return STATUS_SUCCESS;
}

void state_file_seal(struct state_file *file)
{
    struct head head = {
        .version = htole32(VERSION),
        .resources = htole32((uint32_t)file->resources),
        .records = htole32((uint32_t)file->records),
    };
    memcpy(head.magic, magic, sizeof(magic));
    memcpy(head.boot, file->boot, sizeof(head.boot));
    head.crc = htole32(crc_of(&head, offsetof(struct head, crc)));
    in_order();
    memcpy(file->at, &head, sizeof(head));
    file->found = STATE_KEPT;
}
