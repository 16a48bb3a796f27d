#include "common/service/program.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/obs/otlp.h"
#include "common/service/notify.h"
#include "common/service/probe.h"
#include "common/service/process.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define EXIT_FAULT  1
#define EXIT_REFUSE 2

#define CHECK_DB_MS   5000
#define LAST_SPANS_MS 1000

/* --- words for people -------------------------------------------------------- */

static void complain(const char *name, const char *fmt, va_list ap)
	PRINTF(2, 0);

static void complain(const char *name, const char *fmt, va_list ap)
{
	char text[600];

	/* In one write, so that lines of several programs stay whole. */
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	(void)fprintf(stderr, "%s: %s\n", name, text);
}

void program_complain(const struct program_env *env, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(env->program->name, fmt, ap);
	va_end(ap);
}

static int usage_fault(const struct program *p, const char *fmt, ...)
	PRINTF(2, 3);

static int usage_fault(const struct program *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(p->name, fmt, ap);
	va_end(ap);
	return EXIT_REFUSE;
}

bool program_checked(bool ok, const char *what, const char *detail)
{
	(void)printf("%-5s %s%s%s\n", ok ? "ok" : "FAIL", what,
	             *detail ? ": " : "", detail);
	return ok;
}

enum err program_open_database(struct program_env *env, enum bus_peer service,
                               struct db_pool **out)
{
	AUTO_BUF url = {0};
	struct db_conf c;

	if (!wiring_db_url(&env->conf, service, &url))
		return ERR_NOMEM;
	wiring_db_conf(&env->conf, service, buf_view(&url), &c);
	return db_pool_new(&c, out);
}

bool program_check_database(struct program_env *env, enum bus_peer service)
{
	AUTO(db_pool) pool = NULL;
	char what[48];
	enum err e = program_open_database(env, service, &pool);

	(void)snprintf(what, sizeof(what), "database of %s",
	               bus_peer_name(service));
	if (!e)
		e = db_pool_ping(pool, mono_ms() + CHECK_DB_MS);
	return program_checked(!e, what, e ? err_text(e) : "");
}

/* --- what program_main() makes ------------------------------------------------- */

static void env_fini(struct program_env *env)
{
	figures_free(env->figures);
	metrics_free(env->metrics);
	health_free(env->health);
	wiring_fini(&env->wiring);
	conf_fini(&env->conf);
	if (env->changed_fd >= 0)
		(void)close(env->changed_fd);
}

/* Prefixes every line of complaints with the program's name. */
static void tell(const struct program *p, struct str lines)
{
	while (lines.n) {
		struct str line = str_cut(&lines, '\n');

		if (line.n)
			(void)fprintf(stderr, "%s: %.*s\n", p->name,
			              STR_FMT(line));
	}
}

bool program_step(struct program_env *env, program_step_fn *fn)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	bool ok;

	if (!f)
		return false;
	ok = fn(env, f);
	if (fclose(f) == 0)
		tell(env->program, (struct str){text, n});
	free(text);
	return ok;
}

static bool load(struct program_env *env, FILE *complaints)
{
	const struct program *p = env->program;

	if (!conf_load(&env->conf, p->who, complaints) ||
	    !wiring_rules(&env->conf, p->who, complaints) ||
	    !wiring_init(&env->wiring, &env->conf, p->one_process,
	                 complaints) ||
	    !wiring_peer_keys(&env->wiring, &env->conf, p->who, complaints))
		return false;
	env->keys = &env->wiring.keys;
	return true;
}

/* Of the settings alone, also of those that would not start. */
static bool load_settings(struct program_env *env, FILE *complaints)
{
	return conf_load(&env->conf, env->program->who, complaints);
}

static bool env_init(struct program_env *env)
{
	enum log_level level;

	if (!program_step(env, load))
		return false;
	if (log_level_from_str(env->conf.log_level, &level))
		atomic_store(&log_threshold, (int)level);
	return true;
}

