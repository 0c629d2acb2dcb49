/*
 * app.h -- the life of one service on a loop: started, served, drained.
 *
 * Floor 5, loop thread. service_main runs one in a process of its own; a test may run several on
 * one loop. The options and what they point to outlive the app.
 */
#ifndef PRISM_APP_APP_H
#define PRISM_APP_APP_H

#include "app/service.h"

struct app_options {
    const struct service_spec *spec;
    const void *config; /* of the program, as config_load filled it */
    struct arena *arena;
    struct loop *loop;
    struct wire *wire;
};

struct app *app_new(const struct app_options *options);
void app_free(struct app *app); /* after app_close */

/* start(), ports, ready file. False: it was said on stderr why, unless it was interrupted. */
bool app_open(struct app *app) NODISCARD PARKS;

/* A start that is under way shall end. */
void app_interrupt(struct app *app);

/* reload() in a task of its own; once more, if one is under way. */
void app_reload(struct app *app);

/* Not ready any more, running calls end within `drain`, stop(), ports closed. Also after an open
 * that failed. */
void app_close(struct app *app) PARKS;

/* Once it is open: what start() made, where it listens. */
void *app_state(const struct app *app);
uint16_t app_port(const struct app *app);
uint16_t app_admin_port(const struct app *app);

#endif
