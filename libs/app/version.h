/* version.h -- which release this is. Floor 5. */
#ifndef PRISM_APP_VERSION_H
#define PRISM_APP_VERSION_H

#define PRISM_VERSION "2.0.0"

#endif
