/* prism-router: the process. */
#include "router/router.h"

int main(int argc, char **argv)
{
    return service_main(argc, argv, &router_spec);
}
