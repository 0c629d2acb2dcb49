/* How a limiter begins: with what an earlier process has left, or with nothing. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "codec/hash.h"
#include "limiter/home.h"
#include "limiter/limiter.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* --- losing state ------------------------------------------------------------------------------
 */

const char *limiter_loss_text(enum engine_loss loss)
{
    switch (loss) {
    case ENGINE_LOSS_NONE:
        return "";
    case ENGINE_LOSS_NEW:
        return "there is no state of an earlier process";
    case ENGINE_LOSS_DAMAGED:
        return "the state of the earlier process cannot be read";
    case ENGINE_LOSS_BOOT:
        return "the machine was started anew";
    case ENGINE_LOSS_AMNESIA:
        return "grants were made that are not known here";
    }
    return "";
}

static const char *loss_name(enum engine_loss loss)
{
    static const char *const names[] = {"none", "new", "damaged", "boot", "amnesia"};
    return names[loss];
}

/* What was granted and is not known may still count: until it no longer can, nothing is granted. */
static uint64_t closure_ms(const struct limiter *limiter)
{
    const struct engine_rules *rules = &limiter->policy->rules;
    uint64_t longest_ms = rules->lease_ms;
    for (size_t i = 0; i < store_slots(limiter->store); i++) {
        const struct engine_resource *resource = store_resource_at(limiter->store, i);
        uint64_t window_ms = resource != NULL ? resource->limits.window_ms + rules->guard_ms : 0;
        longest_ms = window_ms > longest_ms ? window_ms : longest_ms;
    }
    return longest_ms;
}

void limiter_losing(const struct limiter *limiter, enum engine_loss loss,
                    struct engine_order *order)
{
    bool new_store = limiter->config->assume_new_store && loss != ENGINE_LOSS_AMNESIA;
    order->kind = ENGINE_LOSE;
    order->suite = limiter->suite;
    order->loss = loss;
    order->closed_ms = new_store ? 0 : closure_ms(limiter);
    hash_random(&order->epoch, sizeof(order->epoch));
}

void limiter_lost(const struct limiter *limiter, const struct engine_order *order)
{
    METRIC_ADD(limiter->metrics.losses_total, 1, loss_name(order->loss));
    METRIC_ADD(limiter->metrics.closed_seconds_total, (double)order->closed_ms / 1000,
               loss_name(order->loss));
    if (order->closed_ms > 0) {
        LOG(WARN, "nothing is granted for a time: calls that are not known may still count",
            KV("why", limiter_loss_text(order->loss)), KV("ms", order->closed_ms));
    }
}

void limiter_lose(struct limiter *limiter, enum engine_loss loss)
{
    CLEANUP(alloc_drop) struct engine_order *order = ALLOC(struct engine_order);
    limiter_losing(limiter, loss, order);
    limiter_step(limiter, (struct engine_event){.order = order});
    limiter_lost(limiter, order);
}

/* --- beginning ---------------------------------------------------------------------------------
 */

static struct status open_file(const struct limiter *limiter, size_t resources,
                               char error_text[256], struct state_file **out)
{
    CLEANUP(buf_clear) struct buf boot;
    buf_init(&boot, 39);
    const char *why = file_read(BOOT_ID, &boot);
    if (why != NULL) {
        return status_of(REASON_FILE_UNREADABLE, BOOT_ID " cannot be read");
    }
    const struct state_file_options options = {
        .folder = limiter->config->state_dir,
        .boot = buf_cstr(&boot),
        .resources = resources,
        .records = limiter->config->records,
    };
    return state_file_open(&options, error_text, out);
}

bool limiter_limits(const struct limiter *limiter, const struct engine_resource *resource,
                    struct engine_limits *out)
{
    const struct policy *policy = limiter->policy;
    struct span name = span_str(resource->name), prefix = SPAN("tenant:");
    const struct catalogue_target *target =
        catalogue_find_target(policy->catalogue, resource->name);
    if (resource->kind == ENGINE_MODEL && target != NULL) {
        *out = policy_model(policy, &target->model);
        return true;
    }
    bool tenant = span_starts(name, prefix);
    const struct engine_limits *pool =
        tenant ? policy_tenant(policy, span_from(name, prefix.len)) : &policy->suite;
    if (resource->kind == ENGINE_MODEL || pool == NULL ||
        (!tenant && !span_eq(name, SPAN("suite")))) {
        return false;
    }
    *out = *pool;
    return true;
}

/* What the file has becomes what policy and catalogue want now. */
static void adopt(struct limiter *limiter, bool counted)
{
    const struct engine_rules *rules = &limiter->policy->rules;
    CLEANUP(alloc_drop) struct engine_window *scratch = ALLOC(struct engine_window);
    for (size_t i = 0; i < store_slots(limiter->store); i++) {
        struct engine_resource *resource = store_resource_at(limiter->store, i);
        struct engine_limits limits;
        if (resource == NULL) {
            continue;
        }
        if (!limiter_limits(limiter, resource, &limits)) {
            store_resource_drop(limiter->store, resource);
            continue;
        }
        if (!counted) {
            engine_resource_forget(resource, rules);
        }
        engine_resource_adopt(resource, &limits, rules, home_now_ms(limiter), scratch);
    }
}

