/* prism-limiter: the process. */
#include "limiter/limiter.h"

int main(int argc, char **argv)
{
    return service_main(argc, argv, &limiter_spec);
}