static unsigned admin_port_of(const struct program_env *env)
{
	return env->conf.admin_port ? (unsigned)env->conf.admin_port
	                            : env->program->admin_port;
}

bool program_prepare_service(struct program_env *env, enum bus_peer self,
                             FILE *complaints)
{
	return wiring_folder(env->conf.data_dir, complaints) &&
	       wiring_prepare(&env->wiring, self, complaints) &&
	       wiring_lock(&env->conf, env->program->who, env->program->name,
	                   complaints);
}

bool program_start_service(struct program_env *env,
                           const struct service_def *def, struct service **out)
{
	const char *listen = env->wiring.listen[def->self];
	struct service_env se = {.conf = &env->conf,
	                         .metrics = env->metrics,
	                         .health = env->health,
	                         .figures = env->figures,
	                         .changed = program_changed,
	                         .arg = env,
	                         .listen = listen,
	                         .keys = env->keys};
	enum err e;

	memcpy(se.urls, env->wiring.urls, sizeof(se.urls));
	se.urls[def->self] = NULL;
	e = service_start(def, &se, out);
	if (e == ERR_EXISTS)
		program_complain(env, "%s: already in use by another program",
		                 listen);
	else if (e)
		program_complain(env, "%s cannot start at %s: %s", def->name,
		                 listen, err_text(e));
	return e == OK;
}

/* --- flags -------------------------------------------------------------------- */

static int do_version(struct program_env *env)
{
	(void)printf("%s %s\n", env->program->name, KAE_VERSION);
	return 0;
}

static int do_check(struct program_env *env)
{
	bool ok = env_init(env);

	/* What is wrong with the settings has been told on stderr. */
	if (!program_checked(ok, "settings", ""))
		return EXIT_FAULT;
	if (env->program->check)
		ok = env->program->check(env);
	return ok ? 0 : EXIT_FAULT;
}

static int do_print_config(struct program_env *env)
{
	if (!program_step(env, load_settings))
		return EXIT_REFUSE;
	conf_print(&env->conf, env->program->who, stdout);
	return 0;
}

static int do_health(struct program_env *env)
{
	bool ok;

	if (!program_step(env, load_settings))
		return EXIT_FAULT;
	ok = probe_ready(env->conf.admin_bind.p, admin_port_of(env));
	(void)printf("%s\n", ok ? "ready" : "not ready");
	return ok ? 0 : EXIT_FAULT;
}

static int do_help(struct program_env *env);

static const struct common_flag {
	const char *name, *help;
	int (*run)(struct program_env *env);
} common_flags[] = {
	{"--help", "this text", do_help},
	{"--version", "name and version", do_version},
	{"--check", "test settings and database, change nothing; exit 0 or 1",
         do_check},
	{"--print-config", "the settings in force, secrets as ***",
         do_print_config},
	{"--health", "ask the running program's /readyz; exit 0 or 1",
         do_health},
};

static void print_flag(const char *name, const char *value, const char *help)
{
	int n = printf("  %s%s%s", name, value ? " " : "", value ? value : "");

	(void)printf("%*s%s\n", n < 22 ? 22 - n : 2, "", help);
}

static int do_help(struct program_env *env)
{
	const struct program *p = env->program;

	(void)printf("%s - %s\n\nWithout a flag it runs.\n", p->name, p->about);
	for (size_t i = 0; i < COUNTOF(common_flags); i++)
		print_flag(common_flags[i].name, NULL, common_flags[i].help);
	for (size_t i = 0; i < p->flags_n; i++)
		print_flag(p->flags[i].name, p->flags[i].value,
		           p->flags[i].help);
	(void)printf("\nSettings are environment variables:\n");
	conf_help(p->who, stdout);
	return 0;
}

bool program_settings(struct program_env *env)
{
	return env_init(env);
}

