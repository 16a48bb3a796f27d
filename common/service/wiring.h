/*
 * wiring - from settings to addresses: which bus URL a service listens on and
 * which it calls, the keys of the links, its database, the folders and locks
 * that it needs first (design D10, D11, D17).
 *
 * Why:     five programs draw the same conclusions from the same settings; a
 *          rule such as "no tcp without a key" must hold in each of them.
 * Errors:  false after one line on complaints for each fault, in words for who
 *          runs the program.
 * Owns:    URLs that are not inproc point into the settings.  wiring_fini()
 *          wipes the keys.  Locks are held until the process ends.
 * Threads: main() only.
 */
#ifndef SERVICE_WIRING_H
#define SERVICE_WIRING_H

#include "common/base/conf.h"
#include "common/bus/bus.h"
#include "common/db/db.h"

#include <stdio.h>

#define WIRING_URL_MAX 513

struct wiring {
	struct bus_keys keys;
	const char *urls[PEER_COUNT]; /* comma separated; gateway: NULL */
	char listen[PEER_COUNT][WIRING_URL_MAX];
};

/* Settings that are each right and not so together; who: FOR_ bits. */
bool wiring_rules(const struct settings *conf, unsigned who,
                  FILE *complaints) MUST_CHECK;
/* one_process: services are at inproc:// unless their BUS_ variable is set. */
bool wiring_init(struct wiring *w, const struct settings *conf,
                 bool one_process, FILE *complaints) MUST_CHECK;
/* After wiring_init(): the secrets of pairs of programs; who: FOR_ bits. */
bool wiring_peer_keys(struct wiring *w, const struct settings *conf,
                      unsigned who, FILE *complaints) MUST_CHECK;
void wiring_fini(struct wiring *w);

/* Before listening: creates the folder of an ipc socket (0700). */
bool wiring_prepare(const struct wiring *w, enum bus_peer self,
                    FILE *complaints) MUST_CHECK;

/* X_DATABASE_URL, else DATABASE_URL, else SQLite in DATA_DIR; false without
 * memory. */
bool wiring_db_url(const struct settings *conf, enum bus_peer self,
                   struct buf *out) MUST_CHECK;
/* The pool's settings for that URL, which c borrows. */
void wiring_db_conf(const struct settings *conf, enum bus_peer self,
                    struct str url, struct db_conf *c);

/* Creates the folder and those above it (0700); false when it is none or
 * cannot be written to. */
bool wiring_folder(struct str path, FILE *complaints) MUST_CHECK;
/*
 * Keeps other processes away from the SQLite files of the services in who (FOR_
 * bits), until this process ends.  FOR_ALL, the program that is all services,
 * also holds DATA_DIR itself, and alone; the others share their folder with
 * programs of other names.  Nothing to hold on PostgreSQL.
 */
bool wiring_lock(const struct settings *conf, unsigned who, const char *program,
                 FILE *complaints) MUST_CHECK;

#endif
