#include "app/process.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include "app/version.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/metric.h"

#define STAT_MOST 4096

static const char *const no_labels[] = {NULL};

uint64_t process_raise_open_files(void)
{
    struct rlimit limit;
    check(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    (void)!setrlimit(RLIMIT_NOFILE, &limit);
    check(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    return limit.rlim_cur;
}

/* /proc/self/stat behind the program's name, which may hold blanks; see proc(5). */
enum {
    STAT_USER_TIME = 14,
    STAT_SYSTEM_TIME = 15,
    STAT_START_TIME = 22,
    STAT_VIRTUAL_BYTES = 23,
    STAT_RESIDENT_PAGES = 24,
    STAT_FIELDS,
};

static bool read_stat(uint64_t fields[STAT_FIELDS])
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, STAT_MOST);
    if (file_read("/proc/self/stat", &text) != NULL) {
        return false;
    }
    struct span rest = buf_span(&text), word;
    while (span_find_char(rest, ')') != SPAN_MISSING) {
        rest = span_from(rest, span_find_char(rest, ')') + 1);
    }
    rest = span_trim(rest);
    for (size_t i = 3; i < STAT_FIELDS; i++) {
        if (!span_cut(&rest, ' ', &word)) {
            return false;
        }
        fields[i] = 0;
        (void)span_parse_u64(word, &fields[i]);
    }
    return true;
}

static double open_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    double n = 0;
    if (folder == NULL) {
        return 0;
    }
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        n += entry->d_name[0] != '.';
    }
    closedir(folder);
    return n - 1; /* the folder itself */
}

static void collect(void *arg)
{
    (void)arg;
    uint64_t fields[STAT_FIELDS];
    struct rlimit limit;
    if (!read_stat(fields)) {
        return;
    }
    double ticks = (double)sysconf(_SC_CLK_TCK);
    double cpu = (double)(fields[STAT_USER_TIME] + fields[STAT_SYSTEM_TIME]) / ticks;
    struct metric *cpu_total = metric_counter("process_cpu_seconds_total", "",
                                              "User and system CPU time spent in seconds.");
    double counted = metric_value(cpu_total, no_labels);
    metric_add(cpu_total, cpu > counted ? cpu - counted : 0, no_labels);
    const struct {
        const char *name;
        const char *help;
        double value;
    } gauges[] = {
        {"process_resident_memory_bytes", "Resident memory size in bytes.",
         (double)fields[STAT_RESIDENT_PAGES] * (double)sysconf(_SC_PAGESIZE)},
        {"process_virtual_memory_bytes", "Virtual memory size in bytes.",
         (double)fields[STAT_VIRTUAL_BYTES]},
        {"process_open_fds", "Number of open file descriptors.", open_files()},
        {"process_max_fds", "Maximum number of open file descriptors.",
         getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (double)limit.rlim_cur : 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(gauges); i++) {
        metric_set(metric_gauge(gauges[i].name, "", gauges[i].help), gauges[i].value, no_labels);
    }
}

/* Once and in whole seconds: a value that trembles looks like restarts. */
static void set_start_time(void)
{
    uint64_t fields[STAT_FIELDS];
    if (!read_stat(fields)) {
        return;
    }
    uint64_t age_ms =
        clock_boot_ms() - fields[STAT_START_TIME] * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
    METRIC_SET(metric_gauge("process_start_time_seconds", "",
                            "Start time of the process since unix epoch in seconds."),
               (double)((clock_wall_ms() - age_ms) / 1000));
}

void process_metrics_start(void)
{
    METRIC_SET(metric_gauge("prism_build_info", "version,compiler",
                            "Constant 1, labelled with the build's version and compiler."),
               1, PRISM_VERSION, "gcc " __VERSION__);
    set_start_time();
    metric_on_collect(collect, NULL);
}