/* The program's own flag; -1: it has none of that name. */
static int run_own_flag(struct program_env *env, int argc, char **argv)
{
	const struct program *p = env->program;

	for (size_t i = 0; i < p->flags_n; i++) {
		const struct program_flag *f = &p->flags[i];
		const char *value = f->value && argc == 3 ? argv[2] : NULL;

		if (strcmp(argv[1], f->name) != 0)
			continue;
		if (f->run_words)
			return f->run_words(env, argc - 2, argv + 2);
		if (argc != (value ? 3 : 2) ||
		    (f->value && !f->optional && !value))
			return usage_fault(p, "usage: %s %s%s%s", p->name,
			                   f->name, f->value ? " " : "",
			                   f->value ? f->value : "");
		if (!f->run_on)
			return f->run(value);
		return env_init(env) ? f->run_on(env, value) : EXIT_REFUSE;
	}
	return -1;
}

static int run_flag(struct program_env *env, int argc, char **argv)
{
	int code = run_own_flag(env, argc, argv);

	if (code >= 0)
		return code;
	for (size_t i = 0; argc == 2 && i < COUNTOF(common_flags); i++)
		if (strcmp(argv[1], common_flags[i].name) == 0)
			return common_flags[i].run(env);
	return usage_fault(env->program, "unknown flag %s; try --help",
	                   argv[argc - 1]);
}

/* --- signals ------------------------------------------------------------------- */

static const int handled[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP};

/* Before the first thread, so that all threads have them blocked. */
static bool block_signals(int *fd)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (size_t i = 0; i < COUNTOF(handled); i++)
		sigaddset(&set, handled[i]);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
		return false;
	*fd = signalfd(-1, &set, SFD_CLOEXEC);
	return *fd >= 0;
}

static int read_signal(int fd)
{
	struct signalfd_siginfo info;

	return read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)
	               ? (int)info.ssi_signo
	               : 0;
}

void program_changed(void *env)
{
	const struct program_env *e = env;
	const uint64_t one = 1;

	/* Fails only when it has been told 2^64 times before. */
	if (write(e->changed_fd, &one, sizeof(one)) < 0)
		return;
}

static void end_now(void)
{
	log_info(NULL, "service.killed");
	log_stop();
	_exit(0);
}

/* conf: as it is now. */
static void reread_log_level(const struct settings *conf)
{
	char path[600], text[16] = "";
	struct str name = conf->log_level;
	enum log_level level;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%.*s/log_level",
	               STR_FMT(conf->data_dir));
	f = fopen(path, "re");
	if (f) {
		if (fgets(text, sizeof(text), f))
			text[strcspn(text, "\r\n")] = '\0';
		name = str_from(text);
		(void)fclose(f);
	}
	if (!log_level_from_str(name, &level)) {
		log_warn(NULL, "log.level_unknown", LOG_STR("log_level", name));
		return;
	}
	atomic_store(&log_threshold, (int)level);
	log_info(NULL, "log.level", LOG_STR("log_level", name));
}

/* --- run ------------------------------------------------------------------------- */

struct running {
	struct program_env *env;
	const struct program *p;
	void *state;
	uint64_t started_ms;
	uint64_t delay_ms; /* of the drain */
	int signals;
	bool announced;
	uint64_t end_by_ms; /* when the grace is over */
};

static void ready_once(struct running *r)
{
	const struct program_env *env = r->env;

	if (r->announced || !r->p->ready(r->state))
		return;
	r->announced = true;
	log_info(NULL, "service.ready", LOG_TEXT("version", KAE_VERSION),
	         LOG_U64("ms", mono_ms() - r->started_ms));
	notify_ready();
	if (r->p->announce &&
	    (env->conf.env == ENV_DEVELOPMENT || isatty(STDERR_FILENO)))
		r->p->announce(r->env, r->state, stderr);
}

/* How often one that is not ready yet is asked again. */
#define READY_POLL_MS 5

