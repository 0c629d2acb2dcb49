/* What the limiter keeps: whatever is taken for a resource or a record is written as what is read
 * again, and a resource can be judged, charged and given other limits. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "limiter/pack.h"
#include "limiter_rules.h"

static const struct engine_rules rules = {LIMITER_RULES};

static void step(struct engine_event event)
{
    static uint64_t stamp = 1u << 20;
    engine_step(&rules, 5000000, ++stamp, &event, 1, NULL);
}

static void use(struct engine_resource *model)
{
    static struct engine_resource suite;
    static struct engine_record record;
    static struct engine_verdict verdict;
    static struct engine_order order;
    engine_resource_init(&suite, SPAN("suite"), 1, ENGINE_POOL, &(struct engine_limits){0}, &rules);
    record = (struct engine_record){0};
    const struct engine_candidate candidate = {.model = model, .model_charge = 10};
    struct engine_acquire acquire = {
        .candidates = &candidate,
        .n_candidates = 1,
        .pools = {&suite},
        .n_pools = 1,
        .record = &record,
        .verdict = &verdict,
    };
    step((struct engine_event){.acquire = &acquire});
    struct engine_report report = {
        .record = &record, .held = {model, &suite}, .outcome = ENGINE_FAILED, .model_tokens = 50};
    step((struct engine_event){.report = &report});
    order = (struct engine_order){.kind = ENGINE_LIMIT,
                                  .resource = model,
                                  .suite = &suite,
                                  .limits = {.requests = 5, .window_ms = 1000}};
    order.limits.version = model->limits.version + 1;
    step((struct engine_event){.order = &order});
    order.limits.version++;
    order.limits.requests = 500;
    step((struct engine_event){.order = &order});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct engine_resource resource, again;
    static struct engine_record record, record_again;
    uint8_t bytes[PACK_RESOURCE_MOST];
    if (unpack_resource(span_of(data, size), &resource)) {
        size_t len = pack_resource(&resource, bytes);
        check(unpack_resource(span_of(bytes, len), &again));
        check(memcmp(&resource, &again, sizeof(resource)) == 0);
        use(&resource);
    }
    if (unpack_record(span_of(data, size), &record)) {
        size_t len = pack_record(&record, bytes);
        /* Of an earlier form all is the same but its number. */
        check(len == size && memcmp(bytes, data, PACK_HEADER) == 0);
        check(memcmp(bytes + PACK_HEADER + 1, data + PACK_HEADER + 1, size - PACK_HEADER - 1) == 0);
        check(unpack_record(span_of(bytes, len), &record_again));
        check(memcmp(&record, &record_again, sizeof(record)) == 0);
    }
    return 0;
}
