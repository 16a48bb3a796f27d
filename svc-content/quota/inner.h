/*
 * inner - what the files of this folder share; for nobody else.
 */
#ifndef SVC_CONTENT_QUOTA_INNER_H
#define SVC_CONTENT_QUOTA_INNER_H

#include "svc-content/quota/limits.h"
#include "svc-content/quota/quota.h"

struct quota {
	struct db_pool *pool;
	struct erased *erased; /* or NULL */
	struct quota_limits limits;
	int64_t (*now_ms)(void);
	struct metric *exceeded[QUOTA_LIMITS];
	struct metric *held_back[2]; /* of providers: by requests, by tokens */
	const struct settings *conf;
	struct metrics *metrics; /* or NULL */
	bool watched;            /* its collector is ours */
	struct provider_quota *budget;
	unsigned providers_n;
	struct {
		char name[QUOTA_MODEL_MAX + 1], model[QUOTA_MODEL_MAX + 1];
		uint64_t price_in, price_out;
	} providers[PROVIDERS_MAX];
};

/* watch.c: the providers' part, without providers; false without memory. */
bool quota_start_providers(struct quota *q, struct metrics *metrics) MUST_CHECK;
void quota_forget_providers(struct quota *q);

/* As each limit counts: usage, and what is held. */
enum err quota_spent_of(struct db *db, struct str sub, int64_t now_ms,
                        struct quota_spent *out) MUST_CHECK;

#endif
