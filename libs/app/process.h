/*
 * process.h -- what the kernel knows about this process, and which build it is, as metrics.
 *
 * Floor 5, loop thread: process_* as Prometheus' own clients name them, prism_build_info.
 */
#ifndef PRISM_APP_PROCESS_H
#define PRISM_APP_PROCESS_H

#include <stdint.h>

/* Registers the families; they are read at each scrape. */
void process_metrics_start(void);

/* Raises the soft limit of open files to the hard one; returns what holds now. */
uint64_t process_raise_open_files(void);

#endif
