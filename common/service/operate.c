#include "common/service/operate.h"

#include "common/base/log.h"
#include "common/codec/mp.h"

static void clear(const struct operated *on, struct str tag)
{
	(void)tag;
	if (on->cached)
		cache_clear(cached_cache(on->cached));
}

static void forget(const struct operated *on, struct str tag)
{
	if (on->cached)
		cache_forget_tag(cached_cache(on->cached), tag);
}

static void reset(const struct operated *on, struct str tag)
{
	(void)tag;
	if (on->cached)
		cache_breaker_reset(cached_cache(on->cached));
}

static void llm_reset(const struct operated *on, struct str tag)
{
	(void)tag;
	if (on->llm_reset)
		on->llm_reset(on->arg);
}

static const struct act {
	const char *name;
	bool tagged;
	void (*run)(const struct operated *on, struct str tag);
} acts[] = {
	{"cache.clear", false, clear},
	{"cache.forget", true, forget},
	{"breaker.reset", false, reset},
	{"llm.reset", false, llm_reset},
};

static const struct act *act_from(struct str name)
{
	for (size_t i = 0; i < COUNTOF(acts); i++)
		if (str_eq(name, str_from(acts[i].name)))
			return &acts[i];
	return NULL;
}

enum err operate(const struct operated *on, struct ctx *cx, struct str body,
                 struct buf *reply)
{
	struct cached *cached = on->cached;
	const struct act *act = act_from(mp_find_str(body, "do", STR("")));
	struct str tag = mp_find_str(body, "tag", STR(""));

	if (!act)
		return ctx_fail(cx, ERR_INVALID, "No such act.");
	if (act->tagged && (tag.n == 0 || tag.n > OPERATE_TAG_MAX))
		return ctx_fail(cx, ERR_INVALID,
		                "tag must have 1 to %d characters.",
		                OPERATE_TAG_MAX);
	act->run(on, tag);
	log_info(cx, "service.operated", LOG_TEXT("act", act->name),
	         LOG_STR("user", cx->sub), LOG_BOOL("cached", cached != NULL));
	mp_map(reply, 2);
	mp_kv_bool(reply, "cached", cached != NULL);
	mp_kv_bool(reply, "shared", cached && cached_is_shared(cached));
	return OK;
}
