#include "svc-auth/life.h"

#include "svc-auth/auth.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define START_DEADLINE_MS  30000
#define UPKEEP_DEADLINE_MS 10000
#define LAST_DEADLINE_MS   1000
#define UPKEEP_ARENA_MAX   ((size_t)1 << 20)
#define USED_EVERY_MS      2000
#define PRUNE_EVERY_MS     60000

struct life {
	struct service *sv;
	struct auth *auth;
	pthread_t upkeep;
	pthread_mutex_t lock; /* of stopping */
	pthread_cond_t wake;
	bool stopping;
};

static void kick(void *arg)
{
	struct life *l = arg;

	service_kick(l->sv);
}

static void push(void *arg, struct str bytes)
{
	struct life *l = arg;

	service_push(l->sv, bytes);
}

static struct ctx own_ctx(struct arena *arena, uint64_t ms, char rid[UUID_MAX])
{
	return (struct ctx){.service = "auth",
	                    .arena = arena,
	                    .deadline_ms = mono_ms() + ms,
	                    .rid = uuid7(rid),
	                    .role = ROLE_SERVICE,
	                    .principal = "auth"};
}

/* --- the upkeep thread ---------------------------------------------------- */

/* Sleeps until the time or until the end; true: the end. */
static bool doze(struct life *l, uint64_t until_ms)
{
	struct timespec ts = {(time_t)(until_ms / 1000),
	                      (long)(until_ms % 1000) * 1000000};
	GUARD(&l->lock);

	while (!l->stopping)
		if (pthread_cond_timedwait(&l->wake, &l->lock, &ts) ==
		    ETIMEDOUT)
			break;
	return l->stopping;
}

static void *upkeep(void *arg)
{
	struct {
		unsigned task;
		uint64_t every_ms, due_ms;
	} plan[] = {
		{TASK_KEYS, SIGNING_RELOAD_MS, 0},
		{TASK_USED, USED_EVERY_MS, 0},
		{TASK_PRUNE, PRUNE_EVERY_MS, 0},
		{TASK_FAILED, USED_EVERY_MS, 0},
	};
	struct life *l = arg;
	AUTO(arena) arena = arena_new(UPKEEP_ARENA_MAX);
	uint64_t next = mono_ms() + USED_EVERY_MS;
	char rid[UUID_MAX];

	while (!doze(l, next)) {
		uint64_t now = mono_ms();
		unsigned tasks = 0;

		for (size_t i = 0; i < COUNTOF(plan); i++) {
			if (plan[i].due_ms > now)
				continue;
			tasks |= plan[i].task;
			plan[i].due_ms = now + plan[i].every_ms;
		}
		next = now + USED_EVERY_MS;
		/* Without memory for an arena the turn is left out. */
		if (!arena)
			arena = arena_new(UPKEEP_ARENA_MAX);
		if (arena) {
			struct ctx cx = own_ctx(arena, UPKEEP_DEADLINE_MS, rid);

			auth_upkeep(l->auth, &cx, tasks, wall_ms());
			arena_reset(arena);
		}
	}
	if (arena) {
		struct ctx cx = own_ctx(arena, LAST_DEADLINE_MS, rid);

		auth_upkeep(l->auth, &cx, TASK_LAST, wall_ms());
	}
	return NULL;
}

/* --- start and stop ------------------------------------------------------- */

static bool run_upkeep(struct life *l)
{
	pthread_condattr_t attr;
	bool ok = pthread_condattr_init(&attr) == 0;

	if (!ok)
		return false;
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	ok = pthread_cond_init(&l->wake, &attr) == 0;
	(void)pthread_condattr_destroy(&attr);
	if (!ok)
		return false;
	if (pthread_mutex_init(&l->lock, NULL))
		goto no_lock;
	if (pthread_create(&l->upkeep, NULL, upkeep, l))
		goto no_thread;
	(void)pthread_setname_np(l->upkeep, "auth-upkeep");
	return true;
no_thread:
	(void)pthread_mutex_destroy(&l->lock);
no_lock:
	(void)pthread_cond_destroy(&l->wake);
	return false;
}

static enum err start_auth(struct life *l)
{
	const struct auth_conf conf = {
		.settings = service_conf(l->sv),
		.pool = service_pool(l->sv),
		.keys = service_root_keys(l->sv),
		.root = service_root_key(l->sv),
		.events = service_events(l->sv),
		.idem = service_idem(l->sv),
		.erase = service_erase(l->sv),
		.kick = kick,
		.push = push,
		.arg = l,
	};
	AUTO(arena) arena = arena_new(UPKEEP_ARENA_MAX);
	char rid[UUID_MAX];
	struct ctx cx = own_ctx(arena, START_DEADLINE_MS, rid);

	return arena ? auth_new(&conf, &cx, &l->auth) : ERR_NOMEM;
}

enum err auth_start(struct service *sv, void **state)
{
	struct life *l = calloc(1, sizeof(*l));
	enum err e;

	if (!l)
		return ERR_NOMEM;
	l->sv = sv;
	e = start_auth(l);
	if (!e && !run_upkeep(l))
		e = ERR_NOMEM;
	if (e) {
		auth_free(l->auth);
		free(l);
		return e;
	}
	*state = l->auth;
	return OK;
}

static void tell_stop(struct life *l)
{
	GUARD(&l->lock);

	l->stopping = true;
	(void)pthread_cond_signal(&l->wake);
}

void auth_stop(void *state)
{
	struct auth *au = state;
	struct life *l = au->conf.arg;

	tell_stop(l);
	(void)pthread_join(l->upkeep, NULL);
	(void)pthread_mutex_destroy(&l->lock);
	(void)pthread_cond_destroy(&l->wake);
	auth_free(l->auth);
	free(l);
}
