#include "svc-content/quota/quota.h"

#include <stdlib.h>

struct quota {
	struct db_pool *pool;
};

struct quota *quota_new(const struct settings *conf, struct db_pool *pool,
                        struct erased *erased, struct metrics *metrics)
{
	struct quota *q = calloc(1, sizeof(*q));

	(void)conf;
	(void)erased;
	(void)metrics;
	if (q)
		q->pool = pool;
	return q;
}

void quota_free(struct quota *q)
{
	free(q);
}

enum err quota_hold(struct quota *q, struct ctx *cx,
                    const struct quota_ask *ask, struct quota_hold *out)
{
	(void)q;
	*out = (struct quota_hold){.route = ask->route};
	if (cx->sub.n == 0)
		return ERR_LOGIN_NEEDED;
	uuid7(out->id);
	return OK;
}

void quota_used(struct quota_hold *h, const char *provider, const char *model,
                uint64_t tokens_in, uint64_t tokens_out, uint64_t cost)
{
	(void)h;
	(void)provider;
	(void)model;
	(void)tokens_in;
	(void)tokens_out;
	(void)cost;
}

enum err quota_settle(struct quota *q, struct ctx *cx, struct quota_hold *h)
{
	(void)q;
	(void)cx;
	h->id[0] = '\0';
	return OK;
}

void quota_drop(struct quota *q, struct ctx *cx, struct quota_hold *h)
{
	(void)q;
	(void)cx;
	h->id[0] = '\0';
}

void quota_tell(struct quota_hold *h, struct ctx *cx, struct reply *out)
{
	(void)h;
	(void)cx;
	(void)out;
}
