/* interop_server: grpc.testing.TestService as a process of the suite's kind. */
#include "app/service.h"
#include "fake/interop.h"

#define OWN_OPTIONS                                                                                \
    CONFIG(address, listen, "127.0.0.1:10000", "", "where gRPC is served")                         \
    CONFIG(address, admin, "127.0.0.1:10010", "", "metrics and probes")

struct interop_config {
#define CONFIG CONFIG_FIELD
#define CONFIG_ALIAS(name, env)
#include "app/common.def"
    OWN_OPTIONS
#undef CONFIG
#undef CONFIG_ALIAS
};

static const struct config_row rows[] = {
#define CONFIG(...)  CONFIG_ROW(struct interop_config, __VA_ARGS__)
#define CONFIG_ALIAS CONFIG_ROW_ALIAS
#include "app/common.def"
    OWN_OPTIONS};

static struct status start(struct app *app, const void *config, void **state) PARKS
{
    static struct rpc_service services[1]; /* outlives the server */
    (void)config;
    services[0] = interop_service();
    app_serve(app, services, ARRAY_LEN(services));
    *state = NULL;
    return STATUS_SUCCESS;
}

static void stop(struct app *app, void *state) PARKS
{
    (void)app;
    (void)state;
}

int main(int argc, char **argv)
{
    static const struct service_spec spec = {
        .config = {.program = "interop_server",
                   .env = "PRISM_INTEROP_",
                   .about = "Serves grpc.testing.TestService for gRPC's interoperability cases.",
                   .usage = "",
                   .rows = rows,
                   .n_rows = ARRAY_LEN(rows)},
        .config_size = sizeof(struct interop_config),
        .address_offset = offsetof(struct interop_config, listen),
        .admin_offset = offsetof(struct interop_config, admin),
        .start = start,
        .stop = stop,
    };
    return service_main(argc, argv, &spec);
}
