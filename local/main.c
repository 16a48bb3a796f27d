/*
 * knowalledge - everything in one process: the gateway and the three services
 * over inproc://, SQLite in DATA_DIR, the memory cache (design D2).
 *
 * One admin port, where every service is a part: /readyz/auth and so on.
 * At the end the gateway goes first, so that what it has taken is answered;
 * gdpr goes last, so that the events of the others still arrive.
 */
#include "common/base/clock.h"
#include "common/service/program.h"
#include "gateway/gateway.h"
#include "local/backup.h"
#include "local/network_policies.h"
#include "local/openapi.h"
#include "local/privacy_doc.h"
#include "svc-auth/service.h"
#include "svc-content/image/worker.h"
#include "svc-content/service.h"
#include "svc-gdpr/audit_check.h"
#include "svc-gdpr/receipt_cli.h"
#include "svc-gdpr/service.h"

#include <stdlib.h>

static const struct service_def *const defs[] = {
	&gdpr_service,
	&content_service,
	&auth_service,
};

struct all {
	struct gateway *gateway;
	struct service *services[COUNTOF(defs)];
};

static bool check_settings(struct program_env *env, FILE *complaints)
{
	return gateway_check(&env->conf, complaints);
}

static bool check(struct program_env *env)
{
	bool ok = program_checked(program_step(env, check_settings), "gateway",
	                          "");
	const char *wrong = ok ? gateway_check_certificate(&env->conf) : NULL;

	if (ok && env->conf.ssl_certfile.n)
		ok = program_checked(!wrong, "certificate", wrong ? wrong : "");
	for (size_t i = 0; i < COUNTOF(defs); i++)
		ok &= program_check_database(env, defs[i]->self);
	return ok;
}

static bool prepare(struct program_env *env, FILE *complaints)
{
	bool ok = gateway_check(&env->conf, complaints) &&
	          wiring_lock(&env->conf, env->program->who, env->program->name,
	                      complaints);

	for (size_t i = 0; ok && i < COUNTOF(defs); i++)
		ok = wiring_prepare(&env->wiring, defs[i]->self, complaints);
	return ok;
}

static bool start_gateway(struct program_env *env,
                          struct service *const *services, struct gateway **out)
{
	struct gateway_env ge = {.conf = &env->conf,
	                         .metrics = env->metrics,
	                         .health = env->health,
	                         .keys = env->keys};
	enum err e;

	memcpy(ge.urls, env->wiring.urls, sizeof(ge.urls));
	for (size_t i = 0; i < COUNTOF(defs); i++)
		ge.near[defs[i]->self] =
			(struct near){service_at_once, services[i]};
	e = gateway_start(&ge, out);
	if (e == ERR_EXISTS)
		program_complain(env,
		                 "PORT %llu on %s is in use by another program",
		                 (unsigned long long)env->conf.port,
		                 env->conf.bind.p);
	else if (e)
		program_complain(env, "the gateway cannot start on %s: %s",
		                 env->conf.bind.p, err_text(e));
	return e == OK;
}

static bool start(struct program_env *env, void **state)
{
	struct all *all = calloc(1, sizeof(*all));
	bool ok = all != NULL;

	if (!ok)
		program_complain(env, "out of memory");
	*state = all;
	ok = ok && program_step(env, prepare);
	for (size_t i = 0; ok && i < COUNTOF(defs); i++)
		ok = program_start_service(env, defs[i], &all->services[i]);
	return ok && start_gateway(env, all->services, &all->gateway);
}

static bool ready(void *state)
{
	const struct all *all = state;

	for (size_t i = 0; i < COUNTOF(defs); i++)
		if (!service_ready(all->services[i]))
			return false;
	return gateway_ready(all->gateway);
}

static bool failed(void *state)
{
	const struct all *all = state;

	for (size_t i = 0; i < COUNTOF(defs); i++)
		if (service_failed(all->services[i]))
			return true;
	return false;
}

static void announce(struct program_env *env, void *state, FILE *f)
{
	const struct all *all = state;
	const struct settings *c = &env->conf;

	(void)fprintf(f,
	              "\n  KnowAllEdge %s is ready.\n"
	              "  Address      %s://%s:%u\n"
	              "  Admin key    %s%.*s%s\n"
	              "  Stop         Ctrl-C\n\n",
	              KAE_VERSION, gateway_scheme(c), c->bind.p,
	              gateway_port(all->gateway),
	              c->admin_api_key.n ? "the one in ADMIN_API_KEY" : "",
	              c->admin_api_key.n ? 0 : (int)c->data_dir.n,
	              c->data_dir.p, c->admin_api_key.n ? "" : "/admin.key");
}

/* The gateway first, which looks at what it is given. */
static bool reload(void *state, const struct program_env *fresh)
{
	struct all *all = state;
	bool ok = gateway_reload(all->gateway, &fresh->conf, fresh->keys);

	for (size_t i = 0; ok && i < COUNTOF(defs); i++)
		ok = service_rekey(all->services[i], fresh->keys) == OK;
	return ok;
}

/* One time for all, since one after the other uses it. */
static void drain(void *state, uint64_t delay_ms, uint64_t grace_ms)
{
	struct all *all = state;
	uint64_t end_ms = mono_ms() + grace_ms;

	if (all->gateway)
		gateway_drain(all->gateway, delay_ms, grace_ms);
	for (size_t i = COUNTOF(defs); i-- > 0;)
		service_drain(all->services[i], clock_left(end_ms, mono_ms()));
}

static void stop(void *state)
{
	struct all *all = state;

	gateway_stop(all->gateway, 0);
	for (size_t i = COUNTOF(defs); i-- > 0;)
		service_stop(all->services[i], 0);
	free(all);
}

static int print_doc(const char *value)
{
	static const struct {
		const char *name;
		void (*write)(FILE *f);
	} docs[] = {{"openapi", openapi_write},
	            {"privacy", privacy_document},
	            {"export", export_schema},
	            {"policies", network_policies}};

	for (size_t i = 0; i < COUNTOF(docs); i++) {
		if (strcmp(docs[i].name, value) == 0) {
			docs[i].write(stdout);
			return 0;
		}
	}
	(void)fprintf(stderr,
	              "knowalledge: --doc takes openapi, privacy, export or "
	              "policies\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct program_flag flags[] = {
		{.name = "--doc",
	         .value = "openapi|privacy|export|policies",
	         .help = "a document made from its tables",
	         .run = print_doc},
		AUDIT_CHECK_FLAG,
		RECEIPT_FLAG,
		BACKUP_FLAG,
	};
	static const struct program knowalledge = {
		.name = "knowalledge",
		.service = "knowalledge",
		.about = "a backend for learning, all in one process",
		.who = FOR_ALL,
		.one_process = true,
		.admin_port = 9400,
		.flags = flags,
		.flags_n = COUNTOF(flags),
		.check = check,
		.start = start,
		.ready = ready,
		.failed = failed,
		.announce = announce,
		.reload = reload,
		.drain = drain,
		.stop = stop,
	};

	if (worker_is_asked(argc, argv))
		return worker_main(argv);
	return program_main(&knowalledge, argc, argv);
}
