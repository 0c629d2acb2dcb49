#include "simulator/cache.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/map.h"

#define LIFE_US    300e6
#define BLOCK_MOST (128u << 20)

struct entry {
    uint64_t tokens;
    uint64_t until_us;
};

struct cache {
    double life_us;
    struct map *entries; /* digest -> entry */
};

struct cache *cache_new(double speed)
{
    struct cache *cache = ALLOC(struct cache);
    cache->life_us = LIFE_US / speed;
    cache->entries = map_new();
    return cache;
}

void cache_free(struct cache *cache)
{
    if (cache == NULL) {
        return;
    }
    for (struct map_entry *e = map_first(cache->entries); e != NULL; e = map_next(e)) {
        free(map_value(e));
    }
    map_free(cache->entries);
    free(cache);
}

static struct span key_of(const uint8_t digest[HASH_SHA256_SIZE])
{
    return span_of(digest, HASH_SHA256_SIZE);
}

/* --- looking ------------------------------------------------------------------------------------
 */

/* Along the blocks of a prompt; each one's digest covers all before it. */
struct walk {
    struct cache *cache;
    const struct request *request;
    struct cache_use *use;
    uint64_t now_us;
    size_t points; /* that were passed */
    uint8_t digest[HASH_SHA256_SIZE];
};

static void look_up(struct walk *walk)
{
    struct entry *entry = map_get(walk->cache->entries, key_of(walk->digest));
    if (entry != NULL && entry->until_us > walk->now_us) {
        entry->until_us = walk->now_us + (uint64_t)walk->cache->life_us;
        walk->use->read = entry->tokens;
    }
}

static void pass_point(struct walk *walk)
{
    struct cache_use *use = walk->use;
    uint64_t tokens = walk->request->cache_points[walk->points++];
    if (tokens >= walk->request->model->cache_least) {
        memcpy(use->kept[use->n].digest, walk->digest, sizeof(walk->digest));
        use->kept[use->n++].tokens = tokens;
    }
}

static void add_to_digest(struct walk *walk, struct span role, struct span text)
{
    struct hash_sha256 *hash = hash_sha256_begin();
    hash_sha256_add(hash, key_of(walk->digest));
    hash_sha256_add(hash, role);
    hash_sha256_add(hash, text);
    hash_sha256_end(hash, walk->digest);
}

static void pass_block(struct walk *walk, struct span role, struct span block, bool point)
{
    add_to_digest(walk, role, block);
    look_up(walk);
    if (point) {
        pass_point(walk);
    }
}

/* Where a mark stands is no part of what it marks. */
static bool add_unmarked(struct buf *out, const struct json *block)
{
    struct span key;
    const struct json *value;
    bool marked = false;
    for (size_t i = 0; json_member(block, i, &key, &value); i++) {
        if (span_eq(key, SPAN("cache_control"))) {
            marked = true;
            continue;
        }
        buf_add_span(out, key);
        buf_add_char(out, ':');
        json_add(out, value);
        buf_add_char(out, ',');
    }
    return marked;
}

static bool is_through(const struct walk *walk)
{
    return walk->points == walk->request->n_cache_points;
}

static void walk_content(struct walk *walk, struct span role, const struct json *content)
{
    if (json_type(content) == JSON_STRING && !is_through(walk)) {
        pass_block(walk, role, json_string(content), false);
    }
    for (size_t i = 0; i < json_count(content) && !is_through(walk); i++) {
        CLEANUP(buf_clear) struct buf block;
        buf_init(&block, BLOCK_MOST);
        bool marked = add_unmarked(&block, json_at(content, i));
        pass_block(walk, role, buf_span(&block), marked);
    }
}

static void walk_tools(struct walk *walk, const struct json *tools)
{
    bool marked = false;
    CLEANUP(buf_clear) struct buf all;
    buf_init(&all, BLOCK_MOST);
    for (size_t i = 0; i < json_count(tools); i++) {
        marked |= add_unmarked(&all, json_at(tools, i));
    }
    if (json_count(tools) > 0) {
        pass_block(walk, SPAN("tools"), buf_span(&all), marked);
    }
}

/* Messages under another budget are others; tools and system stay the same. */
static void walk_thinking(struct walk *walk, const struct json *thinking)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, BLOCK_MOST);
    if (thinking != NULL) {
        json_add(&text, thinking);
        add_to_digest(walk, SPAN("thinking"), buf_span(&text));
    }
}

void cache_look(struct cache *cache, const struct json *body, const struct request *request,
                uint64_t now_us, struct cache_use *out)
{
    struct walk walk = {.cache = cache, .request = request, .use = out, .now_us = now_us};
    const struct json *messages = json_get(body, "messages");
    *out = (struct cache_use){0};
    if (cache == NULL || request->n_cache_points == 0) {
        return;
    }
    hash_sha256(span_str(request->model->id), walk.digest);
    walk_tools(&walk, json_get(body, "tools"));
    walk_content(&walk, SPAN("system"), json_get(body, "system"));
    walk_thinking(&walk, json_get(body, "thinking"));
    for (size_t i = 0; i < json_count(messages); i++) {
        const struct json *message = json_at(messages, i);
        walk_content(&walk, json_string(json_get(message, "role")), json_get(message, "content"));
    }
    if (out->n > 0 && out->kept[out->n - 1].tokens > out->read) {
        out->write = out->kept[out->n - 1].tokens - out->read;
    }
}

/* --- keeping ------------------------------------------------------------------------------------
 */

static void drop(struct cache *cache, struct map_entry *e)
{
    free(map_remove(cache->entries, map_key(e)));
}

/* Those whose time is over, and the first when there were none. */
static void make_room(struct cache *cache, uint64_t now_us)
{
    struct map_entry *next;
    for (struct map_entry *e = map_first(cache->entries); e != NULL; e = next) {
        const struct entry *entry = map_value(e);
        next = map_next(e);
        if (entry->until_us <= now_us) {
            drop(cache, e);
        }
    }
    if (map_count(cache->entries) >= CACHE_MOST) {
        drop(cache, map_first(cache->entries));
    }
}

void cache_keep(struct cache *cache, const struct cache_use *use, uint64_t now_us)
{
    for (size_t i = 0; i < use->n; i++) {
        struct entry *entry = map_get(cache->entries, key_of(use->kept[i].digest));
        if (entry == NULL) {
            if (map_count(cache->entries) >= CACHE_MOST) {
                make_room(cache, now_us);
            }
            entry = ALLOC(struct entry);
            map_set(cache->entries, key_of(use->kept[i].digest), entry);
        }
        *entry = (struct entry){use->kept[i].tokens, now_us + (uint64_t)cache->life_us};
    }
}
