/*
 * program - main() of every program: flags, settings, log, admin port, signals,
 * drain (design D2, D14, D15).
 *
 * A program is a value that says what is its own: which settings it reads, how
 * to check, start, drain and stop it.  All of them have the flags
 *     --help --version --check --print-config --health
 * and may add more, as rows of program_flag.
 *
 * Exit:    0 after a drain, or when a flag has done what it says; 1 when
 *          --check or --health find a fault; 2 for an unknown flag, a bad
 *          setting, or when it cannot start: one clear line each on stderr.
 * Signals: SIGTERM, SIGINT: not ready, stop taking, finish within
 *          SHUTDOWN_GRACE_S, flush, exit 0; a gateway goes on taking for
 *          DRAIN_DELAY_S after SIGTERM, for a person's Ctrl-C it does not wait.
 *          Once more changes nothing, because a terminal and a supervisor both
 *          send one.  SIGQUIT: ends at once,
 *          also during a drain; a drain that hangs is killed by SIGALRM
 *          PROGRAM_OVERTIME_S after the grace.  SIGHUP: the settings are
 *          read again, of which files may have changed; where they are sound
 *          the log level is taken (from the first line of DATA_DIR/log_level if
 *          that exists) and p->reload is called, else all stays.  All are blocked before the
 *          first thread is made and read from a signalfd by the main thread.
 *          SIGPIPE is ignored.
 * Order:   settings, log, admin port (alive, not ready), start; at the end
 *          drain, admin port, stop: while requests finish, /readyz answers 503
 *          and /metrics still counts them.
 */
#ifndef SERVICE_PROGRAM_H
#define SERVICE_PROGRAM_H

#include "common/base/conf.h"
#include "common/bus/bus.h"
#include "common/obs/health.h"
#include "common/obs/metrics.h"
#include "common/service/figures.h"
#include "common/service/service.h"
#include "common/service/wiring.h"

#include <stdio.h>

#define PROGRAM_OVERTIME_S 10

/* What program_main() has made before p->start, and frees after p->stop. */
struct program_env {
	const struct program *program;
	struct settings conf;
	struct wiring wiring;
	const struct bus_keys
		*keys; /* may hold none: frames then carry no MAC */
	struct metrics *metrics;
	struct health *health;
	struct figures *figures;
	int changed_fd; /* see program_changed() */
};

struct program_env;
struct program_flag {
	const char *name;  /* "--doc" */
	const char *value; /* what follows it, for --help; NULL: nothing */
	const char *help;
	/* Either returns the exit code; value is NULL where none is wanted or
	 * given.  run() before settings are read, run_on() after. */
	int (*run)(const char *value);
	int (*run_on)(struct program_env *env, const char *value);
	bool optional; /* the value */
	/* Or instead: takes all words behind the name. */
	int (*run_words)(struct program_env *env, int n, char **words);
};

struct program {
	const char *name;    /* "kae-auth" */
	const char *service; /* "auth": of its log lines */
	const char *about;   /* one line for --help */
	unsigned who;        /* FOR_ bits of its settings */
	bool one_process;    /* services are at inproc:// */
	unsigned admin_port; /* where ADMIN_PORT is 0 */
	const struct program_flag *flags;
	size_t flags_n;
	const void *arg; /* the program's own: env->program->arg */
	/* --check, beyond the settings: program_checked() for each thing. */
	bool (*check)(struct program_env *env);
	/*
	 * False after a line by program_complain().  What it built so far is
	 * in *state and is given to stop.
	 */
	bool (*start)(struct program_env *env, void **state);
	bool (*ready)(void *state);
	bool (*failed)(void *state); /* NULL: never */
	/* Ready for the first time: lines for people, on a terminal or in
	 * development; NULL: none. */
	void (*announce)(struct program_env *env, void *state, FILE *f);
	/*
	 * SIGHUP: fresh has the settings and keys of now, and goes afterwards.
	 * False after a line on the log, with all as before.  NULL: nothing
	 * more than the log level.
	 */
	bool (*reload)(void *state, const struct program_env *fresh);
	/* delay_ms of grace_ms are for others to see that we are not ready. */
	void (*drain)(void *state, uint64_t delay_ms, uint64_t grace_ms);
	void (*stop)(void *state); /* frees; state may be NULL */
};

int program_main(const struct program *p, int argc, char **argv);

/* For flags that need them: reads the settings; false after complaints. */
bool program_settings(struct program_env *env) MUST_CHECK;
/* Any thread, arg is the env: failed may have become true. */
void program_changed(void *env);
/* "<program>: <words>\n" on stderr. */
void program_complain(const struct program_env *env, const char *fmt, ...)
	PRINTF(2, 3);
/*
 * Runs fn; each line that it writes to complaints goes to stderr behind the
 * program's name.
 */
typedef bool program_step_fn(struct program_env *env, FILE *complaints);
bool program_step(struct program_env *env, program_step_fn *fn) MUST_CHECK;
/* The folders and locks that a single service needs. */
bool program_prepare_service(struct program_env *env, enum bus_peer self,
                             FILE *complaints) MUST_CHECK;
/* False after a complaint. */
bool program_start_service(struct program_env *env,
                           const struct service_def *def,
                           struct service **out) MUST_CHECK;
/* A line of --check on stdout: "ok    settings" or "FAIL  ...: detail";
 * returns ok. */
bool program_checked(bool ok, const char *what, const char *detail);
/* The pool of a service's database, as the settings have it. */
enum err program_open_database(struct program_env *env, enum bus_peer service,
                               struct db_pool **out) MUST_CHECK;
/* --check of a service's database: one round trip. */
bool program_check_database(struct program_env *env, enum bus_peer service);

#endif
