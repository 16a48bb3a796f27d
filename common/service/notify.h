/*
 * notify - tells a service manager how far the program is: the datagrams of
 * sd_notify(3), to the socket that NOTIFY_SOCKET names.
 *
 * Errors:  none: without a manager, or where it does not listen, nothing happens.
 * Threads: any; the environment is not to change meanwhile.
 */
#ifndef SERVICE_NOTIFY_H
#define SERVICE_NOTIFY_H

#include "common/base/attr.h"

#include <stdint.h>

void notify_ready(void);     /* it can be used; also: the reload is over */
void notify_reloading(void); /* SIGHUP has come */
void notify_stopping(void);
/* How often notify_alive() is wanted, in milliseconds; 0: never. */
uint64_t notify_every_ms(void);
void notify_alive(void);

#endif