/* Says what state this process goes on with. */
static enum state_found load(struct limiter *limiter, const struct state_file *file)
{
    enum state_found found = file != NULL ? state_file_found(file) : STATE_NONE;
    bool kept = found == STATE_KEPT;
    if ((kept || found == STATE_OTHER_BOOT) &&
        (!store_load(limiter->store, kept, home_now_ms(limiter)) ||
         store_resource(limiter->store, SPAN("suite")) == NULL)) {
        store_clear(limiter->store);
        return STATE_DAMAGED;
    }
    adopt(limiter, kept);
    return found;
}

static struct engine_resource *ensure(struct limiter *limiter, const char *name,
                                      enum engine_kind kind, const struct engine_limits *limits,
                                      uint64_t keep_ms)
{
    struct engine_resource *resource = store_resource(limiter->store, span_str(name));
    if (resource == NULL) {
        resource = store_resource_add(limiter->store, span_str(name), kind, limits,
                                      home_now_ms(limiter), keep_ms);
    }
    return resource;
}

static bool ensure_model(struct limiter *limiter, const struct catalogue_target *target,
                         uint64_t keep_ms)
{
    struct engine_limits limits = policy_model(limiter->policy, &target->model);
    if (ensure(limiter, target->name, ENGINE_MODEL, &limits, keep_ms) == NULL) {
        return false;
    }
    if (target->model.concurrency > ENGINE_LEASES_MOST) {
        LOG(WARN, "concurrency is beyond what is counted, so it is no limit",
            KV("model", target->name), KV("concurrency", target->model.concurrency),
            KV("most", ENGINE_LEASES_MOST));
    }
    return true;
}

/* Those that the catalogue in force does not know and nobody has used. */
static void drop_new_models(struct limiter *limiter, const struct catalogue *catalogue)
{
    for (size_t i = 0; i < catalogue->n_targets; i++) {
        const char *name = catalogue->targets[i].name;
        struct engine_resource *resource = store_resource(limiter->store, span_str(name));
        if (resource != NULL && resource->header.seq == 0 &&
            catalogue_find_target(limiter->policy->catalogue, name) == NULL) {
            store_resource_drop(limiter->store, resource);
        }
    }
}

bool limiter_take_models(struct limiter *limiter, const struct catalogue *catalogue,
                         uint64_t keep_ms)
{
    for (size_t i = 0; i < catalogue->n_targets; i++) {
        if (!ensure_model(limiter, &catalogue->targets[i], keep_ms)) {
            drop_new_models(limiter, catalogue);
            return false;
        }
    }
    for (size_t i = 0; i < catalogue->n_targets; i++) {
        limiter->models[i] = store_resource(limiter->store, span_str(catalogue->targets[i].name));
    }
    return true;
}

struct status limiter_begin(struct limiter *limiter, size_t resources, char error_text[256])
{
    static const enum engine_loss losses[] = {
        [STATE_KEPT] = ENGINE_LOSS_NONE,
        [STATE_NONE] = ENGINE_LOSS_NEW,
        [STATE_DAMAGED] = ENGINE_LOSS_DAMAGED,
        [STATE_OTHER_BOOT] = ENGINE_LOSS_BOOT,
    };
    struct state_file *file = NULL;
    bool shared = strcmp(limiter->config->store, "redis") == 0;
    if (shared && limiter->config->state_dir[0] != '\0') {
        return status_of(REASON_CONFIG_INVALID, "state_dir: the state is in Redis");
    }
    if (limiter->config->state_dir[0] != '\0') {
        TRY(open_file(limiter, resources, error_text, &file));
        resources = state_file_places(file, STATE_RESOURCES);
    }
    limiter->store = store_new(&(struct store_options){
        .rules = &limiter->policy->rules,
        .resources = resources,
        .records = limiter->config->records,
        .file = file,
    });
    limiter->audit = audit_new(resources);
    enum state_found found = load(limiter, file);
    limiter->suite = ensure(limiter, "suite", ENGINE_POOL, &limiter->policy->suite, ENGINE_NEVER);
    if (!limiter_take_models(limiter, limiter->policy->catalogue, ENGINE_NEVER)) {
        return status_of(REASON_CONFIG_INVALID, "tenant_pools: more of them are in use");
    }
    if (shared) { /* Redis will tell */
        return STATUS_SUCCESS;
    }
    if (found != STATE_KEPT) {
        limiter_lose(limiter, losses[found]);
    }
    TRY(store_follow(limiter->store,
                     found != STATE_KEPT || (file != NULL && state_file_grown(file)), error_text));
    if (found == STATE_KEPT) {
        LOG(INFO, "goes on with the state of the process before",
            KV("resources", store_resources(limiter->store)),
            KV("records", store_records(limiter->store)));
    }
    return STATUS_SUCCESS;
}