/* Each line of text is a fault. */
static void refuse_reload(struct str text)
{
	while (text.n) {
		struct str line = str_cut(&text, '\n');

		if (line.n)
			log_error(NULL, "config.reload_refused",
			          LOG_STR("reason", line));
	}
}

/* What has changed since the start, of what may. */
static bool load_fresh(struct program_env *env, FILE *complaints)
{
	const struct program *p = env->program;

	return conf_reload(&env->conf, p->who, complaints) &&
	       wiring_rules(&env->conf, p->who, complaints) &&
	       wiring_init(&env->wiring, &env->conf, p->one_process,
	                   complaints) &&
	       wiring_peer_keys(&env->wiring, &env->conf, p->who, complaints);
}

static bool may_rekey(const struct program_env *env,
                      const struct program_env *fresh, FILE *complaints)
{
	bool ok = !env->keys->all.n == !fresh->keys->all.n;

	if (!ok)
		(void)fprintf(complaints, "BUS_KEY: frames begin and cease to "
		                          "be signed with a restart\n");
	return ok;
}

static void take_fresh(struct running *r, const struct program_env *fresh)
{
	struct bus_keys *mine = &r->env->wiring.keys;
	bool same = bus_keys_same(mine, fresh->keys);

	reread_log_level(&fresh->conf);
	if (r->p->reload && !r->p->reload(r->state, fresh))
		return;
	mine->all = fresh->keys->all;
	memcpy(mine->with, fresh->keys->with, sizeof(mine->with));
	if (!same)
		log_info(NULL, "bus.rekeyed");
}

static void reload(struct running *r)
{
	struct program_env fresh = {.program = r->p, .changed_fd = -1};
	char *text = NULL;
	size_t n = 0;
	FILE *complaints = open_memstream(&text, &n);
	bool sound;

	fresh.keys = &fresh.wiring.keys;
	if (!complaints) {
		refuse_reload(STR("out of memory"));
		return;
	}
	sound = load_fresh(&fresh, complaints) &&
	        may_rekey(r->env, &fresh, complaints);
	if (fclose(complaints) == 0)
		refuse_reload((struct str){text, n});
	free(text);
	if (sound)
		take_fresh(r, &fresh);
	env_fini(&fresh);
}

/* Until a signal or a failure ends it; the exit code. */
static int serve(struct running *r)
{
	struct pollfd fds[] = {{.fd = r->signals, .events = POLLIN},
	                       {.fd = r->env->changed_fd, .events = POLLIN}};
	const uint64_t alive_ms = notify_every_ms();
	const int doze = alive_ms && alive_ms < INT_MAX ? (int)alive_ms : -1;

	for (;;) {
		uint64_t told;
		int sig = 0;

		if (alive_ms)
			notify_alive();
		if (r->p->failed && r->p->failed(r->state))
			return EXIT_REFUSE;
		ready_once(r);
		if (poll(fds, COUNTOF(fds),
		         r->announced ? doze : READY_POLL_MS) < 0 &&
		    errno != EINTR)
			return EXIT_FAULT;
		if (fds[1].revents & POLLIN &&
		    read(fds[1].fd, &told, sizeof(told)) < 0)
			return EXIT_FAULT;
		if (fds[0].revents & POLLIN)
			sig = read_signal(r->signals);
		if (sig == SIGQUIT)
			end_now();
		if (sig == SIGTERM)
			r->delay_ms = r->env->conf.drain_delay_s * 1000;
		if (sig == SIGTERM || sig == SIGINT) {
			notify_stopping();
			return 0;
		}
		if (sig == SIGHUP) {
			notify_reloading();
			reload(r);
			if (r->announced)
				notify_ready();
		}
	}
}

