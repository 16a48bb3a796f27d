/*
 * service_main - main() of a program that is one service.
 */
#include "common/service/program.h"
#include "common/service/service.h"

#include <assert.h>

static const struct {
	const char *program, *about;
	unsigned who, admin_port;
} kinds[PEER_COUNT] = {
	[PEER_AUTH] = {"kae-auth", "accounts, keys and tokens", FOR_AUTH, 9401},
	[PEER_CONTENT] = {"kae-content", "subtopics, explanations and quizzes",
                          FOR_CONTENT, 9402},
	[PEER_GDPR] = {"kae-gdpr", "progress, ranks and privacy", FOR_GDPR,
                       9403},
};

static const struct service_def *def_of(const struct program_env *env)
{
	return env->program->arg;
}

static bool check(struct program_env *env)
{
	return program_check_database(env, def_of(env)->self);
}

static bool prepare(struct program_env *env, FILE *complaints)
{
	return program_prepare_service(env, def_of(env)->self, complaints);
}

static bool start(struct program_env *env, void **state)
{
	struct service *sv = NULL;
	bool ok = program_step(env, prepare) &&
	          program_start_service(env, def_of(env), &sv);

	*state = sv;
	return ok;
}

static bool ready(void *state)
{
	return service_ready(state);
}

static bool failed(void *state)
{
	return service_failed(state);
}

static void announce(struct program_env *env, void *state, FILE *f)
{
	(void)state;
	(void)fprintf(f, "%s %s listens on %s\n", env->program->name,
	              KAE_VERSION, env->wiring.listen[def_of(env)->self]);
}

static bool reload(void *state, const struct program_env *fresh)
{
	return service_rekey(state, fresh->keys) == OK;
}

/* Callers learn of it over the bus, at once. */
static void drain(void *state, uint64_t delay_ms, uint64_t grace_ms)
{
	(void)delay_ms;
	service_drain(state, grace_ms);
}

static void stop(void *state)
{
	service_stop(state, 0);
}

int service_main(const struct service_def *def, int argc, char **argv)
{
	const struct program p = {
		.name = kinds[def->self].program,
		.service = def->name,
		.about = kinds[def->self].about,
		.who = kinds[def->self].who,
		.admin_port = kinds[def->self].admin_port,
		.flags = def->flags,
		.flags_n = def->flags_n,
		.arg = def,
		.check = check,
		.start = start,
		.ready = ready,
		.failed = failed,
		.announce = announce,
		.reload = reload,
		.drain = drain,
		.stop = stop,
	};

	assert(p.name);
	return program_main(&p, argc, argv);
}
