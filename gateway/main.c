/*
 * kae-gateway - HTTP and JSON for clients, msgpack on the bus for services.
 */
#include "common/service/program.h"
#include "gateway/doc.h"
#include "gateway/gateway.h"

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
	return ok;
}

static bool start(struct program_env *env, void **state)
{
	struct gateway_env ge = {.conf = &env->conf,
	                         .metrics = env->metrics,
	                         .health = env->health,
	                         .keys = env->keys};
	struct gateway *g = NULL;
	enum err e;

	if (!program_step(env, check_settings))
		return false;
	memcpy(ge.urls, env->wiring.urls, sizeof(ge.urls));
	e = gateway_start(&ge, &g);
	*state = g;
	if (e == ERR_EXISTS)
		program_complain(env,
		                 "PORT %llu on %s is in use by another program",
		                 (unsigned long long)env->conf.port,
		                 env->conf.bind.p);
	else if (e)
		program_complain(env, "cannot start on %s: %s",
		                 env->conf.bind.p, err_text(e));
	return e == OK;
}

static bool ready(void *state)
{
	return gateway_ready(state);
}

static void announce(struct program_env *env, void *state, FILE *f)
{
	(void)fprintf(f, "kae-gateway %s is ready at %s://%s:%u\n", KAE_VERSION,
	              gateway_scheme(&env->conf), env->conf.bind.p,
	              gateway_port(state));
}

static bool reload(void *state, const struct program_env *fresh)
{
	return gateway_reload(state, &fresh->conf, fresh->keys);
}

static void drain(void *state, uint64_t delay_ms, uint64_t grace_ms)
{
	gateway_drain(state, delay_ms, grace_ms);
}

static void stop(void *state)
{
	gateway_stop(state, 0);
}

static int print_routes(const char *value)
{
	(void)value;
	doc_routes(stdout);
	return 0;
}

static int print_audit(const char *value)
{
	(void)value;
	return doc_audit(stdout) ? 0 : 1;
}

static int print_doc(const char *value)
{
	static const struct {
		const char *name;
		void (*write)(FILE *f);
	} docs[] = {{"config", conf_document},
	            {"gone", conf_document_gone},
	            {"env", conf_env_example},
	            {"errors", doc_errors}};

	for (size_t i = 0; i < COUNTOF(docs); i++) {
		if (strcmp(docs[i].name, value) == 0) {
			docs[i].write(stdout);
			return 0;
		}
	}
	(void)fprintf(stderr,
	              "kae-gateway: --doc takes config, gone, env or errors\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct program_flag flags[] = {
		{.name = "--routes",
	         .help = "every route, who may call it and why",
	         .run = print_routes},
		{.name = "--audit-auth",
	         .help = "what anyone may call and why; fails on a route without a "
	                 "reason",
	         .run = print_audit},
		{.name = "--doc",
	         .value = "config|gone|env|errors",
	         .help = "a document made from its table",
	         .run = print_doc},
	};
	static const struct program gateway = {
		.name = "kae-gateway",
		.service = "gateway",
		.about = "HTTP and JSON outside, msgpack on the bus inside",
		.who = FOR_GATEWAY,
		.admin_port = 9400,
		.flags = flags,
		.flags_n = COUNTOF(flags),
		.check = check,
		.start = start,
		.ready = ready,
		.announce = announce,
		.reload = reload,
		.drain = drain,
		.stop = stop,
	};

	return program_main(&gateway, argc, argv);
}
