#include "common/service/service_inner.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/service/operate.h"

static enum err apply_events(void *arg, struct ctx *cx, struct str body,
                             struct buf *reply)
{
	struct service *sv = arg;

	return event_apply(sv->events, sv->pool, cx, body, sv->def->apply,
	                   sv->state, reply);
}

static enum err tell_health(void *arg, struct ctx *cx, struct str body,
                            struct buf *reply)
{
	struct service *sv = arg;

	(void)cx;
	(void)body;
	health_pack(sv->env.health, sv->def->name, (int64_t)mono_ms(), reply);
	return OK;
}

static enum err tell_stats(void *arg, struct ctx *cx, struct str body,
                           struct buf *reply)
{
	struct service_figures all = {0};

	(void)cx;
	(void)body;
	service_give_figures(arg, &all);
	figures_pack(&all, reply);
	return OK;
}

static void reset_models(void *arg)
{
	struct service *sv = arg;
	GUARD(&sv->lock);

	if (sv->shown && sv->def->llm_reset)
		sv->def->llm_reset(sv->state);
}

static enum err control(void *arg, struct ctx *cx, struct str body,
                        struct buf *reply)
{
	struct service *sv = arg;
	const struct operated on = {.cached = atomic_load(&sv->cached),
	                            .llm_reset = reset_models,
	                            .arg = sv};

	return operate(&on, cx, body, reply);
}

static struct cache *cache_of(struct service *sv)
{
	struct cached *c = atomic_load(&sv->cached);

	return c ? cached_cache(c) : NULL;
}

static enum err erase_one(void *arg, struct ctx *cx, struct str body,
                          struct buf *reply)
{
	struct service *sv = arg;

	return erase_method(sv->erase, cx, sv->state, cache_of(sv), body,
	                    reply);
}

static enum err scan_for(void *arg, struct ctx *cx, struct str body,
                         struct buf *reply)
{
	struct service *sv = arg;

	return erase_scan_method(sv->erase, cx, cache_of(sv), body, reply);
}

void service_builtins(const struct service *sv, builtin_fn *out[BUILTIN_COUNT])
{
	out[BUILTIN_EVENTS] = sv->def->apply ? apply_events : NULL;
	out[BUILTIN_HEALTH] = sv->env.health ? tell_health : NULL;
	out[BUILTIN_STATS] = tell_stats;
	out[BUILTIN_CONTROL] = control;
	out[BUILTIN_ERASE] = sv->erase ? erase_one : NULL;
	out[BUILTIN_SCAN] = sv->erase ? scan_for : NULL;
}