/* A drain may hang in code that is not ours: two ways out of it. */
static void arm_end(const struct settings *conf)
{
	sigset_t quit;

	sigemptyset(&quit);
	sigaddset(&quit, SIGQUIT);
	sigaddset(&quit, SIGALRM);
	(void)signal(SIGQUIT, SIG_DFL);
	(void)pthread_sigmask(SIG_UNBLOCK, &quit, NULL);
	(void)alarm((unsigned)conf->grace_s + PROGRAM_OVERTIME_S);
}

static int run_with_admin(struct running *r)
{
	struct program_env *env = r->env;
	const struct admin_conf conf = {.bind = env->conf.admin_bind.p,
	                                .port = admin_port_of(env),
	                                .metrics = env->metrics,
	                                .health = env->health};
	AUTO(admin) admin = NULL;
	enum err e = admin_start(&conf, &admin);
	int code = EXIT_REFUSE;

	if (e) {
		program_complain(env, "ADMIN_PORT %u on %s: %s", conf.port,
		                 conf.bind,
		                 e == ERR_EXISTS
		                         ? "already in use by another program"
		                         : err_text(e));
		return code;
	}
	log_info(NULL, "service.starting", LOG_TEXT("version", KAE_VERSION),
	         LOG_TEXT("environment", env_name(env->conf.env)),
	         LOG_TEXT("admin_bind", conf.bind),
	         LOG_U64("admin_port", admin_port(admin)));
	if (r->p->start(env, &r->state)) {
		code = serve(r);
		log_info(NULL, "service.draining",
		         LOG_U64("delay_s", r->delay_ms / 1000),
		         LOG_U64("grace_s", env->conf.grace_s));
	}
	arm_end(&env->conf);
	r->end_by_ms = mono_ms() + (code ? 0 : env->conf.grace_s * 1000);
	if (r->state)
		r->p->drain(r->state, r->delay_ms,
		            code ? 0 : env->conf.grace_s * 1000);
	admin_stop(STEAL(admin));
	if (r->state)
		r->p->stop(r->state);
	log_info(NULL, "service.stopped", LOG_I64("code", code));
	return code;
}

/* Spans are sent until the last thread that makes any is gone. */
static int run_traced(struct running *r)
{
	struct program_env *env = r->env;
	struct otlp *otlp = NULL;
	uint64_t least_ms;
	int code = EXIT_REFUSE;

	if (otlp_start(&env->conf, env->metrics, &otlp)) {
		program_complain(env, "out of memory");
		return code;
	}
	code = run_with_admin(r);
	/* The requests may have used up the grace. */
	least_ms = mono_ms() + LAST_SPANS_MS;
	otlp_stop(otlp, r->end_by_ms > least_ms ? r->end_by_ms : least_ms);
	return code;
}

static int run(struct program_env *env)
{
	struct process_info info = {env->program->name, KAE_VERSION, 0};
	struct running r = {.env = env,
	                    .p = env->program,
	                    .started_ms = mono_ms(),
	                    .signals = -1};
	int code = EXIT_REFUSE;

	if (!block_signals(&r.signals) || !env_init(env))
		return code;
	env->changed_fd = eventfd(0, EFD_CLOEXEC);
	env->metrics = metrics_new();
	env->health = health_new();
	env->figures = env->metrics ? figures_new(env->metrics) : NULL;
	if (env->changed_fd < 0 || !env->health || !env->figures ||
	    !process_metrics(env->metrics, &info) ||
	    !log_start(STDOUT_FILENO, r.p->service)) {
		program_complain(env, "out of memory");
	} else {
		bus_global_init();
		code = run_traced(&r);
		log_stop();
	}
	(void)close(r.signals);
	return code;
}

int program_main(const struct program *p, int argc, char **argv)
{
	struct program_env env = {.program = p, .changed_fd = -1};
	int code = argc > 1 ? run_flag(&env, argc, argv) : run(&env);

	if (fflush(stdout) != 0 && code == 0)
		code = EXIT_FAULT;
	env_fini(&env);
	return code;
}
