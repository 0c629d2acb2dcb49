/* prism-analyzer: the process. */
#include "analyzer/analyzer.h"

int main(int argc, char **argv)
{
    return service_main(argc, argv, &analyzer_spec);
}
